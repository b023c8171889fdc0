# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pictures for segmentation, without a library for them."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence


def picture(rows: Sequence[bytes]) -> str:
    """Return a picture as PNG in base64, of rows with three bytes a place: red, green and blue."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0))
    places = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + places + chunk(b"IEND", b"")).decode()
