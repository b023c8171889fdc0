# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._files import FileState
from ansible_collections.modelyard.platform.plugins.module_utils._firewall import observe
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.apply import Guard
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.files import render_script, render_unit
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.observe import (
    SeenHost,
    SeenSite,
    find_undeclared,
    observe_site,
    refuse_other_backend,
)
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.plan import Plan, plan_guard, plan_removal
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.ports import Place, admit
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.rules import Guarded, chains_of, render_rules
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed

CHAINS = chains_of("shop")
#: As the engine writes it.
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound
SITE = Guarded(admit([{"number": 443}, {"number": 5432, "allowed_ranges": []}], []), bridges=("br-1",))
RULES = {family: render_rules(SITE, CHAINS, family=family) for family in (4, 6)}
ENGINE = ("-P INPUT ACCEPT", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER")


def listed(family: int, *first: str) -> tuple[str, ...]:
    """Return what iptables lists where all is as wanted."""
    chains = [f"-N {name}" for name in CHAINS.names]
    jumps = [f"-A {chain} -j {own}" for chain, own in CHAINS.jumps]
    return (*first, *chains, *jumps, *RULES[family])


SETTLED = SeenHost(
    rules={4: listed(4, *ENGINE), 6: listed(6, "-N DOCKER-USER")},
    script=FileState(render_script("shop", CHAINS, RULES).encode(), 0o700, 0, 0),
    unit=FileState(render_unit("shop", "/opt/shop").encode(), 0o644, 0, 0),
    is_enabled=True,
    has_systemd=True,
)
BARE = SeenHost(rules={4: ENGINE, 6: ("-P INPUT ACCEPT",)}, has_systemd=True)


def planned(host: SeenHost, guarded: Guarded = SITE) -> Plan:
    return plan_guard("shop", "/opt/shop", guarded, CHAINS, host)


def told(plan: Plan) -> list[str]:
    return [f"{step.action} {step.subject} {step.reason}" for step in plan.steps]


def without(host: SeenHost, *lines: str) -> SeenHost:
    left = {family: tuple(rule for rule in rules if rule not in lines) for family, rules in host.rules.items()}
    return dataclasses.replace(host, rules=left)


def test_a_host_that_is_as_wanted_is_left_alone() -> None:
    plan = planned(SETTLED)
    assert plan.steps == ()
    assert plan.before == plan.after


def test_a_bare_host_gets_all_of_it() -> None:
    assert told(planned(BARE)) == [
        "script /opt/shop/firewall/apply is missing", "unit shop-firewall.service is missing",
        "rules rules of IPv4 are missing", "rules rules of IPv6 are missing",
    ]  # fmt: skip
    assert planned(BARE).before == ""


def test_a_host_without_iptables_yet_is_told_what_comes() -> None:
    plan = planned(SeenHost())
    assert told(plan) == ["script /opt/shop/firewall/apply is missing", "rules rules of IPv4 are missing"]
    assert "--ctorigdstport 443 -j RETURN" in plan.after


CHANGES: list[tuple[str, SeenHost, list[str]]] = [
    (
        "no way into it", without(SETTLED, "-A DOCKER-USER -j SITE-shop"),
        [f"rules rules of {family} are not reached from DOCKER-USER" for family in ("IPv4", "IPv6")],
    ),
    ("no way into one", without(SETTLED, "-A INPUT -j SITE-shop-IN"), [
        "rules rules of IPv4 are not reached from INPUT", "rules rules of IPv6 are not reached from INPUT",
    ]),
    ("a rule less", dataclasses.replace(SETTLED, rules={4: SETTLED.rules[4][:-1], 6: SETTLED.rules[6]}),
     ["rules rules of IPv4 are others"]),
    ("another mode", dataclasses.replace(SETTLED, script=dataclasses.replace(SETTLED.script, mode=0o777)),  # type: ignore[type-var]
     ["script /opt/shop/firewall/apply has another mode or owner"]),
    ("another content", dataclasses.replace(SETTLED, unit=FileState(b"", 0o644, 0, 0)),
     ["unit shop-firewall.service has another content"]),
    ("not started", dataclasses.replace(SETTLED, is_enabled=False),
     ["unit shop-firewall.service is not started with the engine"]),
    ("no systemd", dataclasses.replace(SETTLED, is_enabled=False, unit=None, has_systemd=False), []),
    ("no IPv6", dataclasses.replace(SETTLED, rules={4: SETTLED.rules[4]}), []),
]  # fmt: skip


@pytest.mark.parametrize(("host", "steps"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_what_differs_is_planned(host: SeenHost, steps: list[str]) -> None:
    assert told(planned(host)) == steps


def test_another_range_changes_script_and_rules_and_shows_both() -> None:
    plan = planned(SETTLED, dataclasses.replace(SITE, admitted=admit([{"number": 443}, {"number": 5432}], [])))
    assert [step.action for step in plan.steps] == ["script", "rules", "rules"]
    assert "--ctorigdstport 5432 -j DROP" in plan.before
    assert "--ctorigdstport 5432 -j RETURN" in plan.after


def test_removal_takes_what_is_ours() -> None:
    plan = plan_removal("shop", "/opt/shop", CHAINS, SETTLED)
    assert told(plan) == [
        "remove rules of IPv4 are no longer wanted", "remove rules of IPv6 are no longer wanted",
        "remove shop-firewall.service is no longer wanted", "remove /opt/shop/firewall/apply is no longer wanted",
    ]  # fmt: skip
    # The engine makes none of IPv6 here, so that the chain for its users was ours.
    assert plan.gone == {4: CHAINS.names, 6: ("DOCKER-USER", *CHAINS.names)}


def test_removal_leaves_the_chain_that_others_use() -> None:
    rules = {6: (*SETTLED.rules[6], "-A DOCKER-USER -j THEIRS")}
    assert plan_removal("shop", "/opt/shop", CHAINS, dataclasses.replace(SETTLED, rules=rules)).gone == {
        6: CHAINS.names
    }


def test_removal_where_nothing_is_does_nothing() -> None:
    assert plan_removal("shop", "/opt/shop", CHAINS, BARE).steps == ()


def test_an_engine_whose_rules_are_elsewhere_is_refused() -> None:
    refuse_other_backend(BARE)
    with pytest.raises(PlatformError) as caught:
        refuse_other_backend(SeenHost(rules={4: ("-P FORWARD ACCEPT",)}))
    assert str(caught.value) == (
        "Cannot guard published ports: the engine has no rule in iptables that leads from FORWARD to DOCKER-USER, so "
        "that it works without iptables, with nftables, or by another variant of it; let its settings (daemon.json) "
        "have 'iptables' as it comes and no 'firewall-backend', let update-alternatives name the iptables that it was "
        "started with, and restart it."
    )


def test_a_host_without_iptables_is_refused() -> None:
    with pytest.raises(PlatformError) as caught:
        refuse_other_backend(SeenHost())
    assert str(caught.value) == (
        "Cannot guard published ports: there is no program 'iptables'; install it (apt-get install iptables)."
    )


class RecordedEngine:
    """What an engine answers."""

    def get(self, path: str, query: dict[str, Any]) -> Any:
        assert query
        if path == "/networks":
            named = {"com.docker.network.bridge.name": "shop0"}
            return [
                {"Id": "a" * 64, "Labels": {"modelyard.directory": "/opt/shop"}, "Options": {}},
                {"Id": "b" * 64, "Labels": {"modelyard.shared": "/opt/shop"}, "Options": named},
                {"Id": "c" * 64, "Labels": {"modelyard.directory": "/opt/other"}, "Options": None},
                {"Id": "d" * 64, "Labels": None, "Options": {}},
            ]
        ports = [
            {"IP": EVERYWHERE, "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "127.0.0.1", "PrivatePort": 1, "PublicPort": 8099, "Type": "tcp"},
            {"PrivatePort": 81, "Type": "tcp"},
        ]
        return [{"Id": "1", "Names": ["/web"], "Ports": ports}, {"Id": "2", "Names": ["/idle"], "Ports": None}]


def test_the_sites_networks_and_ports_are_seen() -> None:
    site = observe_site(RecordedEngine(), "/opt/shop")  # type: ignore[arg-type]
    assert site.bridges == ("br-aaaaaaaaaaaa", "shop0")
    assert site.published == ((Place(8080, "tcp"), "web"), (Place(8099, "tcp", "127.0.0.1"), "web"))


def test_what_is_published_and_not_declared_is_found() -> None:
    site = SeenSite(published=((Place(1, "tcp"), "a"), (Place(2, "tcp"), "b"), (Place(3, "tcp", "127.0.0.1"), "c")))
    assert find_undeclared(site, admit([{"number": 1}], [])) == ((Place(2, "tcp"), "b"),)


def test_rules_that_cannot_be_listed_are_told(tmp_path: Path) -> None:
    def run(argv: list[str], **_more: Any) -> Completed:
        return Completed(4, "", "iptables v1.8.9: Could not fetch rule set generation id: Permission denied\n")

    with pytest.raises(PlatformError) as caught:
        observe.observe_host("shop", str(tmp_path), run, units=str(tmp_path), has_systemd=False)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Cannot see who may reach published ports: iptables says: iptables v1.8.9: Could not fetch rule set generation "
        "id: Permission denied; run as root, and look whether the kernel has what it needs."
    )


class Recorder:
    """Remembers what it was to run; fails where it is told to."""

    def __init__(self, failing: str = "") -> None:
        self.argvs: list[str] = []
        self.failing = failing

    def __call__(self, argv: list[str], **_more: Any) -> Completed:
        self.argvs.append(" ".join(argv))
        return Completed(1, "", "it is broken\n") if self.failing and self.failing in argv else Completed(0, "", "")


def guard_of(folder: Path, run: Recorder) -> Guard:
    return Guard("shop", str(folder / "site"), CHAINS, run, str(folder))  # type: ignore[arg-type]


@pytest.mark.skipif("os.getuid() != 0", reason="files of root are written")
def test_without_systemd_the_script_is_run_at_once(tmp_path: Path) -> None:
    run = Recorder()
    host = dataclasses.replace(BARE, has_systemd=False)
    guard_of(tmp_path, run).put_in_place(planned(host), host)
    script = tmp_path / "site/firewall/apply"
    assert run.argvs == [str(script)]
    assert (script.read_text(encoding="utf-8"), script.stat().st_mode & 0o777) == (planned(host).script, 0o700)
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


@pytest.mark.skipif("os.getuid() != 0", reason="files of root are written")
def test_a_unit_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        guard_of(tmp_path, Recorder("restart")).put_in_place(planned(BARE), BARE)
    assert str(caught.value) == (
        "Cannot start shop-firewall.service: systemctl says: it is broken; systemctl status shop-firewall.service says "
        "more."
    )


def test_removal_takes_jumps_before_chains_and_the_unit_before_all(tmp_path: Path) -> None:
    run = Recorder()
    guard_of(tmp_path, run).take_away(plan_removal("shop", "/opt/shop", CHAINS, SETTLED), SETTLED)
    four = ["--delete DOCKER-USER --jump SITE-shop", "--delete INPUT --jump SITE-shop-IN", "--flush SITE-shop-IN",
            "--delete-chain SITE-shop-IN", "--flush SITE-shop", "--delete-chain SITE-shop"]  # fmt: skip
    assert run.argvs == [
        "systemctl disable --now --quiet shop-firewall.service", "systemctl daemon-reload",
        *(f"iptables --wait {words}" for words in four), *(f"ip6tables --wait {words}" for words in four),
        "ip6tables --wait --flush DOCKER-USER", "ip6tables --wait --delete-chain DOCKER-USER",
    ]  # fmt: skip
