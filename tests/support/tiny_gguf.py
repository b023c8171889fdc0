# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A language model of random weights in a GGUF file: small, and the same each time.

Its text is noise; what counts is that it is served.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence

from support.gguf_files import NORMAL, SPECIAL, Tensor, gguf, llama

_WIDTH, _HEADS, _LAYERS, _FORWARD, _CONTEXT = 64, 4, 2, 128, 2048
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def tiny_gguf(seed: int = 7) -> bytes:
    """Return a model of the architecture ``llama``, about half a megabyte; another seed is another model."""
    letters = [*map(chr, range(ord("a"), ord("z") + 1)), "\u2581", "th", "in", "er", "an", "on", "re"]
    tokens = [*SPECIAL, *((letter, -1.0 - number, NORMAL) for number, letter in enumerate(letters))]
    metadata = llama("tiny", tokens, width=_WIDTH, heads=_HEADS, layers=_LAYERS, forward=_FORWARD, context=_CONTEXT,
                     template=_TEMPLATE)  # fmt: skip
    return gguf(metadata, _tensors(len(tokens), random.Random(seed)))


def _tensors(words: int, chance: random.Random) -> dict[str, Tensor]:
    """Return name to shape, fastest dimension first, and weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (_WIDTH, words), "output_norm": (_WIDTH,), "output": (_WIDTH, words),
    }  # fmt: skip
    for layer in range(_LAYERS):
        shapes |= {f"blk.{layer}.{name}": (_WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.attn_{name}": (_WIDTH, _WIDTH) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}": (_WIDTH, _FORWARD) for name in ("gate", "up")}
        shapes[f"blk.{layer}.ffn_down"] = (_FORWARD, _WIDTH)
    return {f"{name}.weight": (shape, _weights(name, shape, chance).tobytes()) for name, shape in shapes.items()}


def _weights(name: str, shape: Sequence[int], chance: random.Random) -> array[float]:
    if name.endswith("norm"):
        return array("f", [1.0] * shape[0])
    count = shape[0] * shape[1]
    return array("f", (chance.gauss(0.0, 0.1) for _number in range(count)))
