# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What names of a site must look like."""

from __future__ import annotations

import re
from collections.abc import Collection

#: A label of a host name. Source: RFC 1123, section 2.1.
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})+")
#: Compose's own rule for names of projects, which begin with it, and room for the rest.
_PREFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
#: Reserved for documentation: nobody's site. Source: RFC 2606.
_EXAMPLES = ("example.com", "example.net", "example.org")


def refuse_rotation(names: object, declared: Collection[str]) -> list[str]:
    """Say which names that are to get a new version are no secret of the site.

    :param declared: the names of all secrets that a role or the operator declares.
    """
    asked = names if isinstance(names, list) else []
    known = ", ".join(sorted(declared)) or "none"
    return [
        f"Cannot rotate {name!r}: the site declares no secret of that name; choose of {known}."
        for name in dict.fromkeys(asked)
        if name not in declared
    ]


def is_example_name(name: str) -> bool:
    """Return whether a name is one that nobody can have."""
    return name in _EXAMPLES or name.endswith(tuple(f".{example}" for example in _EXAMPLES))


def refuse_domain(domain: object) -> list[str]:
    """Say what is wrong with the domain of a site; nothing where it is one."""
    fix = "set site_domain to the domain below which the site's names are, such as 'ml.your-team.org'."
    if not isinstance(domain, str) or not domain:
        return [f"Cannot deploy a site without a domain: site_domain is {domain!r}; {fix}"]
    if len(domain) > 200 or not _DOMAIN.fullmatch(domain):
        return [f"Cannot use {domain!r} as site_domain: it is no DNS name in lower case; {fix}"]
    if is_example_name(domain):
        return [f"Cannot use {domain!r} as site_domain: it is reserved for examples; {fix}"]
    return []


def refuse_prefix(prefix: object) -> list[str]:
    """Say what is wrong with the prefix of a site's names."""
    if isinstance(prefix, str) and _PREFIX.fullmatch(prefix):
        return []
    rule = "lower-case letters, digits, '-' and '_', at most 31, starting with a letter or digit"
    return [f"Cannot use {prefix!r} as site_prefix: names of projects begin with it; give {rule}."]


def refuse_ports(ports: object) -> list[str]:
    """Say what is wrong with the edge's ports: all are given, and each is its own."""
    if not isinstance(ports, dict):
        return []  # the role's specification says so
    if missing := sorted({"http", "https", "postgres", "edge_api"} - set(ports)):
        return [f"Cannot use site_ports: {' and '.join(missing)} is not in it; give all four."]
    numbers = list(ports.values())
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    bad = [name for name, number in ports.items() if not str(number).isdigit() or not 0 < int(number) < 65536]
    return [
        *(f"Cannot use site_ports: {number} is given twice; give each a port of its own." for number in twice),
        *(f"Cannot use site_ports: {name} is {ports[name]!r}; give a number from 1 to 65535." for name in bad),
    ]
