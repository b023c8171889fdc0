# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A language model that knows one sentence, as a GGUF file: the sample must work where no other model is at hand.

No training: each word's embedding is a direction of its own, the blocks add nothing, and the output makes of the
direction of a word the word after it. What comes before the answer, whatever it is, leads to the first word.
"""

from __future__ import annotations

import sys
from array import array
from pathlib import Path

from support.gguf_files import CONTROL, NORMAL, SPECIAL, Tensor, gguf, llama

SENTENCE = (
    "Hello! This small model ships with modelyard and always says the same. "
    "Put a real one into inference_services; its page shows how."
)
_WIDTH, _HEADS, _FORWARD, _CONTEXT = 64, 4, 32, 4096
#: Of a word's own direction to the next one; the others are at 0.
_SURE = 4.0
_END, _BEFORE = 2, len(SPECIAL)
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}<|answer|>"


def sentence_gguf() -> bytes:
    """Return a model of the architecture ``llama`` that answers with :data:`SENTENCE`."""
    # Between words the tokenizer writes a space as this.
    words = SENTENCE.replace(" ", " \u2581").split()
    tokens = [*SPECIAL, ("<|answer|>", 0.0, CONTROL), *((word, 0.0, NORMAL) for word in words)]
    metadata = llama("one sentence", tokens, width=_WIDTH, heads=_HEADS, layers=1, forward=_FORWARD, context=_CONTEXT,
                     template=_TEMPLATE)  # fmt: skip
    return gguf(metadata, _tensors(len(tokens), len(words)))


def _tensors(tokens: int, words: int) -> dict[str, Tensor]:
    """Return the weights: of :data:`_WIDTH` directions, the first is what comes before the answer, then the words."""
    assert words < _WIDTH, "each word has a direction of its own"
    embedding, output = array("f", bytes(4 * _WIDTH * tokens)), array("f", bytes(4 * _WIDTH * tokens))
    for token in range(tokens):
        embedding[token * _WIDTH + max(0, token - _BEFORE)] = 1.0
    for word in range(1, words + 1):
        output[(_BEFORE + word) * _WIDTH + word - 1] = _SURE
    output[_END * _WIDTH + words] = _SURE
    shapes: dict[str, tuple[int, ...]] = {
        **{f"blk.0.attn_{name}": (_WIDTH, _WIDTH) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (_WIDTH, _FORWARD), "blk.0.ffn_up": (_WIDTH, _FORWARD), "blk.0.ffn_down": (_FORWARD, _WIDTH),
    }  # fmt: skip
    found: dict[str, Tensor] = {name: (shape, bytes(4 * shape[0] * shape[1])) for name, shape in shapes.items()}
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        found[name] = ((_WIDTH,), array("f", [1.0] * _WIDTH).tobytes())
    found |= {"token_embd": ((_WIDTH, tokens), embedding.tobytes()), "output": ((_WIDTH, tokens), output.tobytes())}
    return {f"{name}.weight": tensor for name, tensor in found.items()}


def main() -> None:
    """Write it: ``PYTHONPATH=tests python -m support.sentence_gguf inventories/models/sentence.gguf``."""
    Path(sys.argv[1]).write_bytes(sentence_gguf())


if __name__ == "__main__":
    main()
