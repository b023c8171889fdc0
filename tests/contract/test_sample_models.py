# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models beside inventories/local: what a line of this tree makes, and nothing else."""

from __future__ import annotations

import hashlib

import pytest
import yaml
from support.colour_onnx import decoder, encoder
from support.modules import ROOT
from support.sentence_gguf import sentence_gguf

FOLDER = ROOT / "inventories/models"
#: Name of the file to the module of tests/support that makes it, and its content.
FILES = {
    "colour-encoder.onnx": ("colour_onnx inventories/models", encoder()),
    "colour-decoder.onnx": ("colour_onnx inventories/models", decoder()),
    "sentence.gguf": ("sentence_gguf inventories/models/sentence.gguf", sentence_gguf()),
}


def test_there_are_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_the_tree_makes_and_what_the_inventory_expects(name: str) -> None:
    made_by, content = FILES[name]
    assert (FOLDER / name).read_bytes() == content, f"PYTHONPATH=tests python -m support.{made_by}"
    values = yaml.safe_load((ROOT / "inventories/local/group_vars/all.yml").read_text(encoding="utf-8"))
    models = [service["model"] for service in values["inference_services"]]
    expected = {file["url"]: file["sha256"] for model in models for file in model.get("files", [model])}
    assert expected["{{ inventory_dir }}/../models/" + name] == hashlib.sha256(content).hexdigest()
