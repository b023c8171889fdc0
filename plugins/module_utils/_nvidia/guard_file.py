# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard as one file that a host's own Python runs: the modules' own code, as the command ``modelyard`` is."""

from __future__ import annotations

import os

from .._gpu import guard  # Ansible brings to a host what it finds imported.
from .._host_command.pack import PACKAGE, make_program, read_files

#: All that :mod:`guard` imports; a test follows the imports.
SOURCES = (
    "_compose/__init__.py", "_compose/asleep.py", "_compose/engine.py", "_compose/exec_stream.py", "_compose/site.py",
    "_errors.py", "_files.py", "_gpu/__init__.py", "_gpu/facts.py", "_gpu/guard.py", "_gpu/host.py", "_lock.py",
    "_run.py", "_version.py",
)  # fmt: skip
_MAIN = f"""\
import sys

from {PACKAGE}._gpu.guard import {guard.main.__name__}

sys.exit({guard.main.__name__}())
"""


def make_guard() -> bytes:
    """Return the guard's file, from the sources beside this one wherever it runs."""
    module_utils = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return make_program(read_files(module_utils, SOURCES), _MAIN)
