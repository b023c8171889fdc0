# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pack the command ``modelyard`` into one file that a host's own Python runs: ``build/modelyard``.

It holds the modules' own code under another package name, so both can never do different things. Equal sources give
equal bytes: names are sorted, times fixed, and nothing is compressed, as zlib's output differs between its versions.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "plugins" / "module_utils"
PACKAGE = "modelyard_platform"
#: Beside the shared modules; other packages are the controller's, or another module's.
PACKAGES = ("_compose", "_secrets", "_host_command")
# -I: neither the folder that it is called in nor variables of the caller's can bring in other code.
SHEBANG = b"#!/usr/bin/python3 -I\n"
#: The oldest time that a zip can tell.
TIME = (1980, 1, 1, 0, 0, 0)
MAIN = f"""\
import sys

from {PACKAGE}._host_command.main import main

sys.exit(main())
"""


def collect_sources(source: Path = SOURCE) -> dict[str, bytes]:
    """Return the name in the archive of each file to its content."""
    files = [*source.glob("*.py"), *(path for package in PACKAGES for path in (source / package).glob("*.py"))]
    packed = {f"{PACKAGE}/{path.relative_to(source)}": path.read_bytes() for path in files}
    return {"__main__.py": MAIN.encode(), f"{PACKAGE}/__init__.py": b"", **packed}


def build_archive(sources: dict[str, bytes]) -> bytes:
    """Return the whole file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for name, content in sorted(sources.items()):
            entry = zipfile.ZipInfo(name, TIME)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, content)
    return SHEBANG + archive.getvalue()


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "modelyard"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(build_archive(collect_sources()))
    target.chmod(0o755)


if __name__ == "__main__":
    main()
