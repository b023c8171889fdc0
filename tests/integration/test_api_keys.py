# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""API keys, from the play that an operator types to the gateway that lets a client through, and nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.arguments import ArgumentWatch
from support.gateway_process import GatewayProcess, running_gateway
from support.modules import HOST_PYTHON, ROOT, ModuleResult, controller_environment, run_module

DECLARED = {"format": 1, "clients": {"webui": {"keys": [{"id": "1", "sha256": "a" * 64, "scopes": ["chat"]}]}}}
#: The gateway looks once a second.
NOTICE_SECONDS = 6.0
PREFIX = "keystest"


@dataclass(frozen=True)
class Host:
    """A site whose gateway was deployed, as far as keys go."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def issued(self) -> Path:
        return self.site / "state/keys/issued.json"

    @property
    def store(self) -> Path:
        return self.folder / "private/secrets.json"

    def deploy(self) -> None:
        config = self.site / f"projects/{PREFIX}-gateway/config"
        config.mkdir(parents=True)
        (config / "keys.json").write_text(json.dumps(DECLARED))
        services = {"format": 1, "gpus": {}, "services": [{"name": "chat"}, {"name": "masks"}]}
        (config / "services.json").write_text(json.dumps(services))
        self.store.parent.mkdir(mode=0o700)

    def keys(self, action: str, **given: Any) -> ModuleResult:
        """Run the module on the host's own Python."""
        places = {"site_directory": str(self.site), "secret_store": str(self.store)}
        done = run_module("api_keys", {"action": action, **places, **given})
        assert not done.failed, done.msg
        return done

    def value(self, secret: str) -> str:
        """Return a key, read by code that is not ours."""
        versions = json.loads(self.store.read_text())["secrets"][secret]["versions"]
        return str(next(iter(versions.values()))["secret"]["value"])

    def values(self) -> list[str]:
        return [self.value(name) for name in json.loads(self.store.read_text())["secrets"]]

    def play(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the playbook as an operator types it."""
        host = {"ansible_connection": "local", "ansible_python_interpreter": HOST_PYTHON, "ansible_become": False}
        values = {"site_prefix": PREFIX, "site_directory": str(self.site), "site_secret_store": str(self.store)}
        inventory = {
            "all": {"hosts": {"gpu1": host}, "children": {"inference": {"hosts": {"gpu1": {}}}}, "vars": values}
        }
        (self.folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
        command = [str(Path(sys.prefix) / "bin/ansible-playbook"), "modelyard.platform.keys", "-i", "inventory.yml"]
        return subprocess.run(
            [*command, *arguments], check=False, capture_output=True, text=True, timeout=300, cwd=self.folder,
            stdin=subprocess.DEVNULL,
            env=controller_environment(
                str(self.folder), {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "USER": "ada", **settings}
            ),
        )  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path)
    found.deploy()
    return found


@pytest.fixture
def gateway(host: Host, tmp_path: Path) -> Iterator[GatewayProcess]:
    folder = tmp_path / "gateway"
    folder.mkdir()
    with running_gateway(folder, issued=host.issued, idle_seconds=None) as running:
        yield running


def until(gateway: GatewayProcess, key: str, status: int) -> None:
    """Wait until a client gets this status with its key."""
    end = time.monotonic() + NOTICE_SECONDS
    while (found := gateway.ask(key)) != status:
        assert time.monotonic() < end, f"{found}, not {status}, {NOTICE_SECONDS:g} s later"
        time.sleep(0.05)


def test_the_gateway_goes_by_what_was_issued_revoked_and_rotated(host: Host, gateway: GatewayProcess) -> None:
    first = host.value(host.keys("issue", client="alice", scopes=["chat"], rate={"per_minute": 6e5})["secret"])
    until(gateway, first, 200)
    other = host.value(host.keys("issue", client="bob", scopes=["masks"])["secret"])
    until(gateway, other, 403)
    second = host.value(host.keys("rotate", client="alice")["secret"])
    until(gateway, second, 200)
    assert (gateway.ask(first), gateway.ask(other)) == (200, 403)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    third = host.value(host.keys("issue", client="eve", scopes=["*"], expires=soon)["secret"])
    until(gateway, third, 200)
    host.keys("revoke", client="alice")
    for revoked in (first, second):
        until(gateway, revoked, 403)
    until(gateway, third, 403)
    assert gateway.ask() == 200, "the declared key is another file's"
    reasons = {(line.get("client"), line["reason"]) for line in read_audit(gateway) if line["decision"] != "allowed"}
    assert {("bob", "wrong_scope"), ("eve", "expired_key"), ("", "wrong_key")} <= reasons, reasons
    audit = (gateway.folder / "audit.log").read_text() + (gateway.folder / "program.log").read_text()
    assert not [value for value in (first, second, third, other) if value in audit]


def read_audit(gateway: GatewayProcess) -> list[dict[str, Any]]:
    time.sleep(0.2)
    return [json.loads(line) for line in (gateway.folder / "audit.log").read_text().splitlines()]


def test_an_operator_issues_lists_rotates_and_revokes(host: Host) -> None:
    issued = host.play(
        "-e", "keys_action=issue", "-e", "keys_client=alice", "-e", "keys_scopes=chat,masks", "-e",
        "keys_expires=2099-01-31", "-e", "keys_per_minute=600",
    )  # fmt: skip
    assert issued.returncode == 0, issued.stdout + issued.stderr
    today = time.strftime("%Y%m%d", time.gmtime())
    name = f"gateway_key_alice_{today}"
    assert f"To read the new key on gpu1: sudo modelyard-{PREFIX} secrets show {name}\n" in issued.stdout
    assert host.value(name) not in issued.stdout + issued.stderr
    written = json.loads(host.issued.read_text())["clients"]["alice"]
    assert (written["rate"], written["keys"][0]["issued_by"]) == ({"per_minute": 600, "burst": 10}, "ada")
    looked = host.play("-e", "keys_action=revoke", "-e", "keys_client=alice", "--check", "--diff")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert f"-alice   {today}  chat,masks  2099-01-31T23:59:59Z  active\n" in looked.stdout
    assert json.loads(host.issued.read_text())["clients"]["alice"] == written
    assert host.play("-e", "keys_action=rotate", "-e", "keys_client=alice").returncode == 0
    listed = host.play()
    assert f"alice   {today}    chat,masks  " in listed.stdout, listed.stdout
    assert "webui   1           chat        never                 active (declared)\n" in listed.stdout
    assert host.play("-e", "keys_action=revoke", "-e", "keys_client=alice").returncode == 0
    assert json.loads(host.issued.read_text())["clients"] == {}
    assert json.loads(host.store.read_text())["secrets"] == {}


def test_the_command_on_the_host_lists_them(host: Host, tmp_path: Path) -> None:
    command = tmp_path / "modelyard"
    subprocess.run([sys.executable, ROOT / "tools/build_host_command.py", command], check=True)
    host.keys("issue", client="alice", scopes=["chat"], id="laptop")
    done = subprocess.run(
        [HOST_PYTHON, command, "keys", "list", "--directory", host.site, "--secret-store", host.store],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "CLIENT  ID      SCOPES  EXPIRES  STATE\n"
        "alice   laptop  chat    never    active\n"
        "webui   1       chat    never    active (declared)\n"
    )


@pytest.mark.parametrize("shown", [True, False], ids=["shown", "not shown"])
def test_a_key_is_on_the_screen_once_when_asked_for_and_nowhere_else(host: Host, shown: bool, tmp_path: Path) -> None:
    settings = {
        "ANSIBLE_LOG_PATH": str(tmp_path / "ansible.log"), "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "facts"), "ANSIBLE_DEBUG": "1",
    }  # fmt: skip
    with ArgumentWatch() as watch:
        done = host.play(
            "-vvvv", "--diff", "-e", "keys_action=issue", "-e", "keys_client=alice", "-e", "keys_scopes=chat", "-e",
            f"keys_show={shown}", **settings,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (value,) = host.values()
    assert (done.stdout.count(value), done.stderr.count(value)) == (int(shown), 0)
    digest = json.loads(host.issued.read_text())["clients"]["alice"]["keys"][0]["sha256"]
    elsewhere = watch.text() + (tmp_path / "ansible.log").read_text()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != host.store]
    elsewhere += "".join(path.read_text(errors="replace") for path in files)
    assert "gateway_key_alice" in elsewhere
    assert value not in elsewhere
    assert elsewhere.count(digest) == 1, "but in the file of issued keys"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ["keys_scopes=chat,imagery"],
            "no gated service has the scope 'imagery', there are chat, masks; correct the scope, or deploy the service",
        ),
        (["keys_scopes=chat", "keys_expires=2020-01-31"], "its end 2020-01-31T23:59:59Z has passed, it is"),
    ],
    ids=["scope", "expiry"],
)
def test_wrong_input_is_told_with_the_fix_and_nothing_is_made(host: Host, given: list[str], words: str) -> None:
    arguments = [text for one in ("keys_action=issue", "keys_client=alice", *given) for text in ("-e", one)]
    refused = host.play(*arguments)
    assert refused.returncode != 0
    assert f"Cannot issue a key for client 'alice': {words}" in " ".join(
        refused.stdout.split() + refused.stderr.split()
    )
    assert not host.issued.exists()
    assert not host.store.exists()
