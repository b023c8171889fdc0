# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recipes: what moves their tag, and what is refused before anything is built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.inputs import compare_inputs
from ansible_collections.modelyard.platform.plugins.module_utils._image.recipe import Recipe, parse_recipe

from .image_examples import DOCKERFILE, make_base, make_recipe

FILES = {"Dockerfile": DOCKERFILE, "run.sh": "#!/bin/sh\n"}


def read_recipe(folder: Path) -> Recipe:
    return parse_recipe(name="mytest/tool", base=make_base(), folder=str(folder), files=None, arguments={})


def write_recipe(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if text.startswith("#!") else 0o644)


@pytest.mark.parametrize(
    "changed",
    [
        make_recipe(files={**FILES, "run.sh": "#!/bin/sh\n\n"}),
        make_recipe(files={**FILES, "run.sh": ":\n"}),
        make_recipe(files={**FILES, "more": ""}),
        make_recipe(arguments={"VERSION": "1"}),
        make_recipe(base=make_base(revision="2")),
    ],
    ids=["a byte", "the executable bit", "a file", "an argument", "the base"],
)
def test_every_input_moves_the_tag(changed: Recipe) -> None:
    assert changed.reference != make_recipe().reference


def test_reference_is_the_one_that_hosts_already_have() -> None:
    # A literal: another value means that every host builds every image again. Then raise RECIPE_FORMAT knowingly.
    assert make_recipe(arguments={"VERSION": 1}).reference == "mytest/tool:fc224d9b362e5c6e"


def test_a_folder_and_the_same_files_as_data_are_one_recipe(tmp_path: Path) -> None:
    files = {**FILES, "etc/app.conf": "ü = 1\n"}
    write_recipe(tmp_path, files)
    assert read_recipe(tmp_path).reference == make_recipe(files=files).reference


def test_umask_and_empty_folders_are_no_inputs(tmp_path: Path) -> None:
    write_recipe(tmp_path, FILES)
    before = read_recipe(tmp_path).reference
    (tmp_path / "Dockerfile").chmod(0o600)
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "empty").mkdir()
    assert read_recipe(tmp_path).reference == before


def test_a_file_that_changes_after_it_was_read_is_not_built(tmp_path: Path) -> None:
    write_recipe(tmp_path, FILES)
    recipe = read_recipe(tmp_path)
    (tmp_path / "run.sh").write_text("#!/bin/sh\nrm -rf /\n", encoding="utf-8")
    with pytest.raises(PlatformError) as caught:
        recipe.files[1].read()
    assert str(caught.value) == f"Cannot read recipe file {tmp_path}/run.sh: it changes while it is read; run again."


def test_arguments_are_kept_as_digests() -> None:
    assert "hush" not in str(make_recipe(arguments={"TOKEN": "hush"}).inputs)


def test_differences_are_named_one_by_one() -> None:
    old = make_recipe(files={**FILES, "old": "", "kept": ""}, arguments={"A": "1", "B": "1"}).inputs
    new = make_recipe(
        files={**FILES, "Dockerfile": DOCKERFILE + "\n", "new": "", "kept": ""},
        arguments={"B": "2", "C": "1"},
        base=make_base(suite="sid"),
    ).inputs
    assert compare_inputs(old, {**new, "format": 2}) == (
        "file Dockerfile",
        "new file new",
        "removed file old",
        "removed argument A",
        "argument B",
        "new argument C",
        "base",
        "format of the recipe scheme",
    )


def test_a_link_in_a_recipe_folder_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path, FILES)
    (tmp_path / "link").symlink_to("run.sh")
    with pytest.raises(PlatformError) as caught:
        read_recipe(tmp_path)
    assert str(caught.value) == (
        f"Cannot build an image: {tmp_path}/link is neither a file nor a folder (a link or a device); "
        "put the file itself there."
    )


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path, FILES)
    (tmp_path / "link").symlink_to(tmp_path.parent, target_is_directory=True)
    with pytest.raises(PlatformError) as caught:
        read_recipe(tmp_path)
    assert str(caught.value) == (
        f"Cannot build an image: {tmp_path}/link is neither a file nor a folder (a link or a device); "
        "put the file itself there."
    )


def test_a_secret_reference_in_a_recipe_folder_is_refused_also_across_read_blocks(tmp_path: Path) -> None:
    write_recipe(tmp_path, FILES)
    (tmp_path / "big").write_bytes(b"x" * ((1 << 20) - 4) + b"@@secret:db@@")
    with pytest.raises(PlatformError) as caught:
        read_recipe(tmp_path)
    assert str(caught.value) == (
        "Cannot build an image: the recipe's file 'big' holds a secret reference, and whatever a build reads can be "
        "read from the image; give the secret to the running service as a file instead."
    )


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        read_recipe(tmp_path / "gone")
    assert str(caught.value) == (
        f"Cannot build an image: there is no recipe folder {tmp_path}/gone; correct recipe, or give files."
    )


def test_a_folder_without_a_dockerfile_is_refused(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "sub")
    write_recipe(tmp_path, {"sub/Dockerfile": DOCKERFILE})
    with pytest.raises(PlatformError) as caught:
        read_recipe(tmp_path)
    assert str(caught.value) == (
        f"Cannot build image mytest/tool: there is no Dockerfile in the recipe folder {tmp_path}; "
        "add one that starts FROM ${BASE}."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"name": "Mytest/Tool"},
            (
                "Cannot build image 'Mytest/Tool': a name is made of lower-case words joined by '/', '-', '_' or "
                "'.', such "
                "as modelyard/mlflow."
            ),
        ),
        (
            {"name": "mytest/tool:1"},
            (
                "Cannot build image 'mytest/tool:1': a name is made of lower-case words joined by '/', '-', '_' or "
                "'.', such "
                "as modelyard/mlflow."
            ),
        ),
        (
            {"name": "registry.test/tool"},
            (
                "Cannot build image 'registry.test/tool': 'registry.test' reads as a registry's host; give the "
                "registry as "
                "push_to."
            ),
        ),
        (
            {"name": "modelyard/base"},
            "Cannot build image 'modelyard/base': that is the name of the shared bases; choose another one.",
        ),
        (
            {"files": {"run.sh": ""}},
            (
                "Cannot build image mytest/tool: there is no Dockerfile in the recipe's files; add one that starts "
                "FROM "
                "${BASE}."
            ),
        ),
        (
            {"files": {**FILES, "../x": ""}},
            "Cannot build an image: the recipe's file '../x' is not a path below the recipe; write it as a/b.",
        ),
        (
            {"files": {**FILES, "/etc/x": ""}},
            "Cannot build an image: the recipe's file '/etc/x' is not a path below the recipe; write it as a/b.",
        ),
        (
            {"files": {**FILES, "a": "x @@secret:db@@"}},
            (
                "Cannot build an image: the recipe's file 'a' holds a secret reference, and whatever a build reads can "
                "be read from the image; give the secret to the running service as a file instead."
            ),
        ),
        (
            {"arguments": {"TOKEN": "@@secret:db@@"}},
            (
                "Cannot build an image: the build argument 'TOKEN' holds a secret reference, and whatever a build "
                "reads can "
                "be read from the image; give the secret to the running service as a file instead."
            ),
        ),
        (
            {"arguments": {"BASE": "debian"}},
            "Cannot build an image: the build argument 'BASE' is given by the module itself; rename it.",
        ),
        (
            {"arguments": {"A B": "1"}},
            "Cannot build an image: the build argument 'A B' is no name of a variable; rename it.",
        ),
        (
            {"arguments": {"A": ["1"]}},
            "Cannot build an image: the build argument 'A' is no text but ['1']; quote it.",
        ),
    ],
    ids=[
        "name in capitals",
        "name with tag",
        "name with registry",
        "name of the bases",
        "no Dockerfile",
        "path above",
        "absolute path",
        "secret in a file",
        "secret in an argument",
        "reserved argument",
        "argument with space",
        "argument that is a list",
    ],
)
def test_a_recipe_that_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        make_recipe(**change)
    assert str(caught.value) == message
