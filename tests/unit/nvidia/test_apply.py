# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is run on a host, and whose packages are trusted. Programs are stood in for; files are those of a test."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia import apply as applying
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.apply import GpuHost
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.plan import Plan, Step
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.wanted import (
    DriverPackages,
    Repository,
    Wanted,
)
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed

BODY = b"\x04\x5a\x00\x00\x00\x01\x00\x08\xab\x00\x03\x05"
FINGERPRINT = hashlib.sha1(b"\x99" + len(BODY).to_bytes(2, "big") + BODY).hexdigest().upper()


def armored(body: bytes) -> bytes:
    packet = base64.b64encode(bytes([0x99]) + len(body).to_bytes(2, "big") + body).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{packet}\n-----END PGP PUBLIC KEY BLOCK-----\n".encode()


KEY = armored(BODY)


class Programs:
    """Stands in for all programs, and remembers what was run."""

    def __init__(self, **outputs: str) -> None:
        self.lines: list[str] = []
        self._outputs = outputs

    def __call__(self, argv: Sequence[str], **_options: object) -> Completed:
        words = [word for word in argv if not word.startswith(("-", "DPkg::"))]
        self.lines.append(" ".join(words))
        return Completed(0, self._outputs.get(words[0].replace("-", "_"), ""), "")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    served = tmp_path / "served.asc"
    served.write_bytes(KEY)
    apt = tmp_path / "apt"
    return Repository(
        f"{apt}/sources.list.d/nvidia.sources", "Types: deb\n", f"{apt}/keyrings/nvidia.asc", f"file://{served}",
        FINGERPRINT,
    )  # fmt: skip


def host(programs: Programs, **options: Any) -> GpuHost:
    return GpuHost.of(Wanted(**options), Engine("/nonexistent"), programs, has_systemd=True)


def drive(programs: Programs, repository: Repository) -> None:
    packages = DriverPackages("nvidia-driver-pinning-580", ("nvidia-kernel-open-dkms",), repository)
    host(programs).apply(Plan((Step("driver", "580", "there is none"),), driver=packages))


def test_a_driver_comes_from_a_repository_whose_key_is_the_expected_one(repository: Repository) -> None:
    programs = Programs()
    drive(programs, repository)
    assert programs.lines == [
        "apt-get update", "apt-get install nvidia-driver-pinning-580", "apt-get install nvidia-kernel-open-dkms",
        "modprobe nvidia nvidia-uvm",
    ]  # fmt: skip
    assert Path(repository.key_path).read_bytes() == KEY
    assert Path(repository.path).read_text(encoding="utf-8") == "Types: deb\n"


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (b"<html>", ("Cannot trust {address}: it is no OpenPGP key; let the host reach NVIDIA's own file, or a true copy of "
                    "it, and remove {key} where it is there.")),
        (KEY + armored(BODY[:-1] + b"x"), "Cannot trust {address}: its key is {expected}, "),
        (armored(BODY[:-1] + b"x"), (", {expected} is expected; find out who serves another one before anything is "
                                    "installed from there.")),
        (None, "Cannot install from NVIDIA's repository: {address} gives no key ("),
    ],
    ids=["a page", "a second key", "another key", "nothing"],
)  # fmt: skip
def test_another_key_is_not_trusted_and_nothing_is_installed(
    served: bytes | None, said: str, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "served.asc").unlink()
    if served is not None:
        (tmp_path / "served.asc").write_bytes(served)
    programs = Programs()
    with pytest.raises(PlatformError) as refused:
        drive(programs, repository)
    expected = said.format(address=repository.key_address, key=repository.key_path, expected=FINGERPRINT)
    assert expected in str(refused.value)
    assert programs.lines == []
    assert not Path(repository.key_path).exists()
    assert not Path(repository.path).exists()


def test_a_key_that_somebody_has_changed_on_the_host_is_noticed(repository: Repository) -> None:
    Path(repository.key_path).parent.mkdir(parents=True)
    Path(repository.key_path).write_bytes(b"<html>")
    with pytest.raises(PlatformError, match="it is no OpenPGP key"):
        drive(Programs(), repository)


def test_what_the_driver_has_brought_along_is_held_with_it() -> None:
    listed = (
        "libcuda1 installed install\nnvidia-driver-cuda installed install\nnvidia-container-toolkit installed install\n"
        "libnvidia-ml1 installed hold\nlinux-image-generic installed install\nlibnvidia-cfg1 config-files deinstall\n"
    )
    programs = Programs(dpkg_query=listed)
    steps = (Step("hold", "nvidia-driver-cuda", ""), Step("hold", "linux-image-generic", ""))
    host(programs).apply(Plan(steps, hold=tuple(step.subject for step in steps)))
    held = next(line for line in programs.lines if line.startswith("apt-mark hold")).split()[2:]
    assert {"libcuda1", "nvidia-driver-cuda", "linux-image-generic"} <= set(held)
    assert "libnvidia-cfg1" not in held


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, Path]:
    """Return where the module's files are in this test."""
    found = {name: tmp_path / f"placed-{name}.timer" for name in ("cdi", "guard", "timer", "program")}
    monkeypatch.setattr(applying, "unit_paths", lambda _wanted: {name: str(path) for name, path in found.items()})
    return found


def test_units_are_read_after_links_keep_devices_for_containers_that_run(paths: Mapping[str, Path]) -> None:
    programs = Programs()
    host(programs).apply(Plan((Step("cdi", "", ""), Step("guard", "", ""))))
    reloads = [number for number, line in enumerate(programs.lines) if line == "systemctl daemon-reload"]
    assert len(reloads) == 2
    assert all(programs.lines[number - 1] == "nvidia-ctk system create-dev-char-symlinks" for number in reloads)
    assert all(path.exists() for path in paths.values())
    assert paths["program"].stat().st_mode & 0o777 == 0o755
    assert "Before=docker.service" in paths["cdi"].read_text(encoding="utf-8")


def test_what_is_removed_is_stopped_first(paths: Mapping[str, Path]) -> None:
    for path in paths.values():
        path.write_text("", encoding="utf-8")
    programs = Programs()
    host(programs).apply(Plan((Step("remove", "", ""),)))
    assert programs.lines[0] == f"systemctl disable {paths['timer'].name}"
    assert [name for name, path in paths.items() if path.exists()] == ["cdi"]
