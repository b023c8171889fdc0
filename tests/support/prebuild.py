# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m support.prebuild``: build the packaged images of a site, where they are not there yet.

Test runs that begin side by side on a new machine would each build them: the lock of a build is its site's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from support.declared import build
from support.recipes import OF_A_SITE, OF_ENGINES, packaged


def main() -> None:
    """Build them."""
    with tempfile.TemporaryDirectory(prefix="modelyard-test-") as folder:
        for role, prefix in (*OF_A_SITE, *OF_ENGINES):
            build(packaged(role, prefix), Path(folder))


if __name__ == "__main__":
    main()
