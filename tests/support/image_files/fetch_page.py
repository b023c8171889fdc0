# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role homepage uses of its image's wget: ``wget -q -T SECONDS -O FILE URL``."""

from __future__ import annotations

import sys
import urllib.request

_quiet, _t, seconds, _o, path, url = sys.argv[1:]
with urllib.request.urlopen(url, timeout=int(seconds)) as answer, open(path, "wb") as stream:
    stream.write(answer.read())
