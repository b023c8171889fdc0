# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models as they are declared: what is refused, in words, and what makes two of them the same."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._models.declaration import Model, parse_models

SHA = "a" * 64
FILE = {"path": "model.gguf", "sha256": SHA, "sources": ["https://models.example/model.gguf"]}
SUM_WANTED = "give the 64 hexadecimal digits of its SHA-256 (sha256sum FILE)."


def chat(**more: Any) -> dict[str, Any]:
    return {"name": "chat", "files": [{**FILE, **more}]}


def test_a_model_is_read_as_declared() -> None:
    [model] = parse_models([chat(token="word")])
    assert model == Model("chat", model.files)
    [file] = model.files
    assert (file.path, file.sha256, file.sources, file.token) == (
        "model.gguf", SHA, ("https://models.example/model.gguf",), "word",
    )  # fmt: skip
    assert "word" not in repr(model)


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({}, "Cannot have models: {} is no list; give a list of models."),
        (
            [{"name": "Chat"}],
            "Cannot have a model named 'Chat': use up to 63 lower-case letters, digits, '_', '.' and '-'.",
        ),
        (["chat"], "Cannot have a model named None: use up to 63 lower-case letters, digits, '_', '.' and '-'."),
        (
            [{"name": "chat", "files": []}],
            "Cannot have model 'chat': it has no files; give at least one, with 'path' and 'sha256'.",
        ),
        ([chat(), chat()], "Cannot have model 'chat': two models have this name; rename one."),
        (
            [{"name": "chat", "files": [FILE, FILE]}],
            "Cannot have model 'chat': two of its files are called 'model.gguf'; rename one.",
        ),
        (
            [{"name": "chat", "files": [FILE, {**FILE, "path": "model.gguf/a"}]}],
            "Cannot have model 'chat': 'model.gguf' is a file, and 'model.gguf/a' is to be below it; rename one.",
        ),
        ([chat(sha256="md5")], f"Cannot have model 'chat': the checksum of 'model.gguf' is 'md5'; {SUM_WANTED}"),
        ([chat(sha256=None)], f"Cannot have model 'chat': the checksum of 'model.gguf' is None; {SUM_WANTED}"),
        (
            [chat(sha256="A" * 64)],
            f"Cannot have model 'chat': the checksum of 'model.gguf' is '{'A' * 64}'; {SUM_WANTED}",
        ),
        (
            [chat(path="../x")],
            (
                "Cannot have model 'chat': '../x' is no path of a file; give one below the model's folder, of letters, "
                "digits and '_', '.', '+', '-'."
            ),
        ),
        (
            [chat(sources=["ftp://x/y"])],
            (
                "Cannot have model 'chat': 'model.gguf' cannot come from 'ftp://x/y'; give https://HOST/PATH, or the "
                "path of a file on the host."
            ),
        ),
        (
            [chat(sources=["https://user:word@x/y"])],
            (
                "Cannot have model 'chat': 'model.gguf' cannot come from 'https://user:word@x/y'; give "
                "https://HOST/PATH, or the path of a file on the host."
            ),
        ),
        (
            [chat(size=3)],
            "Cannot have model 'chat': a file of it is said by 'size'; known are 'path', 'sha256', 'sources', 'token'.",
        ),
        (
            [chat(sources="https://x/y")],
            (
                "Cannot have model 'chat': 'sources' of 'model.gguf' is a list of addresses, and 'token' a text; "
                "correct them."
            ),
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(declared: object, text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_models(declared)
    assert str(caught.value) == text


def test_a_tree_is_named_by_what_is_in_it_and_nothing_else() -> None:
    other = {**FILE, "path": "tokenizer.json", "sha256": "b" * 64}
    models = parse_models(
        [
            {"name": "one", "files": [FILE, other]},
            {"name": "two", "files": [other, {**FILE, "sources": []}]},
            {"name": "three", "files": [FILE, {**other, "sha256": "c" * 64}]},
            {"name": "four", "files": [FILE, {**other, "path": "tokens.json"}]},
        ]
    )
    one, two, three, four = (model.tree for model in models)
    assert one == two
    assert len({one, three, four}) == 3
