# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ONNX files written without any package: graphs of the operators that a test or a sample needs.

The wire format is protobuf's, the numbers of fields are those of ``onnx.proto3`` (ONNX 1.15, IR version 9).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

#: Types of elements.
FLOAT, INT64 = 1, 7
_OPSET, _IR_VERSION = 18, 9
_INT, _STRING = 2, 3


def model(
    name: str, nodes: Sequence[bytes], constants: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """Return a file with one graph."""
    parts = [(1, nodes), (2, [name.encode()]), (5, constants), (11, inputs), (12, outputs)]
    graph = b"".join(_bytes(field, content) for field, contents in parts for content in contents)
    return _varint(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _varint(2, _OPSET))


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    """Return one operator of a graph; an input that is left out is ``""``."""
    names = [(1, name) for name in inputs] + [(2, name) for name in outputs] + [(4, operator)]
    return b"".join(_bytes(field, name.encode()) for field, name in names) + b"".join(
        _bytes(5, attribute) for attribute in attributes
    )


def integer(name: str, content: int) -> bytes:
    """Return an attribute."""
    return _bytes(1, name.encode()) + _varint(3, content) + _varint(20, _INT)


def text(name: str, content: str) -> bytes:
    """Return an attribute."""
    return _bytes(1, name.encode()) + _bytes(4, content.encode()) + _varint(20, _STRING)


def numbers(name: str, content: Sequence[int]) -> bytes:
    """Return a constant of shape (N,) and type int64."""
    raw = struct.pack(f"<{len(content)}q", *content)
    return _varint(1, len(content)) + _varint(2, INT64) + _bytes(8, name.encode()) + _bytes(9, raw)


def number(name: str, content: int) -> bytes:
    """Return a constant without dimensions and of type int64."""
    return _varint(2, INT64) + _bytes(8, name.encode()) + _bytes(9, struct.pack("<q", content))


def fraction(name: str, content: float) -> bytes:
    """Return a constant without dimensions and of type float32."""
    return _varint(2, FLOAT) + _bytes(8, name.encode()) + _bytes(9, struct.pack("<f", content))


def value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """Return an input or an output of a graph; a size that is a name is any."""
    sizes = [_varint(1, size) if isinstance(size, int) else _bytes(2, size.encode()) for size in shape]
    tensor = _varint(1, kind) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _bytes(field: int, content: bytes) -> bytes:
    return _raw_varint(field << 3 | 2) + _raw_varint(len(content)) + content


def _varint(field: int, content: int) -> bytes:
    return _raw_varint(field << 3) + _raw_varint(content)


def _raw_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
