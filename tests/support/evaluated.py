# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of roles, templated as Ansible does, without any host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from support.answers import answers_of
from support.modules import ROOT


def evaluate(expressions: dict[str, Any], variables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what expressions come to on a host that has these variables.

    :param folder: for Ansible's own files.
    """
    tasks = [{"name": name, "ansible.builtin.debug": {"var": name}} for name in expressions]
    play = {
        "name": "Read", "hosts": "localhost", "gather_facts": False, "vars": {**expressions, **variables},
        "tasks": tasks,
    }  # fmt: skip
    answers = answers_of(play, folder, "-i", "localhost,elsewhere,", "-c", "local")
    return {name: answer[name] for name, (_task, answer) in zip(expressions, answers, strict=True)}


def read(path: str, *names: str) -> dict[str, Any]:
    """Return variables of a file of a role, as they stand there."""
    found = yaml.safe_load((ROOT / "roles" / path).read_text(encoding="utf-8"))
    return {name: found[name] for name in names}
