# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller adds to what a host says of itself."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._site.preflight_answer import (
    describe_failure,
    describe_unreachable,
    failure_text,
    find_skew,
)

CLOCKS = [("right", 1005.0), ("slow to answer", 1000.0), ("a minute off", 1069.0), ("a minute behind", 941.0)]


@pytest.mark.parametrize("seconds", [case[1] for case in CLOCKS], ids=[case[0] for case in CLOCKS])
def test_a_clock_that_is_about_right_is_no_finding(seconds: float) -> None:
    assert find_skew(seconds, before=1000.0, after=1010.0) == []


def test_a_wrong_clock_is_told_with_its_side() -> None:
    [ahead] = find_skew(4610.0, before=1000.0, after=1010.0)
    assert ahead == (
        "Cannot trust the clock of this host: it is 3600 s ahead of the controller's, and certificates begin and end "
        "by it; set it (timedatectl set-ntp true), or the controller's if that one is wrong."
    )
    [behind] = find_skew(400.0, before=1000.0, after=1010.0)
    assert "it is 600 s behind the controller's" in behind


SUDO = ["sudo: a password is required", "Missing sudo password", "Task failed: Incorrect sudo password"]


@pytest.mark.parametrize("said", SUDO)
def test_a_password_that_sudo_asks_for_is_told_with_two_ways_out(said: str) -> None:
    text = describe_failure(said + "\n")
    assert text == (
        f"Cannot become root on this host: sudo asks for a password ('{said}'); run again with --ask-become-pass, or "
        "let the user become root without one (a line 'USER ALL=(ALL) NOPASSWD: ALL' in /etc/sudoers.d)."
    )


NO_PYTHON = ["/bin/sh: 1: /usr/bin/python3: not found", "The module interpreter '/usr/bin/python3' was not found."]


@pytest.mark.parametrize("said", NO_PYTHON)
def test_a_host_without_python_is_told(said: str) -> None:
    assert describe_failure(said).startswith("Cannot look at this host: it has no Python where it is looked for (")


OLD_PYTHON = [
    "Ansible requires Python 3.9 or newer on the target. Current version: 3.8.18",
    'File "<stdin>", line 40 zip_data: str, ^ SyntaxError: invalid syntax',
]


@pytest.mark.parametrize("said", OLD_PYTHON)
def test_a_python_that_ansible_cannot_use_is_told(said: str) -> None:
    assert describe_failure(said).startswith("Cannot look at this host: its Python is too old (")


def test_any_other_failure_is_told_as_the_host_said_it() -> None:
    result = {"module_stderr": "deploy is not in the sudoers file.\n", "module_stdout": "", "msg": "MODULE FAILURE"}
    assert describe_failure(failure_text(result)) == (
        "Cannot look at this host: deploy is not in the sudoers file; see that the user of ansible_user may run Python "
        "there as root."
    )
    assert failure_text({"msg": "it ended"}) == "it ended"


def test_a_host_that_cannot_be_reached_is_told_with_the_way_round() -> None:
    assert describe_unreachable(
        "Failed to connect to the host via ssh: ssh: connect to host x port 22: timed out\n"
    ) == (
        "Cannot reach this host: Failed to connect to the host via ssh: ssh: connect to host x port 22: timed out; "
        "correct its address, user or key in the inventory, or leave it out of this run with --limit."
    )
