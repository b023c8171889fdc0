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

from support.gguf_files import (
    ARRAY,
    BOOL,
    BYTE,
    CONTROL,
    FLOAT32,
    INT32,
    NORMAL,
    STRING,
    UINT32,
    UNKNOWN,
    Tensor,
    Typed,
    gguf,
)  # fmt: skip

_WIDTH, _HEADS, _LAYERS, _FORWARD, _CONTEXT = 64, 4, 2, 128, 2048
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def tiny_gguf(seed: int = 7) -> bytes:
    """Return a model of the architecture ``llama``, about half a megabyte; another seed is another model."""
    tokens, scores, kinds = _vocabulary()
    metadata: dict[str, Typed] = {
        "general.architecture": (STRING, "llama"),
        "general.name": (STRING, "tiny"),
        "llama.context_length": (UINT32, _CONTEXT),
        "llama.embedding_length": (UINT32, _WIDTH),
        "llama.block_count": (UINT32, _LAYERS),
        "llama.feed_forward_length": (UINT32, _FORWARD),
        "llama.attention.head_count": (UINT32, _HEADS),
        "llama.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        "llama.rope.dimension_count": (UINT32, _WIDTH // _HEADS),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.pre": (STRING, "default"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.scores": (ARRAY, (FLOAT32, scores)),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, kinds)),
        "tokenizer.ggml.bos_token_id": (UINT32, 1),
        "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.ggml.unknown_token_id": (UINT32, 0),
        "tokenizer.ggml.add_bos_token": (BOOL, True),
        "tokenizer.chat_template": (STRING, _TEMPLATE),
    }
    return gguf(metadata, _tensors(len(tokens), random.Random(seed)))


def _vocabulary() -> tuple[list[str], list[float], list[int]]:
    letters = [*map(chr, range(ord("a"), ord("z") + 1)), "\u2581", "th", "in", "er", "an", "on", "re"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{code:02X}>" for code in range(256)), *letters]
    scores = [0.0] * 259 + [-1.0 - number for number in range(len(letters))]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(letters)]
    return tokens, scores, kinds


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
