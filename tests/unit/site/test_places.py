# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where needs are served on several hosts, and what goes from one to another for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._site.needs import Need, SiteRole, find_problems
from ansible_collections.modelyard.platform.plugins.module_utils._site.places import (
    Transfer,
    as_declared,
    find_followers,
    find_placement_problems,
    find_places,
    find_transfers,
    place_of,
)

FOLLOWS = frozenset({"route", "inner"})
ADDRESSES = {"hub": "10.0.0.1", "store": "10.0.0.2", "worker": "10.0.0.3"}


def site(edge: str = "hub", data: str = "store", tracking: str = "hub") -> list[SiteRole]:
    """Return edge, database and a user of it, with their secrets, as the plan reads them."""
    database = SiteRole(
        "postgres", [data], frozenset({"database"}),
        [Need("secret", "postgres", data, {"name": "superuser"}), Need("inner", "postgres", data, {"hosts": ["db"]})],
    )  # fmt: skip
    asked = {"role": {"name": "mlflow", "password": "@@secret:mlflow_password@@"}}
    user = SiteRole(
        "mlflow", [tracking], needs=[
            Need("secret", "mlflow", tracking, {"name": "mlflow_password"}),
            Need("database", "mlflow", tracking, asked), Need("route", "mlflow", tracking, {"hosts": ["mlflow"]}),
        ],
    )  # fmt: skip
    roles = [database, user]
    followers = find_followers(roles, FOLLOWS, [edge])
    needs = [Need("secret", "traefik", edge, {"name": "site_ca"})]
    for host in followers:
        needs += [
            Need("secret", "traefik", host, {"name": "site_ca", "on": edge}),
            Need("secret", "traefik", host, {"name": f"tls_{host}", "of": "site_ca", "on": edge}),
        ]
    return [SiteRole("traefik", [edge], frozenset({"route"}), needs, FOLLOWS, followers), *roles]


def test_the_edge_follows_to_every_host_with_something_for_it() -> None:
    assert site()[0].followers == ["store"]
    assert site(tracking="worker")[0].followers == ["store", "worker"]
    assert site(data="hub")[0].followers == []


@pytest.mark.parametrize(
    ("subject", "host", "data", "place"),
    [
        ("database", "hub", {}, "store"), ("route", "store", {}, "store"), ("route", "hub", {}, "hub"),
        ("secret", "store", {"name": "x"}, "store"), ("secret", "store", {"name": "x", "on": "hub"}, "hub"),
        ("port", "store", {}, "store"), ("port", "store", {"on_edge": True}, "hub"),
        ("port", "hub", {"on_edge": True}, "hub"), ("promise", "hub", {}, ""),
    ],
)  # fmt: skip
def test_a_need_is_served_where_its_owner_is(subject: str, host: str, data: dict[str, Any], place: str) -> None:
    assert place_of(Need(subject, "app", host, data), site()) == place


@pytest.mark.parametrize(
    ("host", "place"), [("h2", "h2"), ("h3", "h1")], ids=["its own host, where the owner is too", "the owner's first"]
)  # fmt: skip
def test_of_several_owners_the_one_on_the_same_host_serves(host: str, place: str) -> None:
    owner = SiteRole("postgres", ["h1", "h2"], frozenset({"database"}))
    assert place_of(Need("database", "app", host, {}), [owner]) == place


def test_only_what_another_host_uses_goes_there() -> None:
    assert find_transfers(site()) == [
        Transfer("mlflow_password", "hub", "store"), Transfer("site_ca", "hub", "store"),
        Transfer("tls_store", "hub", "store"),
    ]  # fmt: skip
    assert find_transfers(site(data="hub")) == []


def test_who_tries_the_promises_gets_what_they_refer_to_and_everybody_what_is_to_be_trusted() -> None:
    roles = site(tracking="worker")
    promised = Need("promise", "mlflow", "worker", {"password": "@@secret:mlflow_password@@"})
    trusted = Need("trust", "traefik", "hub", {"certificate": "@@secret:site_ca.certificate@@"})
    roles[2] = replace(roles[2], needs=[*roles[2].needs, promised, trusted])
    found = find_transfers([*roles, SiteRole("verify", ["hub"], frozenset({"promise"}))])
    assert Transfer("mlflow_password", "worker", "hub") in found
    assert {one.to for one in found if one.name == "site_ca"} == {"store", "worker"}


def test_what_an_operator_gives_to_all_hosts_goes_nowhere() -> None:
    login = Need("database", "app", "hub", {"password": "@@secret:given@@"})
    assert "given" not in {one.name for one in find_transfers([*site(), SiteRole("app", ["hub"], needs=[login])])}


def test_a_host_knows_who_may_reach_what_of_it() -> None:
    places = find_places(site(tracking="worker"), ADDRESSES, ADDRESSES)
    assert places["hub"] == {
        "is_inner": False, "edge": "hub", "routed": ["hub", "store", "worker"], "admitted": {}, "addresses": ADDRESSES,
    }  # fmt: skip
    # The database by the host that needs it, for it has no route; MLflow by the edge alone.
    assert places["store"]["admitted"] == {"postgres": ["10.0.0.3/32"]}
    assert places["worker"]["admitted"] == {"mlflow": ["10.0.0.1/32"]}
    assert (places["store"]["is_inner"], places["store"]["edge"], places["store"]["routed"]) == (True, "hub", ["store"])


def test_the_edge_reaches_what_has_a_route() -> None:
    roles = site(tracking="worker")
    routed = Need("route", "postgres", "store", {"hosts": ["db"]})
    roles[1] = replace(roles[1], needs=[*roles[1].needs, routed])
    assert find_places(roles, ADDRESSES, ADDRESSES)["store"]["admitted"] == {"postgres": ["10.0.0.1/32", "10.0.0.3/32"]}


def test_a_follower_declares_what_the_owner_makes_as_the_owner_does() -> None:
    declared = [Need("secret", "traefik", "hub", {"name": "login", "user": "boss"})]
    login = Need("secret", "traefik", "store", {"name": "login", "user": "admin", "on": "hub"})
    own = Need("secret", "traefik", "store", {"name": "tls_store", "on": "hub"})
    assert as_declared(login, declared).data == {"name": "login", "user": "boss", "on": "hub"}
    assert as_declared(own, declared) is own


def test_two_hosts_behind_one_edge_do_not_serve_one_name() -> None:
    roles = site()
    twins = [Need("route", "app", host, {"hosts": ["app", f"app-{host}"]}) for host in ("store", "worker")]
    roles[0] = replace(roles[0], followers=["store", "worker"])
    assert (
        "Cannot route app: store and worker both serve it behind one edge; give each another name, or leave one of "
        "them."
    ) in problems([*roles, SiteRole("app", ["store", "worker"], needs=twins)], **ADDRESSES)


def problems(roles: Sequence[SiteRole], **addresses: str) -> list[str]:
    assert find_problems(roles) == []
    return find_placement_problems(roles, addresses)


def test_hosts_that_need_each_other_have_private_addresses() -> None:
    assert problems(site(), **ADDRESSES) == []
    assert problems(site(data="hub")) == []
    [far, edge] = problems(site(), hub="10.0.0.1")
    assert far == (
        "Cannot deploy role 'mlflow' on hub with role 'postgres' on store: store has no site_private_address; give the "
        "address by which only the hosts of the site reach it, or put both roles on one host."
    )
    assert edge.startswith("Cannot deploy role 'postgres' on store with role 'traefik' on hub: store has no")
    assert "hub and store have no site_private_address" in problems(site())[0]


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("store.lab", "is no address of a host"), ("::", "is no address of a host"),
        ("127.0.0.1", "is no address of a host"), ("fe80::1", "is no address of a host"),
        ("10.0.0.1", "is that of hub too"),
    ],
)  # fmt: skip
def test_an_address_is_one_of_the_host_alone(address: str, cause: str) -> None:
    [found] = problems(site(), hub="10.0.0.1", store=address)
    assert found == (
        f"Cannot use site_private_address '{address}' of store: it {cause}; give the address by which the other hosts "
        "of the site reach it."
    )


def test_an_edge_does_not_serve_its_own_database_to_other_hosts() -> None:
    [found] = problems(site(data="hub", tracking="worker"), **ADDRESSES)
    assert found == (
        "Cannot deploy role 'mlflow' on worker: it needs role 'postgres', which is on hub with the edge, and the edge "
        "serves it to nobody; put 'postgres' on another host, or 'mlflow' on hub."
    )


def test_two_edges_cannot_both_be_followed() -> None:
    roles = site()
    roles[0] = replace(roles[0], hosts=["hub", "worker"])
    assert problems(roles, **ADDRESSES) == [
        "Cannot deploy role 'traefik' on hub and worker: store would follow both; leave one host in its group."
    ]


def test_two_hosts_do_not_give_a_third_different_secrets_of_one_name() -> None:
    roles = site()
    twin = [replace(need, host="worker") for need in roles[2].needs]
    roles[2] = replace(roles[2], hosts=["hub", "worker"], needs=[*roles[2].needs, *twin])
    roles[0] = replace(roles[0], followers=["store", "worker"])
    assert (
        "Cannot give store secret 'mlflow_password': hub and worker each make one; put what declares it on one host."
    ) in problems(roles, **ADDRESSES)


def test_clients_need_no_private_address() -> None:
    client = SiteRole("client", ["laptop"], needs=[Need("authority", "client", "laptop", {"name": "site_ca"})])
    edge = SiteRole("traefik", ["hub"], frozenset({"route", "authority"}), follows=FOLLOWS)
    verify = SiteRole("verify", ["laptop"], frozenset({"promise"}), [Need("promise", "traefik", "hub", {})])
    assert problems([edge, client, verify]) == []
