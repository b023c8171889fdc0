# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module takes of a service that asks for GPUs. Any Python reads it: preflight tells which one is too old."""

from __future__ import annotations

WANT_SPEC = {
    "service": {"type": "str", "required": True},
    "gpus": {"type": "list", "elements": "str", "default": []},
    "vram_mib": {"type": "dict", "default": {}},
    "fallback": {"type": "bool", "default": False},
}
