# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate's configuration keeps what the gateway's count and keys rely on (gateway/modelyard_gateway/app.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelyard_gateway.keys import parse_keys
from modelyard_gateway.services import parse_services
from modelyard_gateway.settings import read_settings
from support.rendered import RenderedProject, render

LONGEST_HOLD = 1200


def need(**data: Any) -> dict[str, Any]:
    return {"role": "inference", "host": "localhost", "at": "localhost", "data": data}


def service(name: str, **more: Any) -> dict[str, Any]:
    return need(name=name, container=f"c-{name}", address=name, port=8080, ready={"path": "/health"}, **more)


NEEDS = {
    "gated": [
        service("chat", hosts=["chat.lab.test"], cors={"origins": ["https://app.test"]}, idle_seconds=60),
        service("seg.one", hosts=["a.lab.test", "b.lab.test"], hold_seconds=LONGEST_HOLD, vram_mib={"0": 10}),
        service("seg.one-2", replica_of="seg.one", network="s_inner"),
        service("inner", max_body_mib=0, timeout_seconds=7, network="s_inner", scopes=["inside"]),
    ],
    "api_client": [
        need(name="app", scopes=["*"], rate={"per_minute": 60, "burst": 5}),
        need(name="b", scopes=["chat"], keys=[{"id": "1"}, {"id": "2", "not_after": "2027-01-31T00:00:00Z"}]),
    ],
}


@pytest.fixture(scope="module", params=["packages", "registry"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RenderedProject:
    values = {
        "site_domain": "lab.test", "site_tls": "local_ca", "site_images": request.param, "site_needs": NEEDS,
        "gateway_gpu_memory_mib": {"0": 100},
    }  # fmt: skip
    return render(["gateway"], values, tmp_path_factory.mktemp("gate"))["gateway"]


def conf(project: RenderedProject) -> str:
    lines = project.files["gate/nginx.conf"].splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def locations(text: str) -> Iterator[tuple[str, str]]:
    """Yield the head and the content of every location."""
    for found in re.finditer(r"^( +)location ([^\n]*) \{\n(.*?)^\1\}", text, re.MULTILINE | re.DOTALL):
        yield found[2], found[3]


def ways_of(text: str) -> list[str]:
    """Return the content of every location that leads to a service."""
    return [content for _head, content in locations(text) if re.search(r"proxy_pass (?!http://_gateway\b)", content)]


def test_the_gateway_reads_what_the_role_writes(project: RenderedProject, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(project.files["config/settings.json"], encoding="utf-8")
    assert read_settings(str(path)).port == 9090
    declared = parse_services(project.files["config/services.json"].encode(), "services.json")
    assert set(declared.services) == {"chat", "seg.one", "seg.one-2", "inner"}
    assert declared.services["seg.one"].hold_seconds == LONGEST_HOLD
    assert declared.services["chat"].hold_seconds == 120
    assert declared.replicas()["seg.one"] == ("seg.one", "seg.one-2")
    assert declared.services["inner"].scopes == {"inner", "inside"}
    text = project.files["config/keys.json"]
    digests = iter("0123456789abcdef")
    resolved = re.sub(r"@@secret:gateway_key_\w+\.sha256@@", lambda _found: next(digests) * 64, text)
    assert len(parse_keys(resolved.encode(), "keys.json")) == 3


def test_a_service_that_may_do_without_takes_no_memory_of_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    lenient = service("chat", vram_mib={"0": 10, "1": 20}, cpu_fallback=True)
    needs = {"gated": [lenient, service("seg", vram_mib={"0": 5})]}
    values = {
        "site_domain": "lab.test",
        "site_tls": "local_ca",
        "site_needs": needs,
        "gateway_gpu_memory_mib": {"0": 100},
    }
    declared = parse_services(
        render(["gateway"], values, tmp_path)["gateway"].files["config/services.json"].encode(), "services.json"
    )
    assert {name: dict(one.vram_mib) for name, one in declared.services.items()} == {"chat": {"0": 10}, "seg": {"0": 5}}


@pytest.mark.parametrize("told_by", ["preflight", "role nvidia"])
def test_a_card_that_two_services_name_in_two_ways_is_one(told_by: str, tmp_path: Path) -> None:
    uuid = "GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21"
    card = {"names": {"all": ["0"], "0": ["0"], uuid: ["0"]}, "memory_mib": {"0": 15360}}
    found = {"site_gpus": card} if told_by == "preflight" else {
        "site_gpus": {"names": {}, "memory_mib": {}}, "ansible_facts": {"modelyard_gpu": card},
    }  # fmt: skip
    needs = {"gated": [service("chat", vram_mib={uuid: 9000}), service("seg", vram_mib={"0": 8000}),
                       service("any", vram_mib={"all": 15360})]}  # fmt: skip
    values = {"site_domain": "lab.test", "site_tls": "local_ca", "site_needs": needs, **found}
    files = render(["gateway"], values, tmp_path)["gateway"].files
    declared = parse_services(files["config/services.json"].encode(), "services.json")
    assert declared.budget_mib == {"0": 15360}
    assert {name: dict(one.vram_mib) for name, one in declared.services.items()} == {
        "chat": {"0": 9000}, "seg": {"0": 8000}, "any": {"0": 15360},
    }  # fmt: skip


def test_every_way_to_a_service_asks_first(project: RenderedProject) -> None:
    ways = ways_of(conf(project))
    assert len(ways) == 2 + 3
    for way in ways:
        assert "auth_request /-/auth;" in way
        assert "error_page 403 = @denied;" in way
        assert "error_page 401 500 503 = @closed;" in way


def test_no_other_way_leads_anywhere_but_to_the_gateway(project: RenderedProject) -> None:
    targets = set(re.findall(r"proxy_pass (\S+);", conf(project)))
    # Where a service has replicas the gateway says to which.
    replicas = {"http://$gate_replica:8080", "http://$gate_replica:8080$gate_rest_2"}
    assert targets == {"$gate_upstream", *replicas, "http://_gateway", "http://_gateway/auth"}


def test_a_request_dials_once_and_right_after_its_grant(project: RenderedProject) -> None:
    text = conf(project)
    assert "proxy_request_buffering off;" in text
    assert "proxy_buffering off;" in text
    assert re.findall(r"^ +keepalive (\d+);", text, re.MULTILINE) == ["64"], "connections to services are used once"
    (wait,) = re.findall(r"resolver_timeout (\d+)s;", text)
    assert int(wait) < json.loads(project.files["config/settings.json"])["timing"]["dial_seconds"]


def test_the_question_is_without_body_and_waits_longer_than_any_hold(project: RenderedProject) -> None:
    questions = [content for head, content in locations(conf(project)) if head == "= /-/auth"]
    assert len(questions) == 2 + 2
    for question in questions:
        assert "internal;" in question
        assert "proxy_pass_request_body off;" in question
        for name in ("Content-Length", "Upgrade", "Transfer-Encoding"):
            assert f'proxy_set_header {name} "";' in question
        (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", question)
        assert int(seconds) > LONGEST_HOLD


def test_keys_end_at_the_gate(project: RenderedProject) -> None:
    text = conf(project)
    for name in ("Authorization", "X-API-Key"):
        assert f'    proxy_set_header {name} "";' in text
    assert re.search(r"more_clear_input_headers .*'X-Auth-\*'", text)
    assert "underscores_in_headers off;" in text
    ways = ways_of(text)
    assert not [way for way in ways if "proxy_set_header" in way], "it would undo those that all have"


def test_nobody_but_the_edge_is_believed_who_a_request_is_from(project: RenderedProject) -> None:
    text = conf(project)
    assert "set_real_ip_from" not in text
    said = re.findall(r"listen (\d+).*?X-Original-Forwarded (\S+);", text, re.DOTALL)
    assert set(said) == {("8080", "$http_x_forwarded_for"), ("8080", '""'), ("8081", '""')}
    assert len(said) == 2 + 2
    assert text.count("X-Forwarded-For $gate_from;") == 1


def test_the_edge_that_is_believed_is_a_container_of_the_sites_edge(tmp_path: Path) -> None:
    values = {"site_domain": "lab.test", "site_tls": "local_ca", "site_prefix": "shop"}
    rendered = render(["traefik", "gateway"], values, tmp_path)
    edge = rendered["traefik"]
    assert "traefik" in edge.services
    believed = json.loads(rendered["gateway"].files["config/settings.json"])["edge"]
    assert believed == [f"{edge.options['name']}-traefik-1"]


def test_the_log_has_neither_keys_nor_the_query(project: RenderedProject) -> None:
    text = conf(project)
    (form,) = re.findall(r"log_format gate (.*?);\n", text, re.DOTALL)
    assert not set(re.findall(r"\$(\w+)", form)) & {"request", "request_uri", "args", "query_string"}
    assert not re.search(r"\$(http|arg|sent_http|cookie)_", form)
    assert re.findall(r"error_log (\S+) (\S+);", text) == [("stderr", "crit")]


def test_the_engine_is_asked_about_declared_containers_alone(project: RenderedProject) -> None:
    paths = [
        head.removeprefix("= ") for head, _content in locations(project.files["engine/nginx.conf"]) if "= " in head
    ]
    services = {
        f"/containers/c-{name}/{verb}"
        for name in ("chat", "seg.one", "seg.one-2", "inner")
        for verb in ("json", "start", "stop")
    }
    own = {
        f"/containers/modelyard-gateway-{name}-1/{verb}"
        for name in ("gate", "gateway")
        for verb in ("json", "start", "restart")
    }
    assert set(paths) == {"/_ping", "/networks/s_inner/connect", *services, *own}
    [joined] = re.findall(r"proxy_set_body (.*);", project.files["engine/nginx.conf"])
    assert joined == """'{"Container":"modelyard-gateway-pod-1"}'""", "and nobody else is brought into a network"
    others = [head for head, _content in locations(project.files["engine/nginx.conf"]) if not head.startswith("= ")]
    assert others == [
        "/", '~ "^/containers/(?<ending>modelyard-[A-Za-z0-9_.-]+)/wait$"', '~ "^/containers/[^/]+/wait$"',
    ], "what ended, and no more"  # fmt: skip


def test_no_name_is_dialled_that_somebody_else_in_the_edges_network_may_have(project: RenderedProject) -> None:
    """The pod is in three networks, and the first one that knows a name answers."""
    assert json.loads(project.files["config/settings.json"])["engine"] == "http://modelyard-gateway-engine-1:2375"
    assert project.services["pod"]["entrypoint"] == [
        "pod", "modelyard-gateway-engine-1:2375", "modelyard-gateway-gate-1:8080", "modelyard-gateway-gateway-1:9090",
    ]  # fmt: skip


def test_the_edge_leads_every_name_to_the_one_gate(project: RenderedProject) -> None:
    assert project.rules == {
        "gateway-chat": "Host(`chat.lab.test`)", "gateway-seg-one": "Host(`a.lab.test`) || Host(`b.lab.test`)",
    }  # fmt: skip
    http = project.options["edge"]["config"]["http"]
    for name, router in http["routers"].items():
        assert router["middlewares"][-1] == "gateway-again", name
    for balancer in (found["loadBalancer"] for found in http["services"].values()):
        assert balancer == {"servers": [{"url": "http://pod:8080"}], "serversTransport": "gateway"}
    assert set(http["middlewares"]) == {"gateway-again"}


def test_without_services_there_is_no_route(tmp_path: Path) -> None:
    values = {"site_domain": "lab.test", "site_tls": "local_ca", "site_images": "packages"}
    alone = render(["gateway"], values, tmp_path)["gateway"]
    assert alone.options["edge"] is None
    assert "$gate_upstream;" not in conf(alone)
    assert undefined(conf(alone)) == set()


def test_nginx_knows_every_variable_of_the_gate(project: RenderedProject) -> None:
    assert undefined(conf(project)) == set()
    assert undefined("log $gate_x;") == {"gate_x"}


def undefined(text: str) -> set[str]:
    """Return the variables of ours that are read and never made: nginx does not start with one."""
    made = re.findall(r"(?:set|auth_request_set) \$(gate_\w+) |map .+ \$(gate_\w+) \{|\?<(gate_\w+)>", text)
    return set(re.findall(r"\$(gate_\w+)", text)) - {name for names in made for name in names}
