# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Issuing, revoking and rotating keys: what happens, what is refused, and what is there after each way to die."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Sleeper
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._keys import in_force, task
from ansible_collections.modelyard.platform.plugins.module_utils._keys.issued import IssuedFile
from ansible_collections.modelyard.platform.plugins.module_utils._keys.known import Places, read_known
from ansible_collections.modelyard.platform.plugins.module_utils._keys.listing import list_keys, render_keys
from ansible_collections.modelyard.platform.plugins.module_utils._keys.task import Outcome, diff_of, perform, result_of
from ansible_collections.modelyard.platform.plugins.module_utils._keys.times import parse_time
from ansible_collections.modelyard.platform.plugins.module_utils._keys.wish import parse_wish
from ansible_collections.modelyard.platform.plugins.module_utils._secrets import store_change
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import SecretStore
from modelyard_gateway.keys import Key, Keyring, parse_keys
from modelyard_gateway.rate import Rate

NOW = parse_time("2026-11-22T01:00:00Z")
DAY = 86400
DECLARED = {
    "clients": {"webui": {"keys": [{"id": "1", "sha256": "a" * 64, "scopes": ["chat"], "not_after": None}]}},
    "format": 1,
}


class Host:
    """A site with a gateway of two services and one declared client."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.config = self.site / "projects" / "test-gateway" / "config"
        self.config.mkdir(parents=True)
        services = [{"name": "chat"}, {"name": "masks", "scopes": ["vision"]}]
        (self.config / "services.json").write_text(json.dumps({"format": 1, "gpus": {}, "services": services}))
        (self.config / "keys.json").write_text(json.dumps(DECLARED))
        self.store = folder / "etc" / "secrets.json"
        self.places = Places(str(self.site), str(self.store))
        self.issued = IssuedFile(self.places.issued.site)

    def run(self, action: str, *, now: int = NOW, check: bool = False, **given: Any) -> Outcome:
        params = dict.fromkeys(("client", "id", "scopes", "expires", "rate", "issued_by"))
        wish = parse_wish({**params, "action": action, "overlap_days": 7, **given}, who="ada", now=now)
        return perform(wish, self.places, check_mode=check, now=now)

    def issue(self, client: str = "alice", *scopes: str, **given: Any) -> str:
        """Issue a key and return its value."""
        outcome = self.run("issue", client=client, scopes=list(scopes or ("chat",)), **given)
        return self.value(outcome.made)

    def value(self, secret: str) -> str:
        return SecretStore.load(str(self.store)).value(secret)

    def secrets(self) -> list[str]:
        return SecretStore.load(str(self.store)).names()

    def ring(self) -> Keyring:
        """Return what the gateway makes of the file."""
        return parse_keys(Path(self.issued.path).read_bytes(), self.issued.path)

    def states(self, now: int = NOW) -> dict[tuple[str, str], str]:
        known, _store = read_known(self.places)
        return {(row.client, row.id): row.state for row in list_keys(known, now)}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_an_issued_key_opens_what_it_should_and_its_value_is_in_the_store_alone(host: Host) -> None:
    outcome = host.run(
        "issue", client="alice", scopes=["chat", "masks"], expires="2027-01-31",
        rate={"per_minute": 120.0, "burst": None},
    )  # fmt: skip
    assert outcome.made == "gateway_key_alice_20261122"
    value = host.value(outcome.made)
    ends = parse_time("2027-01-31T23:59:59Z")
    expected = Key("alice", "20261122", frozenset({"chat", "masks"}), float(ends), Rate(120, 2))
    assert host.ring().find(value.encode()) == expected
    everywhere = "".join(path.read_text() for path in host.site.rglob("*") if path.is_file())
    assert value not in everywhere + json.dumps(result_of(outcome, NOW)) + str(diff_of(outcome, NOW)) + repr(outcome)


def test_the_file_is_for_root_and_the_group_of_the_gateway(host: Host) -> None:
    own, keys = host.site / "state" / "gateway", host.site / "state" / "keys"
    own.mkdir(parents=True)
    os.chown(own, 10123, 10124)
    keys.mkdir(mode=0o755)  # as Docker makes what a container mounts
    host.issue()
    found = [(one.stat().st_uid, one.stat().st_gid, stat.S_IMODE(one.stat().st_mode)) for one in keys.rglob("*")]
    assert found == [(os.geteuid(), 10124, 0o640)]
    assert (keys.stat().st_gid, stat.S_IMODE(keys.stat().st_mode)) == (10124, 0o750)
    shutil.rmtree(keys)
    host.issue("bob")
    assert (keys.stat().st_gid, stat.S_IMODE(keys.stat().st_mode)) == (10124, 0o750)
    shutil.rmtree(keys)
    keys.symlink_to(own)
    with pytest.raises(PlatformError, match=r"^Cannot change the issued keys: .*/state/keys is a symbolic link; put"):
        host.issue("carol")


def test_check_mode_tells_the_same_and_touches_nothing(host: Host) -> None:
    told = host.run("issue", check=True, client="alice", scopes=["chat"])
    assert sorted(path.name for path in host.site.iterdir()) == ["projects"]
    assert not host.store.exists()
    done = host.run("issue", client="alice", scopes=["chat"])
    assert result_of(told, NOW) == result_of(done, NOW)
    assert diff_of(told, NOW) == diff_of(done, NOW)
    before = host.ring(), host.secrets()
    for action in ("revoke", "rotate"):
        assert host.run(action, check=True, client="alice").plan.steps
    assert len(host.ring()) == len(before[0])
    assert host.secrets() == before[1]


def test_a_second_key_of_a_day_has_a_name_of_its_own_and_a_named_one_stays(host: Host) -> None:
    assert len({host.issue() for _number in range(3)}) == 3
    assert host.secrets() == [f"gateway_key_alice_20261122{more}" for more in ("", "_2", "_3")]
    first = host.issue(id="laptop", expires="2027-01-31")
    again = host.run("issue", client="alice", scopes=["chat"], id="laptop", expires="2027-01-31")
    assert not result_of(again, NOW)["changed"]
    assert again.made == ""
    assert host.ring().find(first.encode()) is not None
    assert len(host.ring()) == 4


def test_revoking_ends_one_key_or_all_and_forgets_their_values(host: Host) -> None:
    first, second = host.issue(), host.issue(id="laptop")
    other = host.issue("bob")
    host.run("revoke", client="alice", id="laptop")
    assert host.ring().find(second.encode()) is None
    assert host.ring().find(first.encode()) is not None
    host.run("revoke", client="alice")
    assert host.ring().clients == {"bob"}
    assert host.ring().find(other.encode()) is not None
    assert host.secrets() == ["gateway_key_bob_20261122"]


def test_rotating_puts_a_key_beside_the_old_one_which_ends_after_the_overlap(host: Host) -> None:
    old = host.issue("alice", "chat", "masks", expires="2027-01-31", rate={"per_minute": 6.0, "burst": 3.0})
    later = NOW + 30 * DAY
    outcome = host.run("rotate", client="alice", now=later)
    new = host.value(outcome.made)
    ring = host.ring()
    ends, end = parse_time("2027-01-31T23:59:59Z"), later + 7 * DAY
    scopes, rate = frozenset({"chat", "masks"}), Rate(6, 3)
    assert ring.find(old.encode()) == Key("alice", "20261122", scopes, float(end), rate)
    assert ring.find(new.encode()) == Key("alice", "20261222", scopes, float(ends), rate)
    assert [step.as_result()["reason"] for step in outcome.plan.steps] == [
        "it was asked for, for chat, masks, until 2027-01-31T23:59:59Z",
        "'20261222' takes its place, it ends at 2026-12-29T01:00:00Z",
    ]
    assert host.states(later) == {
        ("alice", "20261122"): "replaced", ("alice", "20261222"): "active", ("webui", "1"): "active",
    }  # fmt: skip


def test_rotating_again_goes_on_from_the_newest_and_forgets_what_is_over(host: Host) -> None:
    host.issue()
    host.run("rotate", client="alice")
    host.run("rotate", client="alice", now=NOW + DAY, scopes=["masks"], expires="2028-01-01")
    assert host.states(NOW + DAY) == {
        ("alice", "20261122"): "replaced", ("alice", "20261122_2"): "replaced", ("alice", "20261123"): "active",
        ("webui", "1"): "active",
    }  # fmt: skip
    outcome = host.run("rotate", client="alice", now=NOW + 8 * DAY, overlap_days=0)
    assert [(step.action, step.id) for step in outcome.plan.steps] == [
        ("issue", "20261130"), ("end", "20261123"),
        ("forget", "20261122"), ("forget", "20261122_2"), ("forget", "20261123"),
    ]  # fmt: skip
    assert host.secrets() == ["gateway_key_alice_20261130"]
    assert [client for client, _id in host.states(NOW + 8 * DAY)] == ["alice", "webui"]


VERBS = {"issue": "issue a key for", "revoke": "revoke keys of", "rotate": "rotate a key of"}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a client's name": (
        "issue",
        {"client": "Alice@lab"},
        ("it is no name; use up to 32 of a-z, 0-9 and '_', a letter first, such as alice."),
    ),
    "an id": (
        "issue",
        {"client": "alice", "id": "my laptop"},
        (
            "the key's id 'my laptop' is no name; use up to 17 of a-z, 0-9 and '_', a "
            "letter or digit first, such as laptop."
        ),
    ),
    "no scope": (
        "issue",
        {"client": "alice"},
        (
            "no scope says what it may call; services have chat, masks, vision, name "
            "some of them, or '*' for all that there ever are."
        ),
    ),
    "a scope that no service has": (
        "issue",
        {"client": "alice", "scopes": ["chat", "imagery"]},
        (
            "no gated service has the scope 'imagery', there are chat, masks, vision; correct the "
            "scope, or deploy the service first."
        ),
    ),
    "an end that has passed": (
        "issue",
        {"client": "alice", "scopes": ["chat"], "expires": "2026-11-21"},
        ("its end 2026-11-21T23:59:59Z has passed, it is 2026-11-22T01:00:00Z now; give a day that is to come."),
    ),
    "an end that is none": (
        "issue",
        {"client": "alice", "scopes": ["chat"], "expires": "2027-02-30"},
        ("its end '2027-02-30' is no day; write one such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z."),
    ),
    "a rate of nothing": (
        "issue",
        {"client": "alice", "scopes": ["chat"], "rate": {"per_minute": 0.0, "burst": None}},
        (
            "0 requests a minute and 1 at once are no limit; give a number above 0 for "
            "the first, and at least 1 for the second."
        ),
    ),
    "an overlap": (
        "rotate",
        {"client": "carol", "overlap_days": -1},
        "an overlap of -1 days was asked for; give a number from 0 to 365.",
    ),
    "an id that a declared key has": (
        "issue",
        {"client": "webui", "scopes": ["chat"], "id": "1"},
        ("the id '1' is taken, secret 'gateway_key_webui_1' is another key's; choose another id, or leave it out."),
    ),
    "an id whose secret is another client's": (
        "issue",
        {"client": "carol_a", "scopes": ["chat"], "id": "b"},
        ("the id 'b' is taken, secret 'gateway_key_carol_a_b' is another key's; choose another id, or leave it out."),
    ),
    "a named key that is another one": (
        "issue",
        {"client": "carol", "scopes": ["vision"], "id": "a_b", "expires": "2027-01-31"},
        ("its key 'a_b' is there and opens chat and has no end; choose another id, or revoke that one first."),
    ),
    "a client that nobody knows": (
        "revoke",
        {"client": "crol"},
        (
            "no key was ever issued to a client of that name, or all are revoked; "
            "clients with keys are carol, correct the name."
        ),
    ),
    "a declared client": (
        "revoke",
        {"client": "webui"},
        (
            "its keys are declared, by the inventory (gateway_clients) or by a role; "
            "take them out there or name their secrets in site_rotate, and deploy the site."
        ),
    ),
    "a key that nobody knows": (
        "revoke",
        {"client": "carol", "id": "b"},
        "it has no key 'b'; it has a_b, c, name one of these.",
    ),
    "one of two keys": (
        "rotate",
        {"client": "carol"},
        "it has a_b, c; say which one by its id.",
    ),
}


def test_somebody_has_to_have_the_key(host: Host) -> None:
    with pytest.raises(PlatformError, match=r"^Cannot issue a key: no client is named; say whose"):
        host.run("issue", scopes=["chat"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_said_with_the_fix_and_changes_nothing(name: str, host: Host) -> None:
    host.issue("carol", id="a_b")
    host.issue("carol", id="c")
    before = Path(host.issued.path).read_bytes(), host.store.read_bytes()
    action, given, words = REFUSED[name]
    with pytest.raises(PlatformError) as error:
        host.run(action, **given)
    assert str(error.value) == f"Cannot {VERBS[action]} client {given['client']!r}: {words}"
    assert (Path(host.issued.path).read_bytes(), host.store.read_bytes()) == before


def test_rotating_what_is_over_or_replaced_is_refused(host: Host) -> None:
    host.issue(expires="2026-11-23")
    with pytest.raises(
        PlatformError, match=r"key '20261122' ended at 2026-11-23T23:59:59Z, and so would the one in its"
    ):
        host.run("rotate", client="alice", now=NOW + 9 * DAY)
    host.run("rotate", client="alice", now=NOW + 9 * DAY, expires="2027-01-01")
    host.run("rotate", client="alice", now=NOW + 9 * DAY)
    with pytest.raises(
        PlatformError, match=r"key '20261201' has been replaced by '20261201_2' already; rotate that one\.$"
    ):
        host.run("rotate", client="alice", id="20261201", now=NOW + 9 * DAY)


def test_without_a_gateway_nothing_is_issued_and_the_list_is_empty(host: Host) -> None:
    (host.config / "services.json").unlink()
    with pytest.raises(PlatformError) as error:
        host.run("issue", client="alice", scopes=["chat"])
    assert str(error.value) == (
        "Cannot issue a key for client 'alice': there is no gateway on this host, "
        f"{host.site}/projects/*-gateway has no services.json; deploy the site first, or name the host that has it."
    )
    assert result_of(host.run("list"), NOW)["table"] == "No key was issued here, and none is declared.\n"


def test_of_several_gateways_the_one_that_is_meant_has_to_be_named(host: Host) -> None:
    other = host.config.parents[1] / "other-gateway" / "config"
    shutil.copytree(host.config, other)
    with pytest.raises(PlatformError) as error:
        host.issue()
    assert str(error.value) == (
        f"Cannot tell which gateway is meant: {other} and {host.config} are of one; name it (gateway)."
    )
    host.places = replace(host.places, gateway=str(host.config))
    assert host.issue()
    # Nor is anything one that merely is called so.
    shutil.rmtree(other.parent)
    (other.parent / "data").mkdir(parents=True)
    (other.parent / "data" / "services.json").write_text("{}")
    host.places = replace(host.places, gateway="")
    assert host.issue("bob")


def test_the_list_is_a_table_and_says_how_each_stands(host: Host) -> None:
    host.issue("alice", "chat", "masks", expires="2027-01-31")
    host.issue("bob", expires="2026-11-25")
    host.issue("eve", "*", id="old")
    host.run("rotate", client="eve")
    lost = host.run("issue", client="dan", scopes=["chat"]).made
    store = SecretStore.load(str(host.store))
    store_change.write_store(store.without_secrets([lost]))
    known, _store = read_known(host.places)
    assert render_keys(list_keys(known, NOW)) == (
        "CLIENT  ID        SCOPES      EXPIRES               STATE\n"
        "alice   20261122  chat,masks  2027-01-31T23:59:59Z  active\n"
        "bob     20261122  chat        2026-11-25T23:59:59Z  ends soon (in 3 days)\n"
        "dan     20261122  chat        never                 lost (its value is not in\n"
        "                                                    the secret store; revoke it)\n"
        "eve     old       *           2026-11-29T01:00:00Z  replaced (by 20261122, ends\n"
        "                                                    in 7 days)\n"
        "eve     20261122  *           never                 active\n"
        "webui   1         chat        never                 active (declared)\n"
    )
    host.run("revoke", client="dan")
    assert ("dan", "20261122") not in host.states()


def test_a_key_that_was_issued_and_is_declared_by_now_is_told_and_the_declared_one_stays(host: Host) -> None:
    value = host.issue("alice", "*", id="laptop")
    laptop = {"id": "laptop", "sha256": hashlib.sha256(value.encode()).hexdigest(), "scopes": ["chat"]}
    (host.config / "keys.json").write_text(json.dumps({"format": 1, "clients": {"alice": {"keys": [laptop]}}}))
    known, _store = read_known(host.places)
    assert render_keys(list_keys(known, NOW)) == (
        "CLIENT  ID      SCOPES  EXPIRES  STATE\n"
        "alice   laptop  *       never    active (the declared one counts; revoke this\n"
        "                                 one)\n"
        "alice   laptop  chat    never    active (declared)\n"
    )
    done = host.run("revoke", client="alice")
    assert [step.reason for step in done.plan.steps] == [
        "it was asked for; it is declared too, and good as long as the inventory (gateway_clients) or a role names it"
    ]
    assert host.value("gateway_key_alice_laptop") == value
    assert host.states() == {("alice", "laptop"): "active"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0, ""), ""),
        ((75, "it does not run"), "it does not run"),
        ((137, "it was cut"), "it was cut"),
    ],
    ids=["read", "no gateway runs", "cut"],
)
def test_the_gateway_is_asked_to_read_the_keys(
    answer: tuple[int, str], said: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Sleeper, str]] = []

    def ask(_engine: Engine, sleeper: Sleeper, *words: str) -> tuple[int, str]:
        asked.append((sleeper, *words))
        return answer

    monkeypatch.setattr(in_force, "ask_gateway", ask)
    assert in_force.have_read(host.places.gateway_folder, "issue a key") == said
    assert asked == [(Sleeper("test-gateway", "gateway", ""), "check")]


@pytest.mark.parametrize("given", ["{}/", "{}//", "{}/../config", "{}"])
def test_the_gateway_is_the_same_however_its_folder_is_written(
    given: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another project than the site's own would be told by the answer.
    monkeypatch.setattr(in_force, "ask_gateway", lambda _engine, sleeper, _word: (75, sleeper.project))
    places = replace(host.places, gateway=given.format(host.config))
    assert in_force.have_read(places.gateway_folder, "issue a key") == "test-gateway"


def test_files_that_the_gateway_refuses_are_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "Cannot use /config/keys.json: it is no JSON; render the file anew."
    monkeypatch.setattr(in_force, "ask_gateway", lambda *_asked: (1, refusal))
    with pytest.raises(PlatformError) as error:
        in_force.have_read(host.places.gateway_folder, "issue a key for client 'alice'")
    assert str(error.value) == (
        "Cannot issue a key for client 'alice' for now: it is written down, and the gateway goes by what it has read "
        f"before. {refusal}"
    )


def test_an_engine_of_another_machine_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    said = in_force.have_read(host.places.gateway_folder, "issue a key")
    assert said.startswith("Cannot use the engine at DOCKER_HOST='tcp://192.0.2.1:2375'"), said


class Killed(BaseException):
    """The process is gone."""


def _dies(*_arguments: Any) -> None:
    raise Killed


def test_killed_between_both_files_no_key_is_out_of_sight(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = host.issue()
    with monkeypatch.context() as patch:
        patch.setattr(store_change, "write_store", _dies)
        with pytest.raises(Killed):
            host.run("issue", client="bob", scopes=["chat"])
        with pytest.raises(Killed):
            host.run("revoke", client="alice")
    assert host.states() == {("alice", "20261122"): "expired", ("bob", "20261122"): "lost", ("webui", "1"): "active"}
    found = host.ring().find(kept.encode())
    assert found is not None
    assert found.is_expired(NOW)
    for client in ("alice", "bob"):
        host.run("revoke", client=client)
    assert (len(host.ring()), host.secrets()) == (0, [])


def test_a_store_that_cannot_be_written_leaves_no_key_and_ends_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = host.issue()
    monkeypatch.setattr(store_change, "write_store", _refuse)
    for action, given in (("issue", {"client": "bob", "scopes": ["chat"]}), ("rotate", {"client": "alice"})):
        with pytest.raises(PlatformError, match=r"^Cannot write"):
            host.run(action, **given)
    assert host.states() == {("alice", "20261122"): "active", ("webui", "1"): "active"}
    found = host.ring().find(old.encode())
    assert found is not None
    assert found.not_after is None


def _refuse(_store: SecretStore) -> None:
    raise PlatformError("Cannot write the secret store: No space left on device; make room.")


def test_a_value_that_a_kept_release_refers_to_stays_and_opens_nothing(host: Host) -> None:
    value = host.issue()
    release = host.site / "releases" / "app" / "1" / "release.json"
    release.parent.mkdir(parents=True)
    release.write_text(json.dumps({"secrets": {"gateway_key_alice_20261122": 1}}))
    host.run("revoke", client="alice")
    assert host.ring().find(value.encode()) is None
    assert host.secrets() == ["gateway_key_alice_20261122"]
    assert host.run("issue", client="alice", scopes=["chat"]).made == "gateway_key_alice_20261122_2"
    release.write_text("{")
    host.run("revoke", client="alice")
    assert len(host.ring()) == 0


DAMAGED: dict[str, Callable[[Any], object]] = {
    "no JSON": lambda _document: "{",
    "no clients": lambda _document: {"format": 1},
    "a list": lambda _document: {"format": 1, "clients": []},
    "a digest": lambda document: document["clients"]["alice"]["keys"][0].update(sha256="x") or document,
    "a time": lambda document: document["clients"]["alice"]["keys"][0].update(issued_at="today") or document,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_said_and_left_alone(name: str, host: Host) -> None:
    host.issue()
    path = Path(host.issued.path)
    broken = DAMAGED[name](json.loads(path.read_text()))
    path.write_text(broken if isinstance(broken, str) else json.dumps(broken))
    before = path.read_bytes()
    with pytest.raises(PlatformError) as error:
        host.run("issue", client="bob", scopes=["chat"])
    assert str(error.value) == f"Cannot read {path}: it is damaged; restore it from a backup, or remove it."
    assert path.read_bytes() == before


def test_a_file_of_newer_code_is_refused(host: Host) -> None:
    host.issue()
    path = Path(host.issued.path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(PlatformError, match=r"it has format 2, modelyard\.platform .* knows up to 1"):
        host.run("list")


def test_what_is_looked_at_again_under_the_lock_counts(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = read_known(host.places)
    host.issue()
    answers = [seen]
    monkeypatch.setattr(task, "read_known", lambda places: answers.pop() if answers else read_known(places))
    assert host.run("issue", client="alice", scopes=["chat"]).made == "gateway_key_alice_20261122_2"
    assert len(host.ring()) == 2
