# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever files hold and programs say, the host is told of and nothing is raised."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._gpu.answer import to_answer
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.judge import judge
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.observe import observe
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gpu_hosts import FOLDER, DescribedHost, read_description, read_text

NAMES = ("a100_mig", "h100", "t4", "two_rtx_4090")
HOSTS = {name: read_description(FOLDER / "hosts" / f"{name}.yml") for name in NAMES}
JOURNAL = {
    "entries": [
        "NVRM: Xid (PCI:0000:00:1e): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
        "NVRM: The NVIDIA GPU 0000:1b:00.0 (PCI ID: 10de:15f8) installed in this system",
        "NVRM: is not supported by open nvidia.ko because it does not include the",
        "NVRM: The NVIDIA GeForce GTX 760 GPU installed in this system is",
        "NVRM:  supported through the NVIDIA 470.xx Legacy drivers. Please",
        "NVRM: GPU 0000:1b:00.0: RmInitAdapter failed! (0x24:0x72:1447)",
    ]
}
INSERTED = st.sampled_from(
    ["", "\x00", "N/A", "<", "&", "\n", "9" * 5000, "{", "[", '"', "\ufffd", ": ", "- "]
) | st.text(max_size=9)  # fmt: skip


def places(host: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the texts of a host: part of its description, and name in it."""
    return [("files", name) for name, text in host["files"].items() if text and not isinstance(text, list)] + [
        ("programs", name) for name in host["programs"]
    ]


@settings(max_examples=150)
@given(st.data())
def test_nothing_is_raised(data: st.DataObject) -> None:
    host = HOSTS[data.draw(st.sampled_from(NAMES))]
    told: dict[str, Any] = {**host, "files": dict(host["files"]), "programs": {**host["programs"]}}
    told["programs"]["journalctl"] = {"stdout": JOURNAL}
    part, name = data.draw(st.sampled_from(places(told)))
    text = read_text(told[part][name] if part == "files" else told[part][name].get("stdout", ""))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    length = data.draw(st.sampled_from([end - start, 1, 8]))
    damaged = text[:start] + data.draw(INSERTED) + text[start + length :]
    if part == "files":
        told["files"][name] = damaged
    else:
        told["programs"][name] = {"stdout": damaged, "returncode": data.draw(st.sampled_from([0, 0, 1, 6, 18, 255]))}
    with tempfile.TemporaryDirectory() as folder:
        facts = observe(DescribedHost(Path(folder), told), "/etc/docker/daemon.json")
        json.dumps(to_answer(facts, judge(facts)))
