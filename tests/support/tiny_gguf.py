# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A language model of random weights in a GGUF file, written without any package: small, and the same each time.

Version 3 of the format, as ggml's ``docs/gguf.md`` describes it. Its text is noise; what counts is that it is served.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Mapping, Sequence

_WIDTH, _HEADS, _LAYERS, _FORWARD, _CONTEXT = 64, 4, 2, 128, 2048
_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"

Typed = tuple[int, object]


def tiny_gguf(seed: int = 7) -> bytes:
    """Return a model of the architecture ``llama``, about half a megabyte; another seed is another model."""
    tokens, scores, kinds = _vocabulary()
    metadata: dict[str, Typed] = {
        "general.architecture": (_STRING, "llama"),
        "general.name": (_STRING, "tiny"),
        "llama.context_length": (_UINT32, _CONTEXT),
        "llama.embedding_length": (_UINT32, _WIDTH),
        "llama.block_count": (_UINT32, _LAYERS),
        "llama.feed_forward_length": (_UINT32, _FORWARD),
        "llama.attention.head_count": (_UINT32, _HEADS),
        "llama.attention.layer_norm_rms_epsilon": (_FLOAT32, 1e-5),
        "llama.rope.dimension_count": (_UINT32, _WIDTH // _HEADS),
        "tokenizer.ggml.model": (_STRING, "llama"),
        "tokenizer.ggml.pre": (_STRING, "default"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, tokens)),
        "tokenizer.ggml.scores": (_ARRAY, (_FLOAT32, scores)),
        "tokenizer.ggml.token_type": (_ARRAY, (_INT32, kinds)),
        "tokenizer.ggml.bos_token_id": (_UINT32, 1),
        "tokenizer.ggml.eos_token_id": (_UINT32, 2),
        "tokenizer.ggml.unknown_token_id": (_UINT32, 0),
        "tokenizer.ggml.add_bos_token": (_BOOL, True),
        "tokenizer.chat_template": (_STRING, _TEMPLATE),
    }
    return _file(metadata, _tensors(len(tokens), random.Random(seed)))


def _vocabulary() -> tuple[list[str], list[float], list[int]]:
    letters = [*map(chr, range(ord("a"), ord("z") + 1)), "\u2581", "th", "in", "er", "an", "on", "re"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{code:02X}>" for code in range(256)), *letters]
    scores = [0.0] * 259 + [-1.0 - number for number in range(len(letters))]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(letters)]
    return tokens, scores, kinds


def _tensors(words: int, chance: random.Random) -> dict[str, tuple[tuple[int, ...], array[float]]]:
    """Return name to shape, fastest dimension first, and weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (_WIDTH, words), "output_norm": (_WIDTH,), "output": (_WIDTH, words),
    }  # fmt: skip
    for layer in range(_LAYERS):
        shapes |= {f"blk.{layer}.{name}": (_WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.attn_{name}": (_WIDTH, _WIDTH) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}": (_WIDTH, _FORWARD) for name in ("gate", "up")}
        shapes[f"blk.{layer}.ffn_down"] = (_FORWARD, _WIDTH)
    return {f"{name}.weight": (shape, _weights(name, shape, chance)) for name, shape in shapes.items()}


def _weights(name: str, shape: Sequence[int], chance: random.Random) -> array[float]:
    if name.endswith("norm"):
        return array("f", [1.0] * shape[0])
    count = shape[0] * shape[1]
    return array("f", (chance.gauss(0.0, 0.1) for _number in range(count)))


def _file(metadata: Mapping[str, Typed], tensors: Mapping[str, tuple[tuple[int, ...], array[float]]]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(
        _text(key) + struct.pack("<I", kind) + _value(kind, value) for key, (kind, value) in metadata.items()
    )
    body = b""
    for name, (shape, weights) in tensors.items():
        # Of type 0, which is F32.
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(body))
        body += _padded(weights.tobytes())
    return _padded(head) + body


def _value(kind: int, value: object) -> bytes:
    if kind == _STRING:
        return _text(str(value))
    if kind == _ARRAY:
        assert isinstance(value, tuple)
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(_value(inner, one) for one in values)
    return struct.pack({_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f", _BOOL: "<?"}[kind], value)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)
