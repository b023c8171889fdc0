# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight's half on the controller: what it knows besides what a host says of itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: More than any way of sending a module takes its clock to be read; TLS and signatures of S3 bear some minutes.
MOST_SKEW_SECONDS = 120.0

_PASSWORD = re.compile(r"(sudo|become|su|doas)\b.*password|password.*\b(sudo|become)", re.IGNORECASE | re.DOTALL)
_NO_PYTHON = re.compile(
    r"interpreter .*not found|no python interpreters found|python\S*: (command )?not found", re.IGNORECASE
)
#: What Ansible says of a Python that is below what it knows, or cannot even read it.
_OLD_PYTHON = re.compile(r"requires (a minimum of )?Python|SyntaxError")


def find_skew(host_seconds: float, *, before: float, after: float) -> list[str]:
    """Return a sentence where the clock of a host is wrong, or the controller's own.

    :param before: when the module was sent, by the controller's clock, and ``after``: when it had answered.
    """
    skew = host_seconds - after if host_seconds > after else host_seconds - before if host_seconds < before else 0.0
    if abs(skew) <= MOST_SKEW_SECONDS:
        return []
    side = "ahead of" if skew > 0 else "behind"
    text = (
        f"Cannot trust the clock of this host: it is {abs(skew):.0f} s {side} the controller's, and certificates begin "
        "and end by it; set it (timedatectl set-ntp true), or the controller's if that one is wrong."
    )
    return [text]


def describe_failure(text: str) -> str:
    """Return what to tell where a host was reached and no module could run on it."""
    said = " ".join(text.split()).rstrip(".")
    if _PASSWORD.search(said):
        return (
            f"Cannot become root on this host: sudo asks for a password ({said!r}); run again with --ask-become-pass, "
            "or let the user become root without one (a line 'USER ALL=(ALL) NOPASSWD: ALL' in /etc/sudoers.d)."
        )
    if _NO_PYTHON.search(said):
        return (
            f"Cannot look at this host: it has no Python where it is looked for ({said!r}); install it (apt-get "
            "install python3), or name it in ansible_python_interpreter."
        )
    if _OLD_PYTHON.search(said):
        return (
            f"Cannot look at this host: its Python is too old ({said!r}); install 3.10 or newer and name it in "
            "ansible_python_interpreter, or move to Debian 12 or Ubuntu 22.04 and newer."
        )
    return f"Cannot look at this host: {said}; see that the user of ansible_user may run Python there as root."


def describe_unreachable(text: str) -> str:
    """Return what to tell of a host that cannot be reached."""
    said = " ".join(text.split()).rstrip(".")
    return (
        f"Cannot reach this host: {said}; correct its address, user or key in the inventory, or leave it out of this "
        "run with --limit."
    )


def failure_text(result: Mapping[str, Any]) -> str:
    """Return why a module did not run, from its result: what the host wrote says more than what Ansible makes of it."""
    written = "\n".join(str(result.get(key) or "") for key in ("module_stderr", "module_stdout"))
    return written.strip() or str(result.get("msg") or "no reason given")
