# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command's file: what is packed, wherever from, and what happens to the file that is there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.filter.host_command_state import host_command_state
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._host_command.install import (
    carry_out,
    describe_file,
    plan_installation,
)
from ansible_collections.modelyard.platform.plugins.module_utils._host_command.pack import (
    SHEBANG,
    is_ours,
    make_content,
    pack,
    read_sources,
)
from support.tree import ROOT

MODULE_UTILS = ROOT / "plugins" / "module_utils"
PLACE = "ansible_collections/modelyard/platform/plugins/module_utils"


@pytest.fixture(scope="module")
def sources() -> dict[str, bytes]:
    return read_sources(str(MODULE_UTILS))


def test_a_payload_that_ansible_brings_gives_the_same_sources(sources: dict[str, bytes], tmp_path: Path) -> None:
    archive = tmp_path / "payload.zip"
    strange = {"__init__.py": b"", "_errors.txt": b"", "_s3/x.py": b"", "_compose/deep/er.py": b"", "../m.py": b""}
    with zipfile.ZipFile(archive, "w") as payload:
        for name, content in {**sources, **strange}.items():
            payload.writestr(os.path.normpath(f"{PLACE}/{name}"), content)
    assert read_sources(f"{archive}/{PLACE}") == sources


def test_what_the_command_needs_is_there_and_what_only_makes_secrets_is_not(sources: dict[str, bytes]) -> None:
    assert {"_errors.py", "_compose/__init__.py", "_compose/run_release.py", "_secrets/store.py"} <= set(sources)
    assert not {"_secrets/certificates.py", "_compose/run_project.py", "__init__.py"} & set(sources)


def test_the_order_of_sources_does_not_count(sources: dict[str, bytes]) -> None:
    assert pack(dict(reversed(list(sources.items())))) == pack(sources)
    assert pack(sources).startswith(SHEBANG)


@pytest.mark.parametrize(
    ("places", "call"),
    [
        ({}, "main()"),
        ({"directory": "", "secret_store": ""}, "main()"),
        ({"directory": "/opt/it's"}, 'main(directory="/opt/it\'s")'),
        ({"secret_store": "/etc/ä"}, "main(secret_store='/etc/\\xe4')"),
        ({"directory": "/a", "secret_store": "/b"}, "main(directory='/a', secret_store='/b')"),
    ],
)
def test_only_places_that_are_given_are_written_into_it(
    sources: dict[str, bytes], places: dict[str, str], call: str, tmp_path: Path
) -> None:
    command = tmp_path / "command"
    command.write_bytes(pack(sources, **places))
    with zipfile.ZipFile(command) as packed:
        assert packed.read("__main__.py").decode().endswith(f"sys.exit({call})\n")


def test_the_command_of_another_site_says_its_places(sources: dict[str, bytes], tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_bytes(pack(sources, directory="/opt/100%sure", secret_store="/etc/b/s.json"))
    done = subprocess.run(
        [sys.executable, "-I", str(command), "status", "--help"], check=True, capture_output=True, text=True
    )
    assert "folder of the site (/opt/100%sure)" in done.stdout
    assert "the secret store (/etc/b/s.json)" in done.stdout


def test_a_missing_file_is_written_with_its_folder_and_then_it_is_as_it_should_be(tmp_path: Path) -> None:
    path, content = str(tmp_path / "sbin" / "modelyard"), pack({"_host_command/main.py": b""})
    plan = plan_installation(path, content)
    assert (plan.action, plan.reason, plan.before) == ("write", "missing", "")
    assert not os.path.exists(tmp_path / "sbin"), "planning wrote"
    if os.geteuid() == 0:
        carry_out(plan, content)
        assert plan_installation(path, content).action == "none"
        os.chmod(path, 0o700)
        assert plan_installation(path, content).reason == "another mode or owner"
        assert plan_installation(path, pack({"_host_command/main.py": b"1"})).reason == "another content"
        gone = plan_installation(path, None)
        carry_out(gone, None)
        assert gone.action == "remove"
        assert not os.path.exists(path)
    assert plan_installation(path, None).reason == "not there"


def test_a_file_that_is_not_the_command_is_refused_and_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "modelyard"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(PlatformError) as refused:
        plan_installation(str(path), b"")
    assert str(refused.value) == (
        f"Cannot write {path}: a file that is not the command modelyard is there; move it away, or give another path."
    )
    assert plan_installation(str(path), None).action == "none"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "modelyard"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlatformError) as refused:
        plan_installation(str(path), b"")
    assert str(refused.value) == (
        f"Cannot read {path}: it is no plain file (Too many levels of symbolic links); move it away, or give another "
        "path."
    )


def test_the_command_of_any_version_is_ours_and_another_zip_is_not(sources: dict[str, bytes], tmp_path: Path) -> None:
    assert is_ours(pack({"_host_command/main.py": b"older"}))
    assert not is_ours(pack({}))
    assert not is_ours(b"modelyard_platform/_host_command/main.py")


def test_a_role_leaves_out_the_task_where_the_file_is_as_the_task_would_write_it(tmp_path: Path) -> None:
    path, content = tmp_path / "modelyard", make_content("/opt/site", "/etc/site.json")
    # The task makes it root's.
    state = host_command_state("/opt/site/", "/etc/site.json").replace("0:0", f"{os.getuid()}:{os.getgid()}")
    assert describe_file(str(path)) == ""
    path.write_bytes(content)
    path.chmod(0o755)
    assert describe_file(str(path)) == state
    assert host_command_state("/opt/other", "/etc/site.json").rpartition(" ")[2] != state.rpartition(" ")[2]
    path.chmod(0o700)
    assert describe_file(str(path)) not in ("", state)
    path.chmod(0o755)
    path.write_bytes(content + b"#")
    assert describe_file(str(path)) not in ("", state)
    assert describe_file(str(tmp_path)) == ""
