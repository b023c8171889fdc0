# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a whole run says: programs that were given secrets quote them, and nobody gets to see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import Target
from ansible_collections.modelyard.platform.plugins.module_utils._compose.release import ReleaseStore
from ansible_collections.modelyard.platform.plugins.module_utils._compose.run_project import ProjectRun
from ansible_collections.modelyard.platform.plugins.module_utils._compose.run_release import ReleaseRun, Wish
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import Reference
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import Secret, SecretStore, Version
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store_change import write_store

PARAMS: dict[str, Any] = {
    "name": "shop", "src": None, "src_files": None, "profiles": None, "env": {"TOKEN": "@@secret:token@@"},
    "env_files": None, "secrets_in_env": ["TOKEN"], "files": None, "networks": None, "edge": None, "update": "auto",
    "state": "present", "pull": "missing", "wait_seconds": 1, "lock_seconds": 1, "on_failure": "rollback",
    "keep_releases": 5, "layers": [{"services": {"web": {"image": "web:1"}}}],
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return the path of a store with the secret ``token``."""
    path = tmp_path / "secrets" / "store.json"
    path.parent.mkdir(mode=0o700)
    version = Version("value", {"value": "correct-horse"}, {}, "generated", {}, 1)
    write_store(SecretStore(str(path), {"token": Secret("password", 1, {1: version})}))
    return str(path)


def test_what_compose_says_when_it_refuses_a_project(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "docker" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.touch(mode=0o755)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    def run(argv: Any, **_: Any) -> Completed:
        is_version = "version" in argv
        return Completed(0, "2.26.1", "") if is_version else Completed(1, "", "invalid value: correct-horse")

    params = {**PARAMS, "directory": str(tmp_path / "site"), "secret_store": store}
    with pytest.raises(PlatformError) as caught:
        ProjectRun(params, check_mode=True, run=run).carry_out()
    assert str(caught.value) == (
        "Cannot read project 'shop': Compose says: invalid value: ***; correct the definition."
    )


def test_what_the_engine_says_on_the_way_back(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(str(tmp_path / "site"))
    site.prepare("shop", b"key")
    releases = ReleaseStore(site, "shop")
    target = Target(name="shop", folder=site.project_folder("shop"), model={}, services={}, secrets={"token": 1})
    for _number in range(2):
        release = releases.begin(target, inputs="", compose_version="", compose_stamp="")
        releases.finish(release, "ok")
    plugin = tmp_path / "docker" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.touch(mode=0o755)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///none/correct-horse.sock")
    wish = Wish(name="shop", directory=site.directory, secret_store=store, state="rolled_back")
    with pytest.raises(PlatformError) as caught:
        ReleaseRun(wish, program="compose_release", check_mode=True).carry_out()
    assert "/none/***.sock" in str(caught.value)


def test_a_value_that_a_pinned_source_gave_is_masked_by_the_other(store: str) -> None:
    source = SecretSource(store)
    assert source.mask("correct-horse") == "correct-horse"
    assert source.pin({"token": 1}).lookup(Reference("token", None)) == "correct-horse"
    result = {"warnings": ["bad: correct-horse"], "notes": ["web: correct-horse"], "release": 1}
    assert source.mask_texts(result) == {"warnings": ["bad: ***"], "notes": ["web: ***"], "release": 1}
