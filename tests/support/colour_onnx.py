# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A segmentation model that needs no weights: what has nearly the colour of a point, as two small ONNX files.

It has the form that osam asks of EfficientSAM: points with label 1 are inside, those with label 0 outside. A place
belongs to the mask when its colour is within :data:`REACH` of one inside, and nearer to that than to any outside.
``inventories/models`` has these files, so that the sample needs no others.
"""

from __future__ import annotations

import sys
from pathlib import Path

from support.onnx_files import FLOAT, INT64, fraction, integer, model, node, number, numbers, text, value

#: Side of what the encoder makes of a picture.
SIDE = 256
#: Distance of two colours that are nearly the same; black and white are 1.73 from each other.
REACH = 0.18
_FAR = 10.0


def encoder() -> bytes:
    """Return a model that gives the colours of a picture (1, 3, H, W) in 0..1 as (1, 3, SIDE, SIDE)."""
    smoothly = (text("mode", "linear"), integer("antialias", 1))
    nodes = [node("Resize", ["batched_images", "", "", "size"], ["image_embeddings"], *smoothly)]
    inputs = [value("batched_images", FLOAT, ["B", 3, "H", "W"])]
    outputs = [value("image_embeddings", FLOAT, ["B", 3, SIDE, SIDE])]
    return model("colours", nodes, [numbers("size", [1, 3, SIDE, SIDE])], inputs, outputs)


def decoder() -> bytes:
    """Return a model that gives masks (1, 1, 3, H, W), above 0 inside, of colours and points (1, 1, N, 2) as (x, y)."""
    constants = [
        numbers("flat_points", [-1, 2]), numbers("flat", [-1]), numbers("pixels", [3, -1]), numbers("reversed", [1, 0]),
        numbers("axis_0", [0]), numbers("axis_1", [1]), numbers("axis_2", [2]), numbers("batch", [1, 1]),
        numbers("square", [1, 1, SIDE, SIDE]), numbers("times", [1, 1, 3, 1, 1]), number("zero", 0), number("one", 1),
        number("side", SIDE), number("last", SIDE - 1), fraction("side_f", float(SIDE)), fraction("half", 0.5),
        fraction("nothing", 0.0), fraction("far", _FAR), fraction("reach", REACH),
    ]  # fmt: skip
    inputs = [
        value("image_embeddings", FLOAT, ["B", 3, SIDE, SIDE]), value("batched_point_coords", FLOAT, [1, 1, "N", 2]),
        value("batched_point_labels", FLOAT, [1, 1, "N"]), value("orig_im_size", INT64, [2]),
    ]  # fmt: skip
    outputs = [value("masks", FLOAT, [1, 1, 3, "H", "W"]), value("iou", FLOAT, []), value("low", FLOAT, [])]
    return model("nearly_this_colour", [*_points(), *_distances(), *_masks()], constants, inputs, outputs)


def _points() -> list[bytes]:
    """Return what finds the colours under the points."""
    return [
        node("Reshape", ["batched_point_coords", "flat_points"], ["points"]),
        # (H, W) as (W, H), like the points.
        node("Gather", ["orig_im_size", "reversed"], ["size"]),
        node("Cast", ["size"], ["size_f"], integer("to", FLOAT)),
        node("Div", ["points", "size_f"], ["share"]),
        node("Mul", ["share", "side_f"], ["place_f"]),
        node("Cast", ["place_f"], ["place_any"], integer("to", INT64)),
        node("Max", ["place_any", "zero"], ["place_least"]),
        node("Min", ["place_least", "last"], ["place"]),
        node("Gather", ["place", "zero"], ["column"], integer("axis", 1)),
        node("Gather", ["place", "one"], ["row"], integer("axis", 1)),
        node("Mul", ["row", "side"], ["row_begins"]),
        node("Add", ["row_begins", "column"], ["index"]),
        node("Squeeze", ["image_embeddings", "axis_0"], ["planes"]),
        node("Reshape", ["planes", "pixels"], ["colours"]),
        node("Gather", ["colours", "index"], ["wanted"], integer("axis", 1)),
    ]


def _distances() -> list[bytes]:
    """Return what finds how far the colour of each place is from the nearest inside and the nearest outside."""
    return [
        node("Unsqueeze", ["colours", "axis_1"], ["each_colour"]),
        node("Unsqueeze", ["wanted", "axis_2"], ["each_wanted"]),
        node("Sub", ["each_colour", "each_wanted"], ["difference"]),
        node("ReduceL2", ["difference", "axis_0"], ["distance"], integer("keepdims", 0)),
        node("Reshape", ["batched_point_labels", "flat"], ["labels"]),
        node("Unsqueeze", ["labels", "axis_1"], ["label"]),
        node("Greater", ["label", "half"], ["is_inside"]),
        node("Where", ["is_inside", "nothing", "far"], ["beside_inside"]),
        node("Where", ["is_inside", "far", "nothing"], ["beside_outside"]),
        node("Add", ["distance", "beside_inside"], ["inside_each"]),
        node("Add", ["distance", "beside_outside"], ["outside_each"]),
        node("ReduceMin", ["inside_each", "axis_0"], ["inside"], integer("keepdims", 0)),
        node("ReduceMin", ["outside_each", "axis_0"], ["outside"], integer("keepdims", 0)),
        node("Min", ["outside", "reach"], ["limit"]),
        node("Sub", ["limit", "inside"], ["score"]),
    ]


def _masks() -> list[bytes]:
    """Return what makes three masks of the picture's size of that, and the two further answers."""
    return [
        node("Reshape", ["score", "square"], ["little"]),
        node("Concat", ["batch", "orig_im_size"], ["mask_size"], integer("axis", 0)),
        node("Resize", ["little", "", "", "mask_size"], ["mask"], text("mode", "linear")),
        node("Unsqueeze", ["mask", "axis_2"], ["one_mask"]),
        node("Tile", ["one_mask", "times"], ["masks"]),
        node("ReduceMax", ["score"], ["iou"], integer("keepdims", 0)),
        node("ReduceMin", ["score"], ["low"], integer("keepdims", 0)),
    ]


def main() -> None:
    """Write both into a folder: ``PYTHONPATH=tests python -m support.colour_onnx inventories/models``."""
    folder = Path(sys.argv[1])
    for name, content in (("encoder", encoder()), ("decoder", decoder())):
        (folder / f"colour-{name}.onnx").write_bytes(content)


if __name__ == "__main__":
    main()
