# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The build command: what reaches a build, and what may not be seen in the list of processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.build import (
    Order,
    build_arguments,
    refuse_little_space,
)
from ansible_collections.modelyard.platform.plugins.module_utils._image.record import (
    Record,
    read_current,
    read_record,
    record_path,
    write_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._image.smoke import parse_commands

from .image_examples import make_recipe

RECIPE = make_recipe(arguments={"VERSION": "1"})


def make_order(*, ca_bundle: str = "/etc/ssl/ca.crt") -> Order:
    return Order(RECIPE, (), None, ca_bundle, timeout_seconds=1, check_seconds=1, wait_seconds=1)


def test_build_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://me:hush@proxy:3128")
    assert build_arguments(make_order(), "/opt/site", "/b") == [
        "buildx", "build", "--builder", "default", "--progress", "plain", "--network", "host",
        "--label", "modelyard.image.name=mytest/tool",
        "--label", f"modelyard.image.inputs={RECIPE.digest}",
        "--label", f"modelyard.image.base={RECIPE.base.reference}",
        "--label", "modelyard.directory=/opt/site",
        "--build-arg", f"BASE={RECIPE.base.reference}",
        "--build-arg", "VERSION=1",
        "--build-arg", "https_proxy",
        "--secret", "id=ca,src=/etc/ssl/ca.crt",
        "--iidfile", "/b/image.id", "/b/context",
    ]  # fmt: skip


def test_without_a_bundle_no_secret_is_offered() -> None:
    assert "--secret" not in build_arguments(make_order(ca_bundle=""), "/opt/site", "/b")


def test_a_base_is_not_started_on_a_disk_that_it_would_fill() -> None:
    refuse_little_space(RECIPE.base, "/b", free=1 << 30)
    with pytest.raises(PlatformError) as caught:
        refuse_little_space(RECIPE.base, "/b", free=(1 << 30) - 1)
    assert str(caught.value) == (
        f"Cannot build base image {RECIPE.base.reference}: /b has 1023 MiB free, and a base takes up to 1024 MiB while "
        "it is made; free some space."
    )


def test_checks_are_split_as_a_shell_would() -> None:
    assert parse_commands(["a b", "sh -c 'x y'"]) == (("a", "b"), ("sh", "-c", "x y"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("a 'b", 'Cannot build an image: the check "a \'b" cannot be split (No closing quotation); mend it.'),
        (" ", "Cannot build an image: a check is empty; remove it from smoke."),
    ],
    ids=["quotation", "empty"],
)
def test_a_check_that_is_no_command_is_refused(command: str, message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_commands([command])
    assert str(caught.value) == message


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_record(str(tmp_path), RECIPE.name) is None
    assert read_current(str(tmp_path)) == frozenset()
    write_record(str(tmp_path), RECIPE.name, Record(RECIPE.reference, RECIPE.inputs))
    assert read_record(str(tmp_path), RECIPE.name) == Record(RECIPE.reference, RECIPE.inputs)
    assert read_current(str(tmp_path)) == {RECIPE.reference}
    assert Path(record_path(str(tmp_path), RECIPE.name)).stat().st_mode & 0o777 == 0o600


def test_a_record_without_an_image_is_refused(tmp_path: Path) -> None:
    write_record(str(tmp_path), RECIPE.name, Record(RECIPE.reference, {}))
    path = Path(record_path(str(tmp_path), RECIPE.name))
    path.write_text('{"format": 1, "inputs": {}}', encoding="utf-8")
    with pytest.raises(PlatformError) as caught:
        read_current(str(tmp_path))
    assert str(caught.value) == (
        f"Cannot read {path}: it has no image or no inputs; remove it, the next run writes it again."
    )
