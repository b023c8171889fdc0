# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GGUF files written without any package: version 3 of the format, as ggml's ``docs/gguf.md`` describes it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

_ALIGNMENT = 32
#: Types of metadata.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
#: Types of tokens.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

Typed = tuple[int, object]
#: Shape, fastest dimension first, and weights as float32.
Tensor = tuple[tuple[int, ...], bytes]
#: Text, score and type.
Token = tuple[str, float, int]
#: What each vocabulary begins with: unknown, begin, end, and every byte.
SPECIAL: list[Token] = [
    ("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL),
    *((f"<0x{code:02X}>", 0.0, BYTE) for code in range(256)),
]  # fmt: skip


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


def llama(
    name: str,
    tokens: Iterable[Token],
    *,
    width: int,
    heads: int,
    layers: int,
    forward: int,
    context: int,
    template: str,
) -> dict[str, Typed]:
    """Return the metadata of a model of the architecture ``llama``, whose vocabulary begins with :data:`SPECIAL`."""
    texts, scores, kinds = zip(*tokens, strict=True)
    return {
        "general.architecture": (STRING, "llama"),
        "general.name": (STRING, name),
        "llama.context_length": (UINT32, context),
        "llama.embedding_length": (UINT32, width),
        "llama.block_count": (UINT32, layers),
        "llama.feed_forward_length": (UINT32, forward),
        "llama.attention.head_count": (UINT32, heads),
        "llama.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        "llama.rope.dimension_count": (UINT32, width // heads),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.pre": (STRING, "default"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, texts)),
        "tokenizer.ggml.scores": (ARRAY, (FLOAT32, scores)),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, kinds)),
        "tokenizer.ggml.bos_token_id": (UINT32, 1),
        "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.ggml.unknown_token_id": (UINT32, 0),
        "tokenizer.ggml.add_bos_token": (BOOL, True),
        "tokenizer.chat_template": (STRING, template),
    }


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
