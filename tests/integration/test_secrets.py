# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ``secrets`` on the system's Python: made once, rotated, sealed, moved, refused."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.modules import ModuleResult, host_environment, run_module, start_module

KINDS: list[dict[str, Any]] = [
    {"name": "pw", "kind": "password"},
    {"name": "tok", "kind": "token"},
    {"name": "hx", "kind": "hex"},
    {"name": "b64", "kind": "base64"},
    {"name": "uu", "kind": "uuid"},
    {"name": "fer", "kind": "fernet"},
    {"name": "dj", "kind": "django_key"},
    {"name": "key", "kind": "api_key"},
    {"name": "given", "kind": "token", "value": 'g1v3n $val"ue\nof two lines'},
    {"name": "hash", "kind": "bcrypt", "of": "pw"},
    {"name": "login", "kind": "htpasswd", "of": "pw", "user": "admin"},
    {"name": "ed", "kind": "ed25519"},
    {"name": "rs", "kind": "rsa", "bits": 2048},
    {"name": "rd", "kind": "rustdesk_key"},
    {"name": "ca", "kind": "x509_ca"},
    {"name": "leaf", "kind": "x509_leaf", "of": "ca", "names": ["a.test", "10.0.0.1"]},
]


#: Reads a password and hashes of it from its standard input.
VERIFY = """
import sys
from passlib.hash import bcrypt
password, *hashes = sys.stdin.read().split()
print(*(bcrypt.verify(password, one) for one in hashes))
"""


class Host:
    """A store of its own; ``run`` is the module on it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)
        self.folder = folder
        self.path = folder / "etc" / "secrets.json"

    def run(self, *declared: Mapping[str, Any], check: bool = False, diff: bool = False, **params: Any) -> ModuleResult:
        given = {"path": str(self.path), "site_directory": str(self.folder / "site"), "secrets": list(declared)}
        return run_module("secrets", {**given, **params}, check=check, diff=diff)

    def secrets(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text())["secrets"])

    def value(self, name: str, part: str = "value") -> str:
        secret = self.secrets()[name]
        version = secret["versions"][str(secret["current"])]
        return str({**version["secret"], **version["public"]}[part])

    def stamps(self) -> dict[str, tuple[int, int, int]]:
        """Map every file and folder to what shows that it was touched."""
        found = [self.folder, *self.folder.rglob("*")]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.stat().st_ino) for path in found}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def peer(tmp_path: Path) -> Host:
    return Host(tmp_path / "peer")


def test_every_kind_check_real_check_again_real_again(host: Host) -> None:
    before = host.stamps()
    told = host.run(*KINDS, check=True, diff=True)
    assert told.changed, told.msg
    assert host.stamps() == before, "check mode touched something"
    done = host.run(*KINDS, diff=True)
    assert done.changed, done.msg
    assert (done["plan"], done["diff"]) == (told["plan"], told["diff"])
    assert {name: found["version"] for name, found in done["secrets"].items()} == {one["name"]: 1 for one in KINDS}
    made = host.stamps()
    assert not host.run(*KINDS, check=True).changed
    again = host.run(*KINDS, diff=True)
    assert (again.changed, again["plan"], again["diff"]) == (False, [], {"before": {}, "after": {}})
    assert host.stamps() == made, "a run that changes nothing touched something"
    assert again["secrets"] == done["secrets"]


def test_store_and_its_folder_are_root_only(host: Host) -> None:
    host.run({"name": "pw", "kind": "password"})
    assert [oct(path.stat().st_mode & 0o7777) for path in (host.path.parent, host.path)] == ["0o700", "0o600"]
    assert sorted(path.name for path in host.path.parent.iterdir()) == ["secrets.json", "secrets.json.lock"]


def test_run_that_changes_nothing_imports_no_cryptography(host: Host) -> None:
    host.run(*KINDS)
    broken = host.folder / "broken"
    for name in ("cryptography", "passlib", "bcrypt"):
        (broken / name).mkdir(parents=True)
        (broken / name / "__init__.py").write_text("raise RuntimeError('imported')")
    path = f"{broken}:{_python_path()}"
    params = {"path": str(host.path), "secrets": KINDS}
    again = run_module("secrets", params, environment={"PYTHONPATH": path})
    assert (again.failed, again.changed) == (False, False), again.msg
    rotation = run_module("secrets", {**params, "rotate": ["ed"]}, environment={"PYTHONPATH": path})
    assert rotation.failed, "the broken package was not even looked at, so the test proves nothing"


def _python_path() -> str:
    return host_environment()["PYTHONPATH"]


@pytest.mark.parametrize(
    ("kind", "missing", "message"),
    [
        (
            {"kind": "ed25519"},
            "cryptography",
            (
                "Cannot make an Ed25519 key pair: this host's Python has no cryptography; "
                "install the Debian package python3-cryptography."
            ),
        ),
        (
            {"kind": "bcrypt", "of": "pw"},
            "passlib",
            (
                "Cannot make a bcrypt hash: this host has no passlib; install the Debian packages python3-passlib and "
                "python3-bcrypt (with pip: libpass and bcrypt)."
            ),
        ),
    ],
)
def test_missing_package_is_named(host: Host, kind: dict[str, Any], missing: str, message: str) -> None:
    (host.folder / missing).mkdir()
    (host.folder / missing / "__init__.py").write_text("raise ImportError")
    declared = [{"name": "pw", "kind": "password"}, {"name": "a", **kind}]
    params = {"path": str(host.path), "secrets": declared}
    result = run_module("secrets", params, environment={"PYTHONPATH": f"{host.folder}:{_python_path()}"})
    assert (result.failed, result.msg) == (True, message)
    assert not host.path.exists()


def test_hashes_fit_their_password_before_and_after_rotation(host: Host) -> None:
    declared = [one for one in KINDS if one["name"] in ("pw", "hash", "login")]
    host.run(*declared)
    old = host.secrets()
    _verify(host)
    rotated = host.run(rotate=["pw"])
    assert [(step["name"], step["action"]) for step in rotated["plan"]] == [
        ("pw", "rotate"), ("hash", "derive"), ("login", "derive"),
    ]  # fmt: skip
    _verify(host)
    new = host.secrets()
    assert {name: sorted(found["versions"]) for name, found in new.items()} == {key: ["1", "2"] for key in old}
    assert new["pw"]["versions"]["1"] == old["pw"]["versions"]["1"]
    assert not host.run(*declared).changed


def _verify(host: Host) -> None:
    user, _separator, hashed = host.value("login").partition(":")
    assert (user, hashed) == ("admin", host.value("login", "hash"))
    lines = [host.value("pw"), host.value("hash"), hashed]
    verify = ["/usr/bin/python3", "-c", VERIFY]
    done = subprocess.run(verify, input="\n".join(lines), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
    assert hashed.startswith("$2y$10$")


def test_versions_that_a_kept_release_refers_to_stay(host: Host) -> None:
    pw = {"name": "pw", "kind": "password"}
    host.run(pw)
    release = host.folder / "site" / "releases" / "mytest" / "1" / "release.json"
    release.parent.mkdir(parents=True)
    release.write_text('{"secrets": {"pw": 1}}')
    for _round in range(4):
        host.run(pw, rotate=["pw"])
    assert sorted(host.secrets()["pw"]["versions"]) == ["1", "4", "5"]
    refused = host.run(pw, state="absent")
    assert refused.msg == (
        "Cannot remove secret 'pw': a kept release refers to it; remove the project or that release first."
    )
    release.write_text("{")
    assert host.run(pw, rotate=["pw"]).msg == (
        f"Cannot tell which secrets release {release} needs: it cannot be read or is damaged; "
        "remove its folder if it is not needed."
    )
    assert sorted(host.secrets()["pw"]["versions"]) == ["1", "4", "5"]


def test_removal_check_real_check_again_real_again(host: Host) -> None:
    host.run(*KINDS[:3])
    told = host.run(KINDS[0], state="absent", check=True)
    assert sorted(host.secrets()) == ["hx", "pw", "tok"]
    done = host.run(KINDS[0], state="absent")
    assert (told.changed, done.changed, done["plan"]) == (True, True, told["plan"])
    assert sorted(host.secrets()) == ["hx", "tok"]
    assert not host.run(KINDS[0], state="absent", check=True).changed
    assert not host.run(KINDS[0], state="absent").changed


def test_secret_sealed_on_one_host_is_opened_on_another_and_follows_its_rotation(host: Host, peer: Host) -> None:
    host.run(*KINDS)
    key = peer.run(host_key=True)
    assert key.changed
    assert not peer.run(host_key=True).changed
    sealed = host.run(*KINDS, seal_for=key["host_key"])
    assert not sealed.changed
    texts = list(sealed["sealed"].values())
    told = peer.run(sealed=texts, check=True)
    assert (told.changed, sorted(told["received"])) == (True, sorted(one["name"] for one in KINDS))
    assert peer.secrets() == {}
    assert peer.run(sealed=texts).changed
    assert not peer.run(sealed=texts).changed
    for name in ("pw", "given"):
        assert peer.value(name) == host.value(name)
    assert peer.value("leaf", "private") == host.value("leaf", "private")
    host.run(rotate=["pw"])
    again = host.run(KINDS[0], seal_for=key["host_key"])
    assert peer.run(sealed=list(again["sealed"].values()))["received"] == ["pw"]
    assert peer.value("pw") == host.value("pw")
    assert sorted(peer.secrets()["pw"]["versions"]) == ["1", "2"]


def test_sealed_secret_for_another_host_is_refused(host: Host, peer: Host) -> None:
    host.run(KINDS[0])
    own_key = host.run(host_key=True)["host_key"]
    peer_key = peer.run(host_key=True)["host_key"]
    sealed = host.run(KINDS[0], seal_for=own_key)["sealed"]["pw"]
    assert peer.run(sealed=[sealed]).msg == (
        f"Cannot open sealed secret 'pw': it is not for this host's key {peer_key}, or was changed on the way; "
        "seal it again for that key."
    )


@pytest.mark.parametrize("encryption", ["ansible_vault", "age"])
def test_store_moves_as_an_encrypted_file(host: Host, peer: Host, encryption: str) -> None:
    host.run(*KINDS)
    target, source = _file_options(host.folder, encryption)
    assert host.run(export_to=target, check=True).changed
    assert not Path(target["path"]).exists()
    assert host.run(export_to=target).changed
    assert not host.run(export_to=target).changed
    told = peer.run(import_from=source, check=True)
    done = peer.run(import_from=source)
    assert (told.changed, done.changed, done["imported"]) == (True, True, told["imported"])
    assert peer.secrets() == host.secrets()
    assert not peer.run(import_from=source).changed
    host.run(rotate=["pw"])
    assert host.run(export_to=target).changed
    assert peer.run(import_from=source).msg.startswith(f"Cannot import secrets from {target['path']}: the store ")


def _file_options(folder: Path, encryption: str) -> tuple[dict[str, Any], dict[str, Any]]:
    path = {"path": str(folder / "export"), "encryption": encryption}
    if encryption == "ansible_vault":
        (folder / "passphrase").write_text("correct horse")
        both = {**path, "passphrase_file": str(folder / "passphrase")}
        return both, both
    done = subprocess.run(["age-keygen", "-o", folder / "identity"], capture_output=True, text=True, check=True)
    recipient = done.stderr.split()[-1]
    return {**path, "recipients": [recipient]}, {**path, "identity_file": str(folder / "identity")}


def test_two_runs_at_once_make_one_secret(host: Host) -> None:
    params = {"path": str(host.path), "secrets": KINDS}
    running = [start_module("secrets", params) for _number in range(3)]
    results = [one.wait() for one in running]
    assert [result.failed for result in results] == [False] * 3, [result.msg for result in results]
    assert sum(result.changed for result in results) == 1
    assert {found["current"] for found in host.secrets().values()} == {1}


BAD_STORES = {
    "loose mode": (
        lambda path: path.chmod(0o644),
        (
            "Cannot trust the secret store's {path}: its mode is 0644, others may read or change it; "
            "run: chmod 0600 {path}, and rotate what was in it."
        ),
    ),
    "loose folder": (
        lambda path: path.parent.chmod(0o755),
        (
            "Cannot trust the secret store's {folder}: its mode is 0755, others may read or change it; "
            "run: chmod 0700 {folder}, and rotate what was in it."
        ),
    ),
    "foreign owner": (
        lambda path: os.chown(path, 4242, 4242),
        (
            "Cannot trust the secret store's {path}: it belongs to uid 4242; "
            "look at who changed it, then run: chown 0 {path}"
        ),
    ),
    "cut in half": (
        lambda path: os.truncate(path, path.stat().st_size // 2),
        (
            "Cannot read the secret store {path}: its {half} bytes are not JSON (cut off?); "
            "it is damaged, restore it from a backup."
        ),
    ),
    "newer format": (
        lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 2')),
        (
            "Cannot read {path}: it has format 2, modelyard.platform 0.1.0 knows up to 1; "
            "a newer version wrote it, install that version."
        ),
    ),
}


@pytest.mark.parametrize("case", BAD_STORES)
def test_store_that_must_not_be_trusted_is_refused_untouched(host: Host, case: str) -> None:
    spoil, message = BAD_STORES[case]
    host.run(*KINDS[:3])
    half = host.path.stat().st_size // 2
    spoil(host.path)
    before = host.stamps()
    result = host.run({"name": "new", "kind": "password"})
    assert result.failed
    assert result.msg == message.format(path=host.path, folder=host.path.parent, half=half)
    assert host.stamps() == before


def test_unknown_kind_is_refused_by_name(host: Host) -> None:
    result = host.run({"name": "a", "kind": "magic"})
    choices = ", ".join(sorted({one["kind"] for one in KINDS}))
    assert result.msg == f"value of kind must be one of: {choices}, got: magic found in secrets"


def test_full_disk_leaves_the_old_store(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "mytest-secrets", str(folder)], check=True)
    try:
        path = folder / "secrets.json"
        assert not host.run(*KINDS[:3], path=str(path)).failed
        before = path.read_bytes()
        (folder / "filler").write_bytes(b"x" * (64 * 1024 - 3 * 4096))
        result = host.run(*KINDS, *({"name": f"n{one}", "kind": "password"} for one in range(99)), path=str(path))
        assert result.msg == (
            f"Cannot write the secret store {path}: No space left on device; it is as before, mend that and run again."
        )
        assert path.read_bytes() == before
        assert sorted(one.name for one in folder.iterdir()) == ["filler", "secrets.json", "secrets.json.lock"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)
