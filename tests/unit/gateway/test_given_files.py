# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway is given: keys, services and settings, what is wrong with them, and how they change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from modelyard_gateway.errors import GatewayError
from modelyard_gateway.files import read_those_there
from modelyard_gateway.keys import Key, Keyring, parse_keys
from modelyard_gateway.metrics import Metrics
from modelyard_gateway.rate import Buckets, Rate, whole_seconds
from modelyard_gateway.reload import WatchedFile
from modelyard_gateway.services import Call, ServiceConfig, parse_services
from modelyard_gateway.settings import Settings, read_settings
from modelyard_gateway.state import Timing
from support.gateway import GOOD_KEY, key, keys_file, service, services_file, sha256

DIGEST = sha256(GOOD_KEY)
STAYS = "What was read before stays in use."


def one_key(**changed: Any) -> dict[str, Any]:
    found = {**key("first", GOOD_KEY, "chat"), **changed}
    return {"app": {"keys": [{name: value for name, value in found.items() if value is not ...}]}}


def test_keys() -> None:
    clients = {
        "app": {
            "keys": [key("a", "one" * 9, "chat", "masks"), key("b", "two" * 9, "*", not_after="2027-01-15T08:00:00Z")]
        },
        "ui@site": {"rate": {"per_minute": 60, "burst": 5}, "keys": [key("a", "three" * 9, not_after=None)]},
        "nobody": {"keys": []},
    }
    ring = parse_keys(keys_file(clients), "keys.json")
    assert len(ring) == 3
    assert ring.clients == {"app", "ui@site"}
    assert ring.find(b"one" * 9) == Key("app", "a", frozenset({"chat", "masks"}), None, None)
    assert ring.find(b"two" * 9) == Key("app", "b", frozenset({"*"}), 1_800_000_000.0, None)
    assert ring.find(b"three" * 9) == Key("ui@site", "a", frozenset(), None, Rate(60, 5))
    assert ring.find(b"four" * 9) is None
    assert ring.find(bytes.fromhex(sha256("one" * 9))) is None


@pytest.mark.parametrize(
    ("now", "is_expired"), [(1_799_999_999.9, False), (1_800_000_000.0, True), (1_800_000_000.1, True)]
)
def test_a_key_is_none_from_its_time_on(now: float, is_expired: bool) -> None:
    assert Key("app", "a", frozenset(), 1_800_000_000.0, None).is_expired(now) == is_expired


WRONG_KEYS: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "it is no JSON"),
    "too deep": (b"[" * 100_000, "it is no JSON"),
    "no object": (b"[]", "it is no JSON object"),
    "no format": (b"{}", "its format is None, not 1"),
    "another format": (b'{"format": 2}', "its format is 2, not 1"),
    "no clients": (b'{"format": 1}', "it has no clients"),
    "clients that are none": (b'{"format": 1, "clients": []}', "it has clients [], which is not an object"),
    "something unknown": (b'{"format": 1, "clients": {}, "client": 1}', "it has the unknown client"),
    "a client that is none": (keys_file({"app": 1}), "clients.app is no object"),
    "a client's name": (
        keys_file({"a\r\nb": {"keys": []}}),
        "clients.a\r\nb has a name that is not of letters, digits and ._@-, at most 64",
    ),
    "a misspelt limit": (keys_file({"app": {"keys": [], "rates": {}}}), "clients.app has the unknown rates"),
    "a rate of nothing": (
        keys_file({"app": {"keys": [], "rate": {"per_minute": 0, "burst": 1}}}),
        "clients.app.rate has per_minute 0, which is not from 0.001 to 1e+09",
    ),
    "a burst of nothing": (
        keys_file({"app": {"keys": [], "rate": {"per_minute": 1, "burst": 0.5}}}),
        "clients.app.rate has burst 0.5, which is not from 1 to 1e+09",
    ),
    "a rate that is true": (
        keys_file({"app": {"keys": [], "rate": {"per_minute": True, "burst": 1}}}),
        "clients.app.rate has per_minute True, which is not a number",
    ),
    "not a number": (
        b'{"format": 1, "clients": {"app": {"keys": [], "rate": {"per_minute": NaN, "burst": 1}}}}',
        "clients.app.rate has per_minute nan, which is not from 0.001 to 1e+09",
    ),
    "no scopes": (keys_file(one_key(scopes=...)), "clients.app.keys[0] has no scopes"),
    "a scope that is no text": (
        keys_file(one_key(scopes=["chat", 1])),
        "clients.app.keys[0] has scopes ['chat', 1], of which not all are texts",
    ),
    "a digest that is none": (
        keys_file(one_key(sha256=DIGEST[:-1])),
        "clients.app.keys[0] has a sha256 that is not 64 digits of 0-9a-f",
    ),
    "a secret that was not filled in": (
        keys_file(one_key(sha256="@@secret:api_keys.sha256@@")),
        "clients.app.keys[0] has a sha256 that is not 64 digits of 0-9a-f",
    ),
    "a day": (
        keys_file(one_key(not_after="2027-01-15")),
        "clients.app.keys[0] has not_after '2027-01-15', which is not of the form 2027-01-31T00:00:00Z",
    ),
    "a day that is none": (
        keys_file(one_key(not_after="2027-02-30T00:00:00Z")),
        "clients.app.keys[0] has not_after '2027-02-30T00:00:00Z', which is not of the form 2027-01-31T00:00:00Z",
    ),
    "one id twice": (
        keys_file({"app": {"keys": [key("a", "one" * 9), key("a", "two" * 9)]}}),
        "clients.app has two keys with one id",
    ),
    "one key of two clients": (
        keys_file({"app": {"keys": [key("a", "one" * 9)]}, "ui": {"keys": [key("b", "one" * 9)]}}),
        "clients.ui has the key 'b', which is there twice, as 'a' of client 'app' too",
    ),
}


@pytest.mark.parametrize("name", WRONG_KEYS)
def test_keys_that_are_wrong(name: str) -> None:
    content, cause = WRONG_KEYS[name]
    with pytest.raises(GatewayError) as error:
        parse_keys(content, "/config/keys.json")
    assert str(error.value).startswith(f"Cannot use /config/keys.json: {cause}; render")
    assert DIGEST[:8] not in str(error.value)


def several(*files: dict[str, Any]) -> list[tuple[bytes, str]]:
    return [(keys_file(clients), f"/keys/{number}.json") for number, clients in enumerate(files)]


def parse_several(*files: dict[str, Any]) -> Keyring:
    (content, path), *others = several(*files)
    return parse_keys(content, path, others)


def test_keys_of_several_files_with_notes_for_people() -> None:
    notes = {"issued_at": "2026-11-22T01:00:00Z", "issued_by": "ada", "replaced_by": "b"}
    first, second = {"per_minute": 60, "burst": 5}, {"per_minute": 1, "burst": 1}
    ring = parse_several(
        {"app": {"keys": [key("a", "one" * 9, "chat")]}, "ui": {"rate": first, "keys": [key("a", "two" * 9)]}},
        {"app": {"rate": second, "keys": [key("b", "three" * 9, **notes)]}, "ui": {"rate": second, "keys": []}},
    )
    found = [ring.find(value.encode()) for value in ("one" * 9, "two" * 9, "three" * 9)]
    assert found == [
        Key("app", "a", frozenset({"chat"}), None, Rate(1, 1)),
        Key("ui", "a", frozenset(), None, Rate(60, 5)),
        Key("app", "b", frozenset(), None, Rate(1, 1)),
    ]
    assert ring.clients == {"app", "ui"}


def test_a_key_that_was_issued_and_is_declared_by_now_counts_as_declared() -> None:
    ring = parse_several(
        {"app": {"keys": [key("a", "one" * 9, "chat")]}}, {"app": {"keys": [key("a", "one" * 9, "chat", "segment")]}}
    )
    assert ring.find(b"one" * 9) == Key("app", "a", frozenset({"chat"}), None, None)
    assert len(ring) == 1


@pytest.mark.parametrize(
    ("issued", "opened"),
    [
        ({"ui": {"keys": [key("b", "one" * 9, "*")]}}, ["one"]),
        ({"app": {"keys": [key("a", "two" * 9, "*")]}}, ["one"]),
        ({"app": {"keys": [key("a", "two" * 9, "*"), key("b", "three" * 9, "*")]}}, ["one", "three"]),
    ],
    ids=["one secret of two clients", "a declared key that was rotated since", "and another key of the client"],
)
def test_what_is_declared_counts_whatever_was_issued_before(issued: dict[str, Any], opened: list[str]) -> None:
    ring = parse_several({"app": {"keys": [key("a", "one" * 9, "chat")]}}, issued)
    assert [value for value in ("one", "two", "three") if ring.find((value * 9).encode())] == opened
    assert ring.find(b"one" * 9) == Key("app", "a", frozenset({"chat"}), None, None)


def test_services() -> None:
    warm_up = {"method": "POST", "path": "/v1?x=1", "body": "{}", "content_type": "application/json"}
    declared = parse_services(
        services_file(
            [
                service("chat", vram_mib={"GPU-5a": 24000}, warm_up=warm_up, network="s_chat", scopes=["vision"]),
                service("x", idle_seconds=None),
            ],
            {"GPU-5a": 81559},
        ),
        "services.json",
    )
    assert declared.budget_mib == {"GPU-5a": 81559}
    assert declared.services["chat"] == ServiceConfig(
        "chat", "c-chat", "chat", 8080, "s_chat", frozenset({"chat", "vision"}), {"GPU-5a": 24000}, 300.0, 120.0, 600.0,
        30, Call("/health"), Call("/v1?x=1", 200, "POST", "{}", "application/json", 60.0),
    )  # fmt: skip
    without = declared.services["x"]
    assert (without.scopes, without.network, without.idle_seconds) == ({"x"}, "", None)


WRONG_SERVICES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a GPU that is not there": ([service("a", vram_mib={"1": 5})], "services[0] wants GPU '1', which is none of 0"),
    "more than the card has": (
        [service("a", vram_mib={"0": 11})],
        "services[0] wants 11 MiB of GPU '0', which has 10",
    ),
    "two of one name": ([service("a"), service("a", container="b")], "it has two services with the name 'a'"),
    "two of one container": (
        [service("a"), service("b", container="c-a")],
        "it has two services with the container 'c-a'",
    ),
    "no readiness": ([{**service("a"), "ready": None}], "services[0] has no ready"),
    "a container that is a path": (
        [service("a", container="x/../../images")],
        "services[0] has container 'x/../../images', which is not of the form",
    ),
    "a network that is a path": (
        [service("a", network="x/../../volumes")],
        "services[0] has network 'x/../../volumes', which is not of the form",
    ),
    "a container with a query": (
        [service("a", container="x?t=1")],
        "services[0] has container 'x?t=1', which is not of",
    ),
    "a path that is two lines": (
        [service("a", ready={"path": "/x\r\nHost: y"})],
        "services[0].ready has path '/x\\r\\nHost: y', which is not of the form",
    ),
    "a method": (
        [service("a", ready={"path": "/", "method": "DELETE"})],
        "services[0].ready has method 'DELETE', which is none of GET, POST",
    ),
    "a content type of two lines": (
        [service("a", ready={"path": "/", "content_type": "a/b\r\nX: y"})],
        "services[0].ready has content_type 'a/b\\r\\nX: y', which is none",
    ),
    "a port": ([service("a", port=0)], "services[0] has port 0, which is not from 1 to 65535"),
    "a name that is a label's end": ([service('a"}')], "services[0] has name 'a\"}', which is not of the form"),
    "a scope that is all of them": (
        [service("a", scopes=["*"])],
        "services[0] has the scope '*', which is not of the form",
    ),
    "a replica of nothing": (
        [service("a"), service("b", replica_of="c")],
        "services[1] is a replica of 'c', which is none of a",
    ),
    "a replica of a replica": (
        [service("a"), service("b", replica_of="a"), service("c", replica_of="b")],
        "services[2] is a replica of 'b', which is none of a",
    ),
    "a misspelt time": ([service("a", idle_minutes=5)], "services[0] has the unknown idle_minutes"),
}


@pytest.mark.parametrize("name", WRONG_SERVICES)
def test_services_that_are_wrong(name: str) -> None:
    services, cause = WRONG_SERVICES[name]
    with pytest.raises(GatewayError) as error:
        parse_services(services_file(services, {"0": 10}), "/config/services.json")
    assert str(error.value).startswith(f"Cannot use /config/services.json: {cause}")


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    given = {
        "format": 1, "listen": {"port": 9090}, "engine": "http://proxy:2375", "keys": ["/k", "/i"], "services": "/s",
        "state": "/a", "timing": {"dial_seconds": 3, "most_waiting": 7}, "edge": ["traefik-1"],
    }  # fmt: skip
    path.write_text(json.dumps(given))
    timing = Timing(dial_seconds=3.0, most_waiting=7)
    keys = ("/k", "/i")
    expected = Settings("127.0.0.1", 9090, "http://proxy:2375", keys, "/s", "/a", timing, ("traefik-1",))
    assert read_settings(str(path)) == expected
    for wrong in ([], ["/k", "/k"]):
        path.write_text(json.dumps({**given, "keys": wrong}))
        with pytest.raises(
            GatewayError, match=r"it has keys \[.*\], which are not one file or several, each once; render"
        ):
            read_settings(str(path))
    path.write_text(json.dumps({**given, "timing": {"dial_minutes": 3}}))
    with pytest.raises(GatewayError, match=r"timing has the unknown dial_minutes; render the file anew\.$"):
        read_settings(str(path))
    with pytest.raises(GatewayError, match=r"^Cannot read /nowhere: No such file or directory; see that it is there"):
        read_settings("/nowhere")


def test_a_bucket_fills_up_to_its_burst_and_no_further() -> None:
    buckets, rate = Buckets(), Rate(per_minute=60, burst=2)
    assert [buckets.take("a", rate, 0.0) for _number in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("a", rate, 0.75) == pytest.approx(0.25)
    assert [buckets.take("a", rate, 1000.0) for _number in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("b", rate, 1000.0) == 0.0
    assert buckets.take("c", None, 1000.0) == 0.0


def test_a_reload_refills_no_bucket_and_forgets_clients_that_are_gone() -> None:
    buckets, rate = Buckets(), Rate(per_minute=1, burst=1)
    for client in ("stays", "goes"):
        buckets.take(client, rate, 0.0)
    buckets.keep(frozenset({"stays"}))
    assert buckets.take("stays", rate, 0.0) == 60.0
    assert buckets.take("goes", rate, 0.0) == 0.0


@pytest.mark.parametrize(("seconds", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.0000001, 1), (1.01, 2), (59.5, 60)])
def test_retry_after_is_never_too_early(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds) == whole


class Watched:
    """A file of keys that is watched, and the keys in use."""

    def __init__(self, path: Path) -> None:
        self.path, self.metrics, self.ring = path, Metrics(), Keyring({})
        self.write(keys_file(one_key()))
        self.file = WatchedFile("keys", str(path), self.use)
        self.file.load()

    def use(self, content: bytes, path: str) -> None:
        self.ring = parse_keys(content, path)

    def write(self, content: bytes) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_bytes(content)
        os.replace(temporary, self.path)


def test_a_changed_file_is_read_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "keys.json")
    before = watched.ring
    watched.file.look(watched.metrics)
    assert watched.ring is before
    watched.write(keys_file({}))
    watched.file.look(watched.metrics)
    assert len(watched.ring) == 0
    after = watched.ring
    watched.file.look(watched.metrics, anyway=True)
    assert watched.ring is not after


def test_a_broken_file_leaves_what_was_good_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(tmp_path / "keys.json")
    watched.write(b"{")
    for _number in range(3):
        watched.file.look(watched.metrics)
    watched.path.unlink()
    watched.file.look(watched.metrics)
    assert watched.ring.find(GOOD_KEY.encode()) is not None
    assert [record.message for record in caplog.records] == [
        f"Cannot use {watched.path}: it is no JSON; render the file anew. {STAYS}",
        f"Cannot read {watched.path}: No such file or directory; see that it is there and readable. {STAYS}",
    ]
    watched.write(keys_file({}))
    watched.file.look(watched.metrics)
    assert len(watched.ring) == 0


def test_files_beside_come_and_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = tmp_path / "keys.json", tmp_path / "issued.json"
    first.write_bytes(keys_file(one_key()))
    rings: list[Keyring] = []
    metrics = Metrics()
    watched = WatchedFile(
        "keys",
        str(first),
        lambda content, path: rings.append(parse_keys(content, path, read_those_there([str(second)]))),
        (str(second),),
    )
    watched.load()
    second.write_bytes(keys_file({"new": {"keys": [key("n", "new" * 9)]}}))
    watched.look(metrics)
    watched.look(metrics)
    second.write_bytes(b"{")
    watched.look(metrics)
    second.unlink()
    watched.look(metrics)
    assert [len(ring) for ring in rings] == [1, 2, 1]
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [f"Cannot use {second}: it is no JSON; render the file anew. {STAYS}"]


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with path.open("wb") as stream:
        stream.truncate(17 * 1024 * 1024)
    with pytest.raises(GatewayError, match=r"it has more than 16777216 bytes; render the file anew\.$"):
        WatchedFile("keys", str(path), lambda _content, _path: None).load()
