# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GGUF files written without any package: version 3 of the format, as ggml's ``docs/gguf.md`` describes it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_ALIGNMENT = 32
#: Types of metadata.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
#: Types of tokens.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

Typed = tuple[int, object]
#: Shape, fastest dimension first, and weights as float32.
Tensor = tuple[tuple[int, ...], bytes]


def gguf(metadata: Mapping[str, Typed], tensors: Mapping[str, Tensor]) -> bytes:
    """Return a file with metadata, each value with its type, and weights by name."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(
        _text(key) + struct.pack("<I", kind) + _value(kind, value) for key, (kind, value) in metadata.items()
    )
    body = b""
    for name, (shape, weights) in tensors.items():
        # Of type 0, which is F32.
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(body))
        body += _padded(weights)
    return _padded(head) + body


def _value(kind: int, value: object) -> bytes:
    if kind == STRING:
        return _text(str(value))
    if kind == ARRAY:
        assert isinstance(value, tuple)
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(_value(inner, one) for one in values)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)
