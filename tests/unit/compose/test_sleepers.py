# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that only the gateway starts: the quick look at them, and what the gateway's word is taken for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose import sleepers
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import (
    DesiredService,
    Target,
    target_from_record,
    target_to_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, EngineError
from ansible_collections.modelyard.platform.plugins.module_utils._compose.exec_stream import Ended
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site, write_json
from ansible_collections.modelyard.platform.plugins.module_utils._compose.sleepers import Proof, prove, rest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.unchanged import (
    check_containers,
    make_snapshot,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from support.compose_cases import make_desired

SLEEPER = {"project": "gw", "service": "gateway", "name": "chat"}


def entry(name: str, state: str, status: str = "", **labels: str) -> dict[str, Any]:
    """Return a container as the engine lists it."""
    found = {"com.docker.compose.service": name, "modelyard.identity": "i", "modelyard.directory": "/site", **labels}
    return {"Id": f"{name}-1", "State": state, "Status": status, "ImageID": "sha256:1", "Labels": found}


class ListingEngine(Engine):
    """An engine with these containers; ``codes``: exit code of those that ended; ``ill``: not healthy."""

    def __init__(self, entries: Sequence[dict[str, Any]], codes: Mapping[str, int], ill: Sequence[str] = ()) -> None:
        super().__init__("/none")
        self.entries, self.codes, self.ill = entries, codes, ill
        self.requests = 0

    def request_all(self, wanted: Sequence[tuple[str, Mapping[str, object]]]) -> list[bytes]:
        self.requests = len(wanted)
        return [json.dumps(self._list(path, dict(query["filters"]))).encode() for path, query in wanted]  # type: ignore[call-overload]

    def _list(self, path: str, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        if path == "/networks":
            return [{"Id": "n1", "Name": "there"}]
        found = list(self.entries)
        if "health" in filters:
            found = [one for one in found if one["Id"] in self.ill]
        if "exited" in filters:
            found = [one for one in found if str(self.codes.get(one["Id"])) in filters["exited"]]
        return found


def look(
    folder: Path,
    state: str,
    *,
    code: int = 143,
    ill: Sequence[str] = (),
    said: Mapping[str, Any] | None = None,
    unproven: Mapping[str, str] | None = None,
    now: Mapping[str, str] | None = None,
    networks: Mapping[str, str] | None = None,
) -> tuple[dict[str, str] | None, int]:
    """Look at a sleeper in some state, beside a service that runs and one that ended with 0."""
    others = [entry("web", "running", "Up 2 minutes (healthy)"), entry("task", "exited")]
    snapshot = make_snapshot(
        inputs="", key=b"k", containers=[*others, entry("chat", "created")], files=[], mounted={}, images={},
        verdicts={"web": "healthy", "task": "completed", "chat": "asleep"}, settle_seconds={}, secrets_in_env=[],
        sleepers=["chat"], unproven=unproven or {},
    )  # fmt: skip
    path = Site(str(folder)).asleep_path
    Path(path).parent.mkdir(parents=True)
    write_json(path, {"format": 1, **(said or {})})
    codes = {"task-1": 0, **({"chat-1": code} if state == "exited" else {})}
    sleeping = entry("chat", state, "Up 1 minute (healthy)", **(now or {}))
    sleeping["NetworkSettings"] = {"Networks": {name: {"NetworkID": key} for name, key in (networks or {}).items()}}
    engine = ListingEngine([*others, sleeping], codes, ill)
    verdicts = check_containers(engine, "shop", json.loads(json.dumps(snapshot)), directory=str(folder))
    return verdicts, engine.requests


ASLEEP = {"containers": {"chat-1": 143}}


@pytest.mark.parametrize(
    ("state", "given", "verdict"),
    [
        ("created", {}, "asleep"),
        ("created", {"ill": ["chat-1"]}, "asleep"),
        ("exited", {"said": ASLEEP}, "asleep"),
        ("exited", {"said": ASLEEP, "ill": ["chat-1"]}, "asleep"),
        ("exited", {"said": {"containers": {"chat-1": 0}}, "code": 0}, "asleep"),
        ("running", {}, "healthy"),
        ("running", {"ill": ["chat-1"]}, None),
        ("exited", {}, None),
        ("exited", {"said": ASLEEP, "code": 137}, None),
        ("exited", {"said": {"containers": {"chat-2": 143}}}, None),
        ("restarting", {}, None),
        ("paused", {}, None),
        ("dead", {}, None),
        ("created", {"said": {"failed": {"chat-1": "no such device"}}}, None),
        ("created", {"now": {"modelyard.identity": "other"}}, None),
        ("created", {"unproven": {"chat": "no room"}}, "asleep"),
        ("running", {"unproven": {"chat": "no room"}, "said": {"woken": ["chat-1"]}}, None),
        ("exited", {"unproven": {}, "said": {**ASLEEP, "woken": ["chat-1"]}}, "asleep"),
        ("exited", {"said": ASLEEP, "networks": {"there": "n1"}}, "asleep"),
        ("exited", {"said": ASLEEP, "networks": {"there": "n0"}}, None),
        ("created", {"networks": {"there": "", "none": "n0"}}, "asleep"),
        ("created", {"networks": {"gone": ""}}, None),
        ("running", {"networks": {"gone": "n0"}}, "healthy"),
    ],
)
def test_the_quick_look_at_what_the_gateway_starts(
    state: str, given: dict[str, Any], verdict: str | None, tmp_path: Path
) -> None:
    verdicts, requests = look(tmp_path, state, **given)
    expected = None if verdict is None else {"web": "healthy", "task": "completed", "chat": verdict}
    assert verdicts == expected
    assert requests <= 5, "containers, those not healthy, those that ended with 0, those that sleep, networks"


def test_the_quick_look_finds_other_services_as_ever(tmp_path: Path) -> None:
    assert look(tmp_path, "created", ill=["web-1"])[0] is None


def chat() -> DesiredService:
    extras = {"sleeper": SLEEPER, "drain_seconds": 30}
    return make_desired({"services": {"chat": {"image": "chat:1", "x-modelyard": extras}}})["chat"]


class GatewayEngine(Engine):
    """An engine in which a gateway runs, or not."""

    def __init__(self, *ids: str, broken: bool = False) -> None:
        super().__init__("/none")
        self.ids, self.broken = ids, broken

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        if self.broken:
            raise EngineError("The Docker engine refused GET /containers/json with status 500: broken", status=500)
        assert (path, (query or {})["filters"]) == (
            "/containers/json",
            {
                "label": ["com.docker.compose.project=gw", "com.docker.compose.service=gateway"],
                "status": ["running"],
            },
        )
        one_off = {"Id": "one-off", "Labels": {"com.docker.compose.oneoff": "True"}}
        return [one_off, *({"Id": one, "Labels": {}} for one in self.ids)]


def answering(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "") -> list[list[str]]:
    """Let a command in the gateway's container end so; return the commands."""
    asked: list[list[str]] = []

    def run_in_container(_engine: Engine, container_id: str, argv: Sequence[str]) -> Ended:
        asked.append([container_id, *argv])
        return Ended(code, stderr)

    monkeypatch.setattr(sleepers, "run_in_container", run_in_container)
    return asked


@pytest.mark.parametrize(
    ("code", "stderr", "proof"),
    [
        (0, "", Proof("proven")),
        (1, "warning\nit ended with exit code 3", Proof("failed", "it ended with exit code 3")),
        (2, "", Proof("failed", "the gateway ended with exit code 2")),
        (75, "no room", Proof("unproven", "no room")),
        (137, "", Proof("unproven", "the gateway ended with exit code 137")),
        (127, "no python", Proof("unproven", "no python")),
    ],
)
def test_what_a_proof_says(code: int, stderr: str, proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, code, stderr)
    assert prove(GatewayEngine("gw-1"), chat()) == proof
    assert asked == [["gw-1", "python", "-m", "modelyard_gateway", "prove", "chat"]]


def test_without_a_gateway_nothing_is_proven_and_nothing_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, 0)
    down = "service 'gateway' of project 'gw', the gateway, does not run"
    assert prove(GatewayEngine(), chat()) == Proof("unproven", down)
    assert rest(GatewayEngine(), chat()) == down
    broken = prove(GatewayEngine(broken=True), chat())
    assert (broken.kind, broken.cause.partition(":")[0]) == ("unproven", "the gateway could not be asked")
    assert asked == []


def test_a_rest_lasts_as_long_as_the_service_may_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, 1, "it is awake, 3 in flight")
    assert rest(GatewayEngine("gw-1"), chat()) == "it is awake, 3 in flight"
    assert asked == [["gw-1", "python", "-m", "modelyard_gateway", "rest", "chat", "30"]]
    answering(monkeypatch, 0, "there is no container")
    assert rest(GatewayEngine("gw-1"), chat()) == ""


def test_a_release_remembers_a_sleeper_and_reads_those_that_knew_none() -> None:
    target = Target(name="shop", folder="/site/projects/shop", model={}, services={"chat": chat()})
    record = json.loads(json.dumps(target_to_record(target)))
    assert target_from_record(record) == target
    del record["services"]["chat"]["extras"]["sleeper"]
    old = target_from_record(record).services["chat"]
    assert asdict(old) == asdict(replace(chat(), extras=replace(chat().extras, sleeper=None)))


@pytest.mark.parametrize(
    ("more", "why"), [({"scale": 2}, "it has several copies"), ({"waited": True}, "it is meant to end")]
)
def test_what_cannot_be_a_sleeper(more: dict[str, Any], why: str) -> None:
    services: dict[str, Any] = {"chat": {"x-modelyard": {"sleeper": SLEEPER}}}
    if more.pop("waited", False):
        services["web"] = {"depends_on": {"chat": {"condition": "service_completed_successfully"}}}
    services["chat"].update(more)
    with pytest.raises(PlatformError) as caught:
        make_desired({"services": services})
    assert str(caught.value) == (f"Cannot let service 'chat' be woken by the gateway: {why}; take its 'sleeper' away.")
