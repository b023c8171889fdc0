# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pack the command ``modelyard`` into one file that a host's own Python runs: ``build/modelyard``.

It holds the modules' own code under another package name, so both can never do different things. The module
``host_command`` packs the same bytes on a host.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "plugins" / "module_utils"

sys.path.insert(0, str(ROOT / "build" / "collections"))
from ansible_collections.modelyard.platform.plugins.module_utils._host_command.pack import (  # noqa: E402
    pack,
    read_sources,
)


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "modelyard"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(pack(read_sources(str(SOURCE))))
    target.chmod(0o755)


if __name__ == "__main__":
    main()
