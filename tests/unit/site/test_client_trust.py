# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site's names in a hosts file and its CA in a trust store; everything else stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed
from ansible_collections.modelyard.platform.plugins.module_utils._site.client_trust import (
    BUNDLE,
    Wanted,
    apply_trust,
    authority_path,
    plan_trust,
    with_block,
)
from hypothesis import given
from hypothesis import strategies as st

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n"
WANTED = Wanted("lab", "127.0.0.1", ("mlflow.lab.test", "s3.lab.test"), CERTIFICATE)
BLOCK = "# begin of the names of site lab\n127.0.0.1 mlflow.lab.test s3.lab.test\n# end of the names of site lab\n"
NOTHING = replace(WANTED, names=(), certificate="")

BLOCKS: dict[str, tuple[str, Wanted, str]] = {
    "it comes at the end": ("127.0.0.1 localhost\n", WANTED, "127.0.0.1 localhost\n" + BLOCK),
    "a last line without an end gets one": ("::1 localhost", WANTED, "::1 localhost\n" + BLOCK),
    "it stays where it is": ("a\n" + BLOCK + "b\n", WANTED, "a\n" + BLOCK + "b\n"),
    "it changes where it is": (
        "a\n" + BLOCK + "b\n", replace(WANTED, address="192.0.2.1", names=("x",)),
        "a\n# begin of the names of site lab\n192.0.2.1 x\n# end of the names of site lab\nb\n",
    ),
    "it goes": ("a\n" + BLOCK + "b", NOTHING, "a\nb"),
    "another site's stays": (BLOCK, replace(NOTHING, site="other"), BLOCK),
    "nothing to a file without": ("a", NOTHING, "a"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "wanted", "after"), BLOCKS.values(), ids=BLOCKS)
def test_block(before: str, wanted: Wanted, after: str) -> None:
    assert with_block(before, wanted) == after
    assert with_block(after, wanted) == after


@given(st.text(st.characters(exclude_categories=("Cs",))).filter(lambda text: "names of site" not in text))
def test_what_is_put_in_comes_out_again(text: str) -> None:
    inside = with_block(text, WANTED)
    assert BLOCK in inside
    assert with_block(inside, NOTHING) in (text, text + "\n")


class Machine:
    """A root folder with a hosts file and a trust store, whose program refreshes the bundle."""

    def __init__(self, root: Path) -> None:
        self.root, self.hosts, self.refreshed = root, root / "hosts", 0
        self.hosts.write_text("127.0.0.1 localhost\n", encoding="utf-8")
        self.bundle = Path(f"{root}{BUNDLE}")
        self.bundle.parent.mkdir(parents=True)
        self.bundle.write_text("others\n", encoding="utf-8")

    def run(self, argv: Sequence[str], **_options: Any) -> Completed:
        assert list(argv) == ["update-ca-certificates", "--fresh"]
        self.refreshed += 1
        authority = Path(authority_path("lab", str(self.root)))
        own = authority.read_text(encoding="utf-8") if authority.exists() else ""
        self.bundle.write_text("others\n" + own, encoding="utf-8")
        return Completed(0, "", "")

    def bring(self, wanted: Wanted) -> Sequence[str]:
        trust = plan_trust(wanted, hosts_path=str(self.hosts), root=str(self.root))
        apply_trust(trust, wanted, hosts_path=str(self.hosts), run=self.run, root=str(self.root))
        return trust.changes


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_names_and_authority_come_once_and_go(machine: Machine) -> None:
    path = authority_path("lab", str(machine.root))
    assert machine.bring(WANTED) == (
        f"names of the site in {machine.hosts}: mlflow.lab.test, s3.lab.test", f"trust the site's CA ({path})",
    )  # fmt: skip
    assert CERTIFICATE in machine.bundle.read_text(encoding="utf-8")
    assert machine.bring(WANTED) == ()
    assert machine.refreshed == 1
    assert machine.bring(NOTHING) == (
        f"names of the site in {machine.hosts}: none", f"trust no longer the site's CA ({path})",
    )  # fmt: skip
    assert machine.hosts.read_text(encoding="utf-8") == "127.0.0.1 localhost\n"
    assert machine.bundle.read_text(encoding="utf-8") == "others\n"
    assert not Path(path).exists()


def test_a_bundle_that_lost_it_is_refreshed(machine: Machine) -> None:
    machine.bring(WANTED)
    machine.bundle.write_text("others\n", encoding="utf-8")
    assert machine.bring(WANTED) == (f"put the site's CA into {BUNDLE}",)
    assert CERTIFICATE in machine.bundle.read_text(encoding="utf-8")


def test_a_program_that_fails_is_told(machine: Machine) -> None:
    trust = plan_trust(WANTED, hosts_path=str(machine.hosts), root=str(machine.root))

    def fails(_argv: Sequence[str], **_options: Any) -> Completed:
        return Completed(1, "", "no space left\n")

    with pytest.raises(PlatformError) as failure:
        apply_trust(trust, WANTED, hosts_path=str(machine.hosts), run=fails, root=str(machine.root))
    assert str(failure.value) == (
        "Cannot put the site's CA into the system's trust store: update-ca-certificates says 'no space left'; mend "
        "that and run again."
    )


def test_a_removal_that_was_killed_is_brought_to_its_end(machine: Machine) -> None:
    machine.bring(WANTED)
    authority = Path(authority_path("lab", str(machine.root)))
    (machine.bundle.parent / "modelyard-site-lab.pem").symlink_to(authority)
    authority.unlink()
    assert machine.bring(replace(WANTED, certificate="")) == (f"take the site's CA out of {BUNDLE}",)
    assert machine.bundle.read_text(encoding="utf-8") == "others\n"
