# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How hypothesis works here: without a deadline, since a busy machine is no bug, and with its memory in ``build``."""

from __future__ import annotations

from pathlib import Path

from hypothesis import configuration, settings

configuration.set_hypothesis_home_dir(Path(__file__).resolve().parents[2] / "build" / "cache" / "hypothesis")
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
