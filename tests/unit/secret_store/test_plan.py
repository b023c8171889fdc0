# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan: which secret is made, kept, made again or refused, and the reason given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.plan import plan_removal, plan_secrets
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import SecretStore

from .secret_examples import DAY, NOW, declare, make_secret, make_store, make_version

PASSWORD = {"name": "pw", "kind": "password"}
HASH = {"name": "hash", "kind": "bcrypt", "of": "pw"}
LEAF = {"name": "leaf", "kind": "x509_leaf", "of": "ca", "names": ["a.test"]}


def _hash(source_version: int = 1, **options: Any) -> Any:
    return make_version(origin="derived", options={"cost": 10, "of": "pw", **options}, source_version=source_version)


def _leaf(days_left: float, **changes: Any) -> Any:
    options = {"days": 365, "of": "ca", "names": ("a.test",)}
    fields = {"origin": "derived", "options": options, "source_version": 1, **changes}
    return make_secret(make_version(expires=int(NOW + days_left * DAY), **fields), kind="x509_leaf")


def _with_password(**others: Any) -> SecretStore:
    return make_store(pw=make_secret(), **others)


def _with_ca(days_left: float, **changes: Any) -> SecretStore:
    ca = make_secret(
        make_version(options={"common_name": "modelyard CA", "days": 3650}, expires=NOW + 3000 * DAY), kind="x509_ca"
    )
    return make_store(ca=ca, leaf=_leaf(days_left, **changes))


KEPT = ("pw", "keep", "it is as declared", 1)
ROTATED = ("pw", "rotate", "it was asked for", 2)
TWICE = make_secret(make_version(), make_version())
CASES = [
    pytest.param([PASSWORD], make_store(), (), [("pw", "create", "it is not in the store", 1)], id="missing is made"),
    pytest.param([PASSWORD], _with_password(), (), [KEPT], id="present is kept"),
    pytest.param(
        [{**PASSWORD, "length": 12}], _with_password(), (), [KEPT], id="shorter is kept"
    ),
    pytest.param([PASSWORD], _with_password(), ("pw",), [ROTATED], id="rotation of a declared"),
    pytest.param([], _with_password(), ("pw",), [ROTATED], id="rotation of a stored"),
    pytest.param(
        [{"name": "pw", "kind": "hex"}], _with_password(), ("pw",), [ROTATED],
        id="rotation takes another kind",
    ),
    pytest.param(
        [{**PASSWORD, "value": "other"}], _with_password(), (), [("pw", "update", "the value given differs", 2)],
        id="another value given",
    ),
    pytest.param(
        [{**PASSWORD, "value": "abcdefghijklmnopqrst"}], _with_password(), (), [KEPT],
        id="same value given",
    ),
    pytest.param(
        [HASH, PASSWORD], make_store(), (),
        [("pw", "create", "it is not in the store", 1), ("hash", "create", "it is not in the store", 1)],
        id="source is made before what is made of it",
    ),
    pytest.param(
        [], _with_password(hash=make_secret(_hash(), kind="bcrypt")), ("pw",),
        [("pw", "rotate", "it was asked for", 2), ("hash", "derive", "secret 'pw' is now at version 2", 2)],
        id="rotation reaches what this task does not declare",
    ),
    pytest.param(
        [HASH], make_store(pw=TWICE, hash=make_secret(_hash(), kind="bcrypt")), (),
        [("hash", "derive", "secret 'pw' is now at version 2", 2)],
        id="source changed by an earlier run",
    ),
    pytest.param(
        [{**HASH, "cost": 12}], _with_password(hash=make_secret(_hash(), kind="bcrypt")), (),
        [("hash", "derive", "another 'cost' is declared", 2)],
        id="other option of a derived one",
    ),
    pytest.param([LEAF], _with_ca(31), (), [("leaf", "keep", "it is as declared", 1)], id="31 days left"),
    pytest.param([LEAF], _with_ca(30), (), [("leaf", "renew", "it ends in 30 days", 2)], id="30 days left"),
    pytest.param([LEAF], _with_ca(-1), (), [("leaf", "renew", "it has ended", 2)], id="ended"),
    pytest.param(
        [LEAF], _with_ca(-1, origin="sealed"), (), [("leaf", "keep", "it is as declared", 1)], id="a sealed one"
    ),
    pytest.param(
        [{**LEAF, "names": ["b.test"]}], _with_ca(99), (),
        [("leaf", "derive", "another 'names' is declared", 2)],
        id="other names"
    ),
    pytest.param([], _with_ca(-1), (), [], id="what nobody declares is left"),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "store", "rotate", "expected"), CASES)
def test_plan(entries: list[dict[str, Any]], store: SecretStore, rotate: tuple[str, ...], expected: list[Any]) -> None:
    steps = plan_secrets(declare(*entries), store, rotate=rotate, now=NOW)
    assert [(step.declaration.name, step.action, step.reason, step.version) for step in steps] == expected


@pytest.mark.parametrize(
    ("entries", "store", "rotate", "message"),
    [
        pytest.param(
            [{"name": "pw", "kind": "hex"}], _with_password(), (),
            "Cannot keep secret 'pw': it is declared with kind 'hex' and the store has kind 'password'; "
            "declare that kind, or name it in 'rotate' to have a new one made.",
            id="other kind",
        ),
        pytest.param(
            [{**PASSWORD, "length": 30}], _with_password(), (),
            "Cannot keep secret 'pw': it is declared with length 30 and the store's has length 20; "
            "declare that, or name it in 'rotate' to have a new one made.",
            id="longer than stored",
        ),
        pytest.param(
            [], make_store(), ("pw",),
            "Cannot rotate secret 'pw': it is neither declared nor in the store /etc/modelyard/secrets.json; "
            "correct the name.",
            id="rotation of nothing",
        ),
        pytest.param(
            [{**PASSWORD, "value": "abcdefghijklmnopqrst"}], _with_password(), ("pw",),
            "Cannot keep secret 'pw': it is to be rotated, but the value given is the old one; give a new one.",
            id="rotation to the old value",
        ),
        pytest.param(
            [HASH], make_store(), (),
            "Cannot keep secret 'hash': it is of secret 'pw', which is neither declared nor in the store; "
            "declare that too.",
            id="source is missing",
        ),
        pytest.param(
            [LEAF, {"name": "ca", "kind": "uuid"}], make_store(), (),
            "Cannot keep secret 'leaf': kind 'x509_leaf' cannot be of secret 'ca' of kind 'uuid'; "
            "name one of kind x509_ca.",
            id="source of a wrong kind",
        ),
        pytest.param(
            [{"name": "ca", "kind": "x509_ca"}],
            make_store(ca=replace(
                make_secret(replace(make_version(origin="sealed"), main="certificate", secret={})), kind="x509_ca"
            )), (),
            "Cannot keep secret 'ca': it belongs to another host, which alone has its key; sign there, or remove it "
            "here (state: absent) and get an authority of this host's own.",
            id="an authority of another host",
        ),
        pytest.param(
            [], make_store(pw=make_secret(make_version(origin="sealed"))), ("pw",),
            "Cannot keep secret 'pw': it belongs to another host, from which it came sealed; "
            "change it there and seal it again.",
            id="rotation of what another host owns",
        ),
        pytest.param(
            [], make_store(pw=make_secret(kind="magic")), ("pw",),
            "Cannot keep secret 'pw': the store has it with kind 'magic', which is unknown here; remove it.",
            id="unknown kind in the store",
        ),
    ],
)  # fmt: skip
def test_contradiction_is_refused(
    entries: list[dict[str, Any]], store: SecretStore, rotate: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PlatformError) as refused:
        plan_secrets(declare(*entries), store, rotate=rotate, now=NOW)
    assert str(refused.value) == message


def test_removal_takes_what_is_there_and_refuses_what_is_needed() -> None:
    store = _with_password(hash=make_secret(_hash(), kind="bcrypt"))
    steps = plan_removal(["hash", "pw", "gone"], store, in_use=())
    assert [(step.declaration.name, step.action) for step in steps] == [("hash", "remove"), ("pw", "remove")]
    with pytest.raises(PlatformError) as refused:
        plan_removal(["pw"], store, in_use=())
    assert str(refused.value) == "Cannot remove secret 'pw': secret 'hash' is made from it; remove that one too."
    with pytest.raises(PlatformError) as refused:
        plan_removal(["pw"], store, in_use=[("pw", 1)])
    assert str(refused.value) == (
        "Cannot remove secret 'pw': a kept release refers to it; remove the project or that release first."
    )
