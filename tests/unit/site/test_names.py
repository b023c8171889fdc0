# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names and ports that a site may have."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._site.names import (
    refuse_domain,
    refuse_ports,
    refuse_prefix,
    refuse_rotation,
)

FIX = "set site_domain to the domain below which the site's names are, such as 'ml.your-team.org'."
NO_NAME = "Cannot use '{}' as site_domain: it is no DNS name in lower case; " + FIX
DOMAINS: dict[str, tuple[object, str]] = {
    "none": ("", f"Cannot deploy a site without a domain: site_domain is ''; {FIX}"),
    "nothing at all": (None, f"Cannot deploy a site without a domain: site_domain is None; {FIX}"),
    "two words": ("my site", NO_NAME.format('my site')),
    "an address": ("https://a.org", NO_NAME.format('https://a.org')),
    "capitals": ("Lab.org", NO_NAME.format('Lab.org')),
    "one label": ("lab", NO_NAME.format('lab')),
    "an end of a line": ("lab.org\n", NO_NAME.format('lab.org\\n')),
    "the placeholder of a sample": (
        "ml.example.org", f"Cannot use 'ml.example.org' as site_domain: it is reserved for examples; {FIX}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("domain", "said"), DOMAINS.values(), ids=DOMAINS)
def test_a_bad_domain_is_refused(domain: object, said: str) -> None:
    assert refuse_domain(domain) == [said]


@pytest.mark.parametrize("domain", ["modelyard.test", "a.b.c-d.org", "1.org", "x" * 63 + ".org"])
def test_a_good_domain_is_taken(domain: str) -> None:
    assert refuse_domain(domain) == []


@pytest.mark.parametrize("prefix", ["", "-a", "A", "a b", "a" * 32, 3, None])
def test_a_bad_prefix_is_refused(prefix: object) -> None:
    rule = "lower-case letters, digits, '-' and '_', at most 31, starting with a letter or digit"
    assert refuse_prefix(prefix) == [
        f"Cannot use {prefix!r} as site_prefix: names of projects begin with it; give {rule}."
    ]  # fmt: skip


def test_a_good_prefix_is_taken() -> None:
    assert refuse_prefix("lab-2_b") == []


GOOD = {"http": 80, "https": 443, "postgres": 5432, "edge_api": 8099}
PORTS: dict[str, tuple[Any, list[str]]] = {
    "all four": (GOOD, []),
    "two missing": (
        {"https": 443, "edge_api": 1}, ["Cannot use site_ports: http and postgres is not in it; give all four."],
    ),
    "one twice": (
        {**GOOD, "edge_api": 443}, ["Cannot use site_ports: 443 is given twice; give each a port of its own."],
    ),
    "none and a word": (
        {**GOOD, "http": 0, "https": "tls"},
        [
            "Cannot use site_ports: http is 0; give a number from 1 to 65535.",
            "Cannot use site_ports: https is 'tls'; give a number from 1 to 65535.",
        ],
    ),
    "no mapping, which the specification refuses": (443, []),
}  # fmt: skip


@pytest.mark.parametrize(("ports", "said"), PORTS.values(), ids=PORTS)
def test_ports(ports: Any, said: list[str]) -> None:
    assert refuse_ports(ports) == said


def test_what_is_no_secret_of_the_site_is_not_rotated() -> None:
    declared = {"mlflow_flask_key", "postgres_superuser"}
    [said] = refuse_rotation(["postgres_superuser", "postgres_superusr", "postgres_superusr"], declared)
    assert said == (
        "Cannot rotate 'postgres_superusr': the site declares no secret of that name; choose of mlflow_flask_key, "
        "postgres_superuser."
    )
    assert refuse_rotation(["a"], set()) == [
        "Cannot rotate 'a': the site declares no secret of that name; choose of none."
    ]  # fmt: skip
    assert refuse_rotation([], declared) == []
    assert refuse_rotation("a", declared) == []  # the role's specification refuses what is no list
