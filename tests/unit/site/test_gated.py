# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles need of the gateway is refused where the gateway could not serve it so."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._site.gated import find_gate_problems
from ansible_collections.modelyard.platform.plugins.module_utils._site.needs import Need, SiteRole


def service(**given: Any) -> dict[str, Any]:
    return {"name": "chat", "container": "site-inference-chat-1", "address": "chat", "port": 8080, **given}


def client(**given: Any) -> dict[str, Any]:
    return {"name": "app", "scopes": ["*"], **given}


def problems(*services: dict[str, Any], clients: tuple[dict[str, Any], ...] = ()) -> list[str]:
    needs = [Need("gated", "inference", "h1", data) for data in services]
    needs += [Need("api_client", "gateway", "h1", data) for data in clients]
    return find_gate_problems([SiteRole("inference", ["h1"], needs=needs)], "site")


GOOD: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "nothing": ([], []),
    "two services": ([service(hosts=["a.test"]), service(name="b.c", container="site-b", hosts=["b.test"])], []),
    "numbers as text": ([service(port="8080", max_body_mib="0", timeout_seconds=3600)], []),
    "origins": ([service(cors={"origins": ["*", "https://app.test", "http://localhost:3000"]})], []),
    "a scope that services share": (
        [service(scopes=["vision"]), service(name="b", container="site-b", scopes=["vision"])],
        [client(scopes=["vision", "b"])],
    ),
    "a replica": (
        [service(), service(name="chat-2", container="site-b", replica_of="chat")],
        [client(scopes=["chat"])],
    ),
    "clients": ([service()], [client(), client(name="b", scopes=["chat"], keys=[{"id": "1"}, {"id": "2026_11"}])]),
}


@pytest.mark.parametrize(("services", "clients"), GOOD.values(), ids=GOOD)
def test_what_can_be_served(services: list[dict[str, Any]], clients: list[dict[str, Any]]) -> None:
    assert problems(*services, clients=tuple(clients)) == []


def test_a_role_asks_for_what_is_behind_the_gate_that_serves_it() -> None:
    def place(name: str, *hosts: str, owns: tuple[str, ...] = (), needs: tuple[Need, ...] = ()) -> SiteRole:
        return SiteRole(name, list(hosts), owns=list(owns), needs=list(needs))

    gates = place("gateway", "h1", "h2", owns=("gated", "api_client"))
    services = [Need("gated", "inference", host, service(name=name, container=f"site-{name}"))
                for host, name in (("h1", "chat"), ("h2", "draw"))]  # fmt: skip
    served = place("inference", "h1", "h2", needs=tuple(services))
    of_inventory = Need("api_client", "gateway", "h1", client(scopes=["chat", "draw"]))
    of_role = Need("api_client", "webui", "h3", client(name="webui", scopes=["chat", "draw"]))
    roles = [gates, served, place("more", "h1", needs=(of_inventory,)), place("webui", "h3", needs=(of_role,))]
    assert find_gate_problems(roles, "site") == [
        "Cannot give keys to client 'webui': no service has the scope 'draw'; known are chat, and '*' is all of them."
    ]


WRONG_SERVICES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a name for which nginx has other uses": (
        [service(name="chat;")],
        (
            "h1: Cannot serve 'chat;' through the gate: its name is 'chat;'; give lower-case letters, digits, '_', '.' "
            "and '-'."
        ),
    ),
    "no container": (
        [service(container=None)],
        "h1: Cannot serve 'chat' through the gate: its container is None; give the name of a container.",
    ),
    "a container of which the engine's proxy says nothing when it has left": (
        [service(container="sitechat")],
        (
            "h1: Cannot serve 'chat' through the gate: its container is 'sitechat'; give one of the site's, whose "
            "names begin with site-."
        ),
    ),
    "an address that is none": (
        [service(address="a b")],
        (
            "h1: Cannot serve 'chat' through the gate: its address is 'a b'; give the name by which the gate dials it, "
            "of whose parts none has more than 63 characters."
        ),
    ),
    "a network that is none": (
        [service(network="a/b")],
        "h1: Cannot serve 'chat' through the gate: its network is 'a/b'; give the name of one.",
    ),
    "a port that is none": (
        [service(port=70000)],
        "h1: Cannot serve 'chat' through the gate: its port is 70000; give a number from 1 to 65535.",
    ),
    "true is no port": (
        [service(port=True)],
        "h1: Cannot serve 'chat' through the gate: its port is True; give a number from 1 to 65535.",
    ),
    "an origin with a path": (
        [service(cors={"origins": ["https://app.test/x"]})],
        (
            "h1: Cannot serve 'chat' through the gate: it names the origin 'https://app.test/x'; give '*', or one such "
            "as 'https://app.example.org'."
        ),
    ),
    "an address that cannot be looked up": (
        [service(address="a" * 64)],
        (
            f"h1: Cannot serve 'chat' through the gate: its address is '{'a' * 64}'; give the name by which the gate "
            "dials it, of whose parts none has more than 63 characters."
        ),
    ),
    "a scope that is all of them": (
        [service(scopes=["*"])],
        (
            "h1: Cannot serve 'chat' through the gate: its scope is '*'; give lower-case letters, digits, '_', '.' and "
            "'-'."
        ),
    ),
    "two of one name": (
        [service(), service(container="site-other")],
        "h1: Cannot serve two services with the name 'chat' through one gate; rename one.",
    ),
    "two of one container": (
        [service(), service(name="b")],
        "h1: Cannot serve two services with the container 'site-inference-chat-1' through one gate; rename one.",
    ),
    "two of one host": (
        [service(hosts=["a.test"]), service(name="b", container="site-b", hosts=["b.test", "a.test"])],
        "Cannot route 'a.test': two services behind the gate have this host; name it in one.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("services", "expected"), WRONG_SERVICES.values(), ids=WRONG_SERVICES)
def test_services_that_are_refused(services: list[dict[str, Any]], expected: str) -> None:
    assert problems(*services) == [expected]


WRONG_CLIENTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a name that no secret can have": (
        [client(name="My-App")],
        (
            "Cannot give keys to client 'My-App': the name 'My-App' cannot stand in the name of a secret; use "
            "lower-case letters, digits and '_'."
        ),
    ),
    "an id that no secret can have": (
        [client(keys=[{"id": "2026-11"}])],
        (
            "Cannot give keys to client 'app': the id '2026-11' cannot stand in the name of a secret; use "
            "lower-case letters, digits and '_'."
        ),
    ),
    "a name that is too long": (
        [client(name="a" * 50)],
        (
            f"Cannot give keys to client '{'a' * 50}': the secret 'gateway_key_{'a' * 50}_1' of a key has more than "
            "63 characters; choose shorter names."
        ),
    ),
    "a day in the place of a time": (
        [client(keys=[{"id": "1", "not_after": "2027-01-31"}])],
        (
            "Cannot give keys to client 'app': not_after of key '1' is '2027-01-31'; give a time such as "
            "'2027-01-31T00:00:00Z', in quotes."
        ),
    ),
    "a time that YAML has read": (
        [client(keys=[{"id": "1", "not_after": datetime.datetime(2027, 1, 31, tzinfo=datetime.timezone.utc)}])],
        (
            "Cannot give keys to client 'app': not_after of key '1' is '2027-01-31 00:00:00+00:00'; give a time such "
            "as '2027-01-31T00:00:00Z', in quotes."
        ),
    ),
    "a rate of text": (
        [client(rate={"per_minute": "600", "burst": 5})],
        "Cannot give keys to client 'app': its rate has per_minute '600'; give a number that is not below 0.001.",
    ),
    "a rate without a burst": (
        [client(rate={"per_minute": 600})],
        "Cannot give keys to client 'app': its rate has burst None; give a number that is not below 1.",
    ),
    "a service that is not there": (
        [client(scopes=["chta"])],
        "Cannot give keys to client 'app': no service has the scope 'chta'; known are chat, and '*' is all of them.",
    ),
    "a replica, which is asked for by its service's name": (
        [client(scopes=["chat-2"])],
        "Cannot give keys to client 'app': no service has the scope 'chat-2'; known are chat, and '*' is all of them.",
    ),
    "a scope that no service has": (
        [client(scopes=["vison"])],
        "Cannot give keys to client 'app': no service has the scope 'vison'; known are chat, and '*' is all of them.",
    ),
    "twice": (
        [client(), client(scopes=["chat"])],
        "h1: Cannot give keys to client 'app': it is there twice; name it once.",
    ),
    "two keys of one id": (
        [client(keys=[{"id": "1"}, {"id": "1"}])],
        "Cannot give client 'app' two keys with the id '1'; rename one.",
    ),
    "two keys that would be one secret": (
        [client(name="a", keys=[{"id": "b_1"}]), client(name="a_b")],
        "h1: Cannot keep two keys in one secret 'gateway_key_a_b_1'; rename a client or a key.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("clients", "expected"), WRONG_CLIENTS.values(), ids=WRONG_CLIENTS)
def test_clients_that_are_refused(clients: list[dict[str, Any]], expected: str) -> None:
    assert problems(service(), clients=tuple(clients)) == [expected]


def test_services_of_two_hosts_may_have_one_name() -> None:
    needs = [Need("gated", "inference", host, service()) for host in ("h1", "h2")]
    assert find_gate_problems([SiteRole("inference", ["h1", "h2"], needs=needs)], "site") == []
