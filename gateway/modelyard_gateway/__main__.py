# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m modelyard_gateway SETTINGS`` is the gateway; ``prove``, ``rest`` and ``check`` ask the one that runs."""

from __future__ import annotations

import sys

from . import client

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in client.VERBS:
        sys.exit(client.main(sys.argv[1:]))
    from .main import main  # not for a client: the server's packages take longer to read than it does

    sys.exit(main(sys.argv[1:]))
