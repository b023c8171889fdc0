# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A segmentation model of two tiny ONNX files: a disc about the first point."""

from __future__ import annotations

from support.onnx_files import FLOAT, INT64, fraction, integer, model, node, number, numbers, text, value


def encoder() -> bytes:
    """Return a model that makes a picture (1, 3, H, W) small: (1, 4, 16, 16)."""
    nodes = [
        node("ReduceMean", ["batched_images", "channel"], ["grey"], integer("keepdims", 1)),
        node("Resize", ["grey", "", "", "small"], ["little"], text("mode", "nearest")),
        node("Tile", ["little", "times"], ["image_embeddings"]),
    ]
    constants = [numbers("channel", [1]), numbers("small", [1, 1, 16, 16]), numbers("times", [1, 4, 1, 1])]
    inputs = [value("batched_images", FLOAT, ["B", 3, "H", "W"])]
    return model("tiny", nodes, constants, inputs, [value("image_embeddings", FLOAT, ["B", 4, 16, 16])])


def decoder() -> bytes:
    """Return a model whose first mask is a disc of a quarter of the picture's height about the first point."""
    constants = [
        number("zero", 0), number("one", 1), numbers("as_rows", [-1, 1]), numbers("flat", [-1]),
        numbers("axes", [0, 1, 2]), numbers("times", [1, 1, 3, 1, 1]), fraction("quarter", 0.25),
        fraction("nothing", 0.0),
    ]  # fmt: skip
    inputs = [
        value("image_embeddings", FLOAT, ["B", 4, 16, 16]), value("batched_point_coords", FLOAT, [1, 1, "N", 2]),
        value("batched_point_labels", FLOAT, [1, 1, "N"]), value("orig_im_size", INT64, [2]),
    ]  # fmt: skip
    outputs = [value("masks", FLOAT, [1, 1, 3, "H", "W"]), value("iou", FLOAT, []), value("low", FLOAT, [])]
    return model("tiny", [*_disc(), *_unused(), *_masks()], constants, inputs, outputs)


def _disc() -> list[bytes]:
    """Return what compares each place with the first point."""
    return [
        # Height and width, and a number for each row and column.
        node("Gather", ["orig_im_size", "zero"], ["rows"]),
        node("Gather", ["orig_im_size", "one"], ["columns"]),
        node("Range", ["zero", "rows", "one"], ["row"]),
        node("Range", ["zero", "columns", "one"], ["column"]),
        node("Cast", ["row"], ["row_f"], integer("to", FLOAT)),
        node("Cast", ["column"], ["column_f"], integer("to", FLOAT)),
        node("Reshape", ["row_f", "as_rows"], ["y"]),
        # The first point.
        node("Reshape", ["batched_point_coords", "flat"], ["points"]),
        node("Gather", ["points", "zero"], ["point_x"]),
        node("Gather", ["points", "one"], ["point_y"]),
        node("Sub", ["column_f", "point_x"], ["dx"]),
        node("Sub", ["y", "point_y"], ["dy"]),
        node("Mul", ["dx", "dx"], ["dx2"]),
        node("Mul", ["dy", "dy"], ["dy2"]),
        node("Add", ["dx2", "dy2"], ["distance2"]),
        node("Cast", ["rows"], ["rows_f"], integer("to", FLOAT)),
        node("Mul", ["rows_f", "quarter"], ["radius"]),
        node("Mul", ["radius", "radius"], ["radius2"]),
        node("Sub", ["radius2", "distance2"], ["disc"]),
    ]


def _unused() -> list[bytes]:
    """Return what uses the inputs that count for nothing: a runtime refuses names that it does not know."""
    return [
        node("ReduceMean", ["image_embeddings"], ["mean"], integer("keepdims", 0)),
        node("ReduceMean", ["batched_point_labels"], ["label"], integer("keepdims", 0)),
        node("Mul", ["mean", "label"], ["product"]),
        node("Mul", ["product", "nothing"], ["none"]),
        node("Add", ["disc", "none"], ["mask"]),
    ]


def _masks() -> list[bytes]:
    """Return what makes three masks of the disc, and the two further answers."""
    return [
        node("Unsqueeze", ["mask", "axes"], ["one_mask"]),
        node("Tile", ["one_mask", "times"], ["masks"]),
        node("Identity", ["mean"], ["iou"]),
        node("Identity", ["label"], ["low"]),
    ]
