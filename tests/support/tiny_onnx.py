# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A segmentation model of two tiny ONNX files, written without any package: a disc about the first point.

The wire format is protobuf's, the numbers of fields are those of ``onnx.proto3`` (ONNX 1.15, IR version 9).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_FLOAT, _INT64, _OPSET, _IR_VERSION = 1, 7, 18, 9
_INT, _STRING = 2, 3


def encoder() -> bytes:
    """Return a model that makes a picture (1, 3, H, W) small: (1, 4, 16, 16)."""
    nodes = [
        _node("ReduceMean", ["batched_images", "channel"], ["grey"], _integer("keepdims", 1)),
        _node("Resize", ["grey", "", "", "small"], ["little"], _text("mode", "nearest")),
        _node("Tile", ["little", "times"], ["image_embeddings"]),
    ]
    constants = [_numbers("channel", [1]), _numbers("small", [1, 1, 16, 16]), _numbers("times", [1, 4, 1, 1])]
    inputs = [_value("batched_images", _FLOAT, ["B", 3, "H", "W"])]
    return _model(nodes, constants, inputs, [_value("image_embeddings", _FLOAT, ["B", 4, 16, 16])])


def decoder() -> bytes:
    """Return a model whose first mask is a disc of a quarter of the picture's height about the first point."""
    constants = [
        _number("zero", 0), _number("one", 1), _numbers("as_rows", [-1, 1]), _numbers("flat", [-1]),
        _numbers("axes", [0, 1, 2]), _numbers("times", [1, 1, 3, 1, 1]), _fraction("quarter", 0.25),
        _fraction("nothing", 0.0),
    ]  # fmt: skip
    inputs = [
        _value("image_embeddings", _FLOAT, ["B", 4, 16, 16]), _value("batched_point_coords", _FLOAT, [1, 1, "N", 2]),
        _value("batched_point_labels", _FLOAT, [1, 1, "N"]), _value("orig_im_size", _INT64, [2]),
    ]  # fmt: skip
    outputs = [_value("masks", _FLOAT, [1, 1, 3, "H", "W"]), _value("iou", _FLOAT, []), _value("low", _FLOAT, [])]
    return _model([*_disc(), *_unused(), *_masks()], constants, inputs, outputs)


def _disc() -> list[bytes]:
    """Return what compares each place with the first point."""
    return [
        # Height and width, and a number for each row and column.
        _node("Gather", ["orig_im_size", "zero"], ["rows"]),
        _node("Gather", ["orig_im_size", "one"], ["columns"]),
        _node("Range", ["zero", "rows", "one"], ["row"]),
        _node("Range", ["zero", "columns", "one"], ["column"]),
        _node("Cast", ["row"], ["row_f"], _integer("to", _FLOAT)),
        _node("Cast", ["column"], ["column_f"], _integer("to", _FLOAT)),
        _node("Reshape", ["row_f", "as_rows"], ["y"]),
        # The first point.
        _node("Reshape", ["batched_point_coords", "flat"], ["points"]),
        _node("Gather", ["points", "zero"], ["point_x"]),
        _node("Gather", ["points", "one"], ["point_y"]),
        _node("Sub", ["column_f", "point_x"], ["dx"]),
        _node("Sub", ["y", "point_y"], ["dy"]),
        _node("Mul", ["dx", "dx"], ["dx2"]),
        _node("Mul", ["dy", "dy"], ["dy2"]),
        _node("Add", ["dx2", "dy2"], ["distance2"]),
        _node("Cast", ["rows"], ["rows_f"], _integer("to", _FLOAT)),
        _node("Mul", ["rows_f", "quarter"], ["radius"]),
        _node("Mul", ["radius", "radius"], ["radius2"]),
        _node("Sub", ["radius2", "distance2"], ["disc"]),
    ]


def _unused() -> list[bytes]:
    """Return what uses the inputs that count for nothing: a runtime refuses names that it does not know."""
    return [
        _node("ReduceMean", ["image_embeddings"], ["mean"], _integer("keepdims", 0)),
        _node("ReduceMean", ["batched_point_labels"], ["label"], _integer("keepdims", 0)),
        _node("Mul", ["mean", "label"], ["product"]),
        _node("Mul", ["product", "nothing"], ["none"]),
        _node("Add", ["disc", "none"], ["mask"]),
    ]


def _masks() -> list[bytes]:
    """Return what makes three masks of the disc, and the two further answers."""
    return [
        _node("Unsqueeze", ["mask", "axes"], ["one_mask"]),
        _node("Tile", ["one_mask", "times"], ["masks"]),
        _node("Identity", ["mean"], ["iou"]),
        _node("Identity", ["label"], ["low"]),
    ]


def _model(
    nodes: Sequence[bytes], constants: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    graph = b"".join(
        [
            *(_bytes(1, node) for node in nodes), _bytes(2, b"tiny"), *(_bytes(5, constant) for constant in constants),
            *(_bytes(11, value) for value in inputs), *(_bytes(12, value) for value in outputs),
        ]
    )  # fmt: skip
    return _varint(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _varint(2, _OPSET))


def _node(kind: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    return b"".join(
        [
            *(_bytes(1, name.encode()) for name in inputs), *(_bytes(2, name.encode()) for name in outputs),
            _bytes(4, kind.encode()), *(_bytes(5, attribute) for attribute in attributes),
        ]
    )  # fmt: skip


def _integer(name: str, value: int) -> bytes:
    return _bytes(1, name.encode()) + _varint(3, value) + _varint(20, _INT)


def _text(name: str, value: str) -> bytes:
    return _bytes(1, name.encode()) + _bytes(4, value.encode()) + _varint(20, _STRING)


def _numbers(name: str, values: Sequence[int]) -> bytes:
    raw = struct.pack(f"<{len(values)}q", *values)
    return _varint(1, len(values)) + _varint(2, _INT64) + _bytes(8, name.encode()) + _bytes(9, raw)


def _number(name: str, value: int) -> bytes:
    return _varint(2, _INT64) + _bytes(8, name.encode()) + _bytes(9, struct.pack("<q", value))


def _fraction(name: str, value: float) -> bytes:
    return _varint(2, _FLOAT) + _bytes(8, name.encode()) + _bytes(9, struct.pack("<f", value))


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    sizes = [_varint(1, size) if isinstance(size, int) else _bytes(2, size.encode()) for size in shape]
    tensor = _varint(1, kind) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _bytes(number: int, content: bytes) -> bytes:
    return _raw_varint(number << 3 | 2) + _raw_varint(len(content)) + content


def _varint(number: int, value: int) -> bytes:
    return _raw_varint(number << 3) + _raw_varint(value)


def _raw_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
