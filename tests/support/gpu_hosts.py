# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts with GPUs as data: a folder that stands for ``/``, device nodes, the engine's answer, and what programs say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import Node
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.host import LATE, Host
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed

from support.tree import ROOT

FOLDER = ROOT / "tests" / "unit" / "gpu"
CASES = sorted((FOLDER / "cases").glob("*.yml"))
HOSTS = sorted((FOLDER / "hosts").glob("*.yml"))
#: 2026-11-21T10:22:09Z
FIRST_ENTRY_SECONDS = 1_795_256_529
#: What a case says about a host, merged into the host's own by name; null takes away.
_MERGED = ("files", "links", "nodes", "programs")


class DescribedHost(Host):
    """A host below a folder. Device nodes come from a table, because making some takes rights that tests lack."""

    def __init__(self, root: Path, description: Mapping[str, Any]) -> None:
        super().__init__(root=str(root), run=self._answer, ask_engine=lambda: description.get("engine"))
        self.asked: list[str] = []
        self._programs = description["programs"]
        self._nodes = {
            path: Node(path, int(mode, 8), major, minor) for path, (mode, major, minor) in description["nodes"].items()
        }
        for path, text in description["files"].items():
            _write(root, path, text)
        for path in self._nodes:
            _write(root, path, "")
        for path, target in description["links"].items():
            _place(root, path).symlink_to(target)

    def read_node(self, path: str) -> Node | None:
        return self._nodes.get(path)

    def _answer(self, argv: Sequence[str], _wait_seconds: float) -> Completed:
        self.asked.append(" ".join(argv))
        said = self._programs.get(" ".join(argv), self._programs.get(argv[0]))
        if said is None:
            raise FileNotFoundError(argv[0])
        if said == "late":
            return Completed(LATE, "", "")
        return Completed(said.get("returncode", 0), read_text(said.get("stdout", "")), said.get("stderr", ""))


def read_description(path: Path) -> dict[str, Any]:
    """Return a host, or the host of a case with what the case says of it."""
    told: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = read_description(FOLDER / "hosts" / f"{told['host']}.yml") if "host" in told else {}
    merged = {
        part: {name: value for name, value in {**base.get(part, {}), **told.get(part, {})}.items() if value is not None}
        for part in _MERGED
    }
    return {**base, **told, **merged}


def _write(root: Path, path: str, text: Any) -> None:
    if isinstance(text, list):
        _place(root, path).write_bytes(bytes(text))
    else:
        _place(root, path).write_text(read_text(text), encoding="utf-8")


def _place(root: Path, path: str) -> Path:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _entry(number: int, text: str) -> str:
    """Return an entry as journalctl writes it, one a minute."""
    time = (FIRST_ENTRY_SECONDS + 60 * number) * 1_000_000
    return json.dumps({"__REALTIME_TIMESTAMP": str(time), "MESSAGE": text})


def read_text(value: Any) -> str:
    """Return a text: as it stands, of a file in ``outputs`` with replacements (``but``), or entries of a journal."""
    if not isinstance(value, dict):
        return str(value)
    if "entries" in value:
        return "".join(_entry(number, text) + "\n" for number, text in enumerate(value["entries"]))
    text: str = (FOLDER / "outputs" / value["of"]).read_text(encoding="utf-8")
    for old, new in value.get("but", {}).items():
        if old not in text:
            raise ValueError(f"{value['of']} has no {old!r}: the case would try nothing")
        text = text.replace(old, new)
    return text
