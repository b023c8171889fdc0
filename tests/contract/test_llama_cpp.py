# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""llama.cpp is built from whatever version Debian sid has that day, so its build tries what the engine tells it."""

from __future__ import annotations

import yaml
from support.recipes import LLAMA_CPP, packaged
from support.tree import ROOT


def test_the_check_of_a_build_has_every_option_of_the_engine() -> None:
    data = yaml.safe_load((ROOT / "roles/inference/defaults/main/engine_llama_cpp.yml").read_text(encoding="utf-8"))
    command = data["__inference_engine_llama_cpp"]["cpu"]["command"]
    options = [word for word in command if word.startswith("--")]
    [check] = packaged(*LLAMA_CPP).recipe["smoke"]
    words = check.split()
    assert (words[0], words[-1]) == (command[0], "--version")
    assert [word for word in words[1:-1] if word.startswith("--")] == options
