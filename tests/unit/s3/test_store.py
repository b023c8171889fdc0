# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts of the store's container, options by engine, the gate's signed question, an external store's answers."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._s3.container import Container, check_mounts
from ansible_collections.modelyard.platform.plugins.module_utils._s3.declaration import Declared
from ansible_collections.modelyard.platform.plugins.module_utils._s3.engine_options import refuse_what_the_engine_lacks
from ansible_collections.modelyard.platform.plugins.module_utils._s3.external import Endpoint, ExternalStore, connect
from ansible_collections.modelyard.platform.plugins.module_utils._s3.gate import Answer, _fault, sign_list_buckets
from ansible_collections.modelyard.platform.plugins.module_utils._s3.plan import make_plan
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from .store_examples import ANN, PLACES, SECRET

DATA = {"Destination": "/data", "Source": "/volumes/data", "RW": True}
AGAIN = {"Destination": "/data-ro", "Source": "/volumes/data", "RW": False}
KEYS = {"Destination": "/run/s3-keys", "Source": "/srv/keys", "RW": False}
NO_DATA = "its data folder /data is no volume that it may write to; mount one at /data, and apply its project again."
NO_KEYS = (
    "/run/s3-keys is not a read-only mount of /srv/keys; mount /srv/keys there, read-only, and apply its project again."
)
NO_READ_ONLY = (
    "/data-ro is not a read-only mount of the volume at /data, which access read_only needs; mount that volume "
    "once more at /data-ro, read-only, and apply its project again."
)


def check(*mounts: dict[str, Any], read_only: bool = True, keys: str | None = "/srv/keys") -> None:
    check_mounts(Container("1", mounts), PLACES, keys_directory=keys, needs_read_only=read_only)


def test_a_store_with_all_its_mounts_is_good() -> None:
    check(DATA, AGAIN, KEYS)
    check(DATA, KEYS, read_only=False)
    check(DATA, read_only=False, keys=None)


@pytest.mark.parametrize(
    ("mounts", "text"),
    [
        (
            [AGAIN, KEYS],
            NO_DATA,
        ),
        (
            [{**DATA, "RW": False}, AGAIN, KEYS],
            NO_DATA,
        ),
        (
            [DATA, AGAIN],
            NO_KEYS,
        ),
        (
            [DATA, AGAIN, {**KEYS, "RW": True}],
            NO_KEYS,
        ),
        (
            [DATA, AGAIN, {**KEYS, "Source": "/srv/others"}],
            NO_KEYS,
        ),
        (
            [DATA, KEYS],
            NO_READ_ONLY,
        ),
        (
            [DATA, KEYS, {**AGAIN, "RW": True}],
            NO_READ_ONLY,
        ),
        (
            [DATA, KEYS, {**AGAIN, "Source": "/volumes/other"}],
            NO_READ_ONLY,
        ),
    ],
    ids=[
        "no data", "data read-only", "no keys", "keys to write to", "other keys", "nothing to read only from",
        "that may be written to", "of another volume",
    ],
)  # fmt: skip
def test_a_missing_mount_is_named(mounts: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        check(*mounts)
    assert str(caught.value) == f"Cannot use the store's container: {text}"


NO_USERS = (
    "'external': 'users' are given, which the S3 API has no call for; make them with the provider's own tools, "
    "and take 'users' out."
)
NOTHING: dict[str, Any] = {
    "project": None, "service": None, "keys_directory": None, "owner_uid": None, "endpoint": None, "region": None,
    "ca_bundle": None, "access_key_id": None, "secret_access_key": None, "users": [],
}  # fmt: skip
RCLONE = {**NOTHING, "engine": "rclone", "project": "p", "service": "s"}
EXTERNAL = {**NOTHING, "engine": "external", "endpoint": "https://s", "access_key_id": "a", "secret_access_key": "b"}


@pytest.mark.parametrize(
    "options", [RCLONE, {**RCLONE, "keys_directory": "/k"}, EXTERNAL, {**EXTERNAL, "region": "r", "ca_bundle": "/c"}]
)
def test_options_that_fit(options: dict[str, Any]) -> None:
    refuse_what_the_engine_lacks(options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({**RCLONE, "project": None}, "'rclone': 'project' is not given; give it."),
        ({**RCLONE, "users": [{}]}, "'rclone': 'keys_directory' is not given; give it."),
        ({**RCLONE, "users": [{}], "keys_directory": "/k"}, "'rclone': 'owner_uid' is not given; give it."),
        ({**RCLONE, "region": "r"}, "'rclone': 'region' is given, an option of engine 'external'; take it out."),
        ({**EXTERNAL, "owner_uid": 0}, "'external': 'owner_uid' is given, an option of engine 'rclone'; take it out."),
        ({**EXTERNAL, "endpoint": None}, "'external': 'endpoint' is not given; give it."),
        (
            {**EXTERNAL, "users": [{}]},
            NO_USERS,
        ),
    ],
)
def test_what_an_engine_lacks_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        refuse_what_the_engine_lacks(options)
    assert str(caught.value) == f"Cannot use engine {text}"


def test_the_gates_question_is_signed_as_boto3_signs_it() -> None:
    ours = sign_list_buckets("10.0.0.2:9000", ANN, now="20261121T113000Z")
    theirs = AWSRequest("GET", "http://10.0.0.2:9000/", {"X-Amz-Content-SHA256": ours["x-amz-content-sha256"]})
    theirs.context["timestamp"] = "20261121T113000Z"
    theirs.headers["X-Amz-Date"] = "20261121T113000Z"
    signer = SigV4Auth(Credentials(ANN.access_key_id, SECRET), "s3", "us-east-1")
    request = signer.canonical_request(theirs)
    text = signer.string_to_sign(theirs, request)
    assert ours["Authorization"].endswith(f"Signature={signer.signature(text, theirs)}")
    assert SECRET not in str(ours)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(frozenset({"alpha", "shared"})), None),
        (Answer(frozenset({"alpha"})), "shows the buckets alpha"),
        (Answer(frozenset()), "shows the buckets (none)"),
        (Answer(frozenset({"alpha", "shared", "beta"})), "shows the buckets alpha, beta, shared"),
        (Answer(None, "answers 403"), "answers 403"),
    ],
)
def test_the_gate_wants_exactly_the_users_buckets(answer: Answer, fault: str | None) -> None:
    assert _fault(answer, ANN) == fault


class FakeClient:
    """Answers as a provider does whose key may do what refused does not name."""

    def __init__(self, refused: dict[str, str], there: set[str]) -> None:
        self.refused, self.there = refused, there
        self.made: list[dict[str, Any]] = []

    def _answer(self, call: str) -> None:
        if call in self.refused:
            raise ClientError({"Error": {"Code": self.refused[call], "Message": "secret inside"}}, call)

    def list_buckets(self) -> dict[str, Any]:
        self._answer("list")
        return {"Buckets": [{"Name": name} for name in self.there]}

    def head_bucket(self, **options: Any) -> None:
        if options["Bucket"] not in self.there:
            self.refused["head"] = "404"
        try:
            self._answer("head")
        finally:
            self.refused.pop("head", None)

    def create_bucket(self, **options: Any) -> None:
        self._answer("create")
        self.made.append(options)


def external(region: str = "us-east-1", there: tuple[str, ...] = (), **refused: str) -> tuple[Any, FakeClient]:
    client = FakeClient(refused, set(there))
    return ExternalStore(Endpoint("https://s3.test", region, "AKID0000", SECRET), client), client


def apply(store: Any) -> tuple[str, ...]:
    declared = Declared(("alpha", "beta"))
    plan = make_plan(declared, store.observe(declared, wait_seconds=0, may_be_absent=False), None)
    store.apply(plan, declared)
    return plan.unmanaged


@pytest.mark.parametrize(
    ("region", "options"),
    [("us-east-1", {}), ("eu-1", {"CreateBucketConfiguration": {"LocationConstraint": "eu-1"}})],
)
def test_the_region_is_named_but_for_the_oldest(region: str, options: dict[str, Any]) -> None:
    store, client = external(region, there=("alpha", "old"))
    assert apply(store) == ("bucket old",)
    assert client.made == [{"Bucket": "beta", **options}]


def test_a_key_that_may_not_list_is_asked_for_each_bucket() -> None:
    store, client = external(there=("alpha", "old"), list="AccessDenied")
    assert apply(store) == ()
    assert client.made == [{"Bucket": "beta"}]


def test_a_bucket_that_came_in_between_is_fine_and_a_foreign_one_is_told() -> None:
    apply(external(create="BucketAlreadyOwnedByYou")[0])
    with pytest.raises(PlatformError) as caught:
        apply(external(create="BucketAlreadyExists")[0])
    assert str(caught.value) == (
        "Cannot make bucket 'alpha' at https://s3.test: the store answered BucketAlreadyExists to access key AKID0000; "
        "correct the key, or what it may do."
    )


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(PlatformError, match=r"^Cannot use endpoint 's3': it is no address; write it as "):
        connect(Endpoint("s3", "us-east-1", "AKID0000", SECRET))
