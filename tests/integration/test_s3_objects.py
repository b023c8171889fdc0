# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Buckets, users and policies of a real rclone, seen through a real S3 client."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.arguments import ArgumentWatch
from support.external_store import serve
from support.modules import run_by_ansible, run_module, start_module
from support.rclone_store import UID, RcloneStore, bucket_names, ensure_image, eventually, failure, user
from support.site import Site

ANN, BOB = "ann-secret-0123456789", "bob-secret-9876543210"
BUCKETS = [{"name": "alpha"}, {"name": "beta"}, {"name": "shared"}]
USERS = [
    user("ann", ANN, [{"name": "alpha"}, {"name": "shared", "access": "read_only"}]),
    user("bob", BOB, [{"name": "beta"}, {"name": "shared"}]),
]
DECLARED: dict[str, Any] = {"buckets": BUCKETS, "users": USERS}


@pytest.fixture(scope="session")
def store_image(engine: object) -> str:
    return ensure_image()


@pytest.fixture
def store(site: Site, store_image: str) -> RcloneStore:
    """Return a running store without buckets and users."""
    running = RcloneStore(site, store_image)
    running.start()
    return running


@pytest.fixture
def filled(store: RcloneStore) -> RcloneStore:
    """Return the store as declared."""
    store.apply(**DECLARED)
    return store


def fingerprint(store: RcloneStore) -> dict[str, Any]:
    """Return all that is to be seen of the store on the disk, with content and times."""
    keys = {}
    for path in sorted(store.keys.rglob("*")):
        found = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        keys[str(path.relative_to(store.keys))] = (content, found.st_mode, found.st_uid, found.st_mtime_ns)
    return {"keys": keys, "buckets": store.inside("find", "/data", "-printf", "%p %m %u %T@\n").splitlines()}


def objects(result: Any) -> list[tuple[str, str]]:
    return [(step["object"], step["action"]) for step in result["plan"]]


# --- who may do what


def test_each_user_sees_its_own_buckets_and_no_other(filled: RcloneStore) -> None:
    ann, bob = filled.client("ann000000", ANN), filled.client("bob000000", BOB)
    assert (bucket_names(ann), bucket_names(bob)) == (["alpha", "shared"], ["beta", "shared"])
    ann.put_object(Bucket="alpha", Key="a/b", Body=b"ann's")
    assert ann.get_object(Bucket="alpha", Key="a/b")["Body"].read() == b"ann's"
    for call in (bob.list_objects_v2, bob.head_bucket):
        assert failure(call, Bucket="alpha") in ("NoSuchBucket", "404")
    assert failure(bob.get_object, Bucket="alpha", Key="a/b") == "NoSuchBucket"
    assert failure(bob.put_object, Bucket="alpha", Key="mine", Body=b"") == "NoSuchBucket"
    assert failure(bob.get_object, Bucket="beta", Key="../alpha/a/b") != ""
    assert failure(bob.copy_object, Bucket="beta", Key="stolen", CopySource="alpha/a/b") != ""
    assert filled.inside("find", "/data", "-type", "f").split() == ["/data/alpha/a/b"]


def test_a_wrong_secret_anothers_secret_an_unknown_key_and_nobody_are_refused(filled: RcloneStore) -> None:
    for key_id, secret in [("ann000000", "x" + ANN), ("ann000000", BOB), ("eve000000", ANN), ("../ann000", ANN)]:
        assert failure(filled.client(key_id, secret).list_buckets) == "AccessDenied", (key_id, "with a foreign secret")
    for path in ("/", "/alpha", "/alpha/a"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(filled.url + path, timeout=5)
        assert caught.value.code == 403
        caught.value.close()


def test_read_only_reads_and_changes_nothing(filled: RcloneStore) -> None:
    ann, bob = filled.client("ann000000", ANN), filled.client("bob000000", BOB)
    bob.put_object(Bucket="shared", Key="k", Body=b"bob's")
    eventually(lambda: failure(ann.get_object, Bucket="shared", Key="k") == "")
    tries: list[tuple[Any, dict[str, Any]]] = [
        (ann.put_object, {"Key": "new", "Body": b"x"}),
        (ann.put_object, {"Key": "k", "Body": b"x"}),
        (ann.put_object, {"Key": "deep/new", "Body": b"x"}),
        (ann.delete_object, {"Key": "k"}),
        (ann.copy_object, {"Key": "k2", "CopySource": "shared/k"}),
        (ann.delete_bucket, {}),
    ]
    for call, options in tries:
        assert failure(call, Bucket="shared", **options), "it was allowed"
    upload = ann.create_multipart_upload(Bucket="shared", Key="k")["UploadId"]
    part = {"Bucket": "shared", "Key": "k", "UploadId": upload}
    refused = failure(ann.upload_part, PartNumber=1, Body=b"x", **part)
    assert refused or failure(ann.complete_multipart_upload, **part)
    assert ann.get_object(Bucket="shared", Key="k")["Body"].read() == b"bob's"
    assert filled.inside("find", "/data", "-type", "f").split() == ["/data/shared/k"]


def test_no_user_makes_or_removes_a_bucket(filled: RcloneStore) -> None:
    ann = filled.client("ann000000", ANN)
    assert failure(ann.create_bucket, Bucket="mine")
    assert failure(ann.delete_bucket, Bucket="alpha")
    assert failure(ann.put_object, Bucket="alpha", Key="alive", Body=b"") == ""
    assert not filled.run(**DECLARED).changed


# --- the plan


def test_check_mode_says_what_the_run_does_and_the_second_run_does_nothing(store: RcloneStore) -> None:
    before = fingerprint(store)
    checked = store.run(check=True, diff=True, **DECLARED)
    assert fingerprint(store) == before, "check mode changed something"
    applied = store.apply(**DECLARED)
    for key in ("changed", "plan", "unmanaged", "diff"):
        assert applied[key] == checked[key]
    assert objects(applied) == [
        ("folder of keys", "change"),
        ("bucket alpha", "create"), ("bucket beta", "create"), ("bucket shared", "create"),
        ("user ann", "create"), ("user bob", "create"),
    ]  # fmt: skip
    after = fingerprint(store)
    again = store.apply(**DECLARED)
    assert (again.changed, again["plan"], again["diff"]["before"]) == (False, [], again["diff"]["after"])
    assert fingerprint(store) == after, "the second run touched something"


def test_check_mode_tells_the_truth_where_no_store_runs_yet(site: Site, store_image: str) -> None:
    store = RcloneStore(site, store_image)
    secret = {**USERS[0], "secret_access_key": "@@secret:not_made_yet@@"}
    checked = store.run(check=True, buckets=BUCKETS, users=[secret])
    assert objects(checked)[-1] == ("user ann", "create")
    assert list(site.directory.iterdir()) == []
    refused = store.run(buckets=BUCKETS, users=USERS, wait_seconds=0)
    assert refused.msg == (
        f"Cannot reach the store: service 's3' of project '{store.project}' does not run; apply the project first, and "
        "look at its log (docker logs)."
    )
    assert list(site.directory.iterdir()) == []


DROPPED: dict[str, tuple[str, str, Callable[[RcloneStore], Any]]] = {
    "a bucket": ("bucket alpha", "create", lambda store: store.inside("rmdir", "/data/alpha")),
    "a key file": ("user ann", "create", lambda store: (store.keys / "ann000000").unlink()),
    "a folder of links": ("user ann", "change", lambda store: shutil.rmtree(store.keys / "ann000000.buckets")),
    "a link": ("user ann", "change", lambda store: (store.keys / "ann000000.buckets" / "shared").unlink()),
    "an edited key file": ("user bob", "change", lambda store: (store.keys / "bob000000").write_text("{}")),
    "a loose key file": ("user bob", "change", lambda store: (store.keys / "bob000000").chmod(0o644)),
    "a loose folder": ("folder of keys", "change", lambda store: store.keys.chmod(0o777)),
}


@pytest.mark.parametrize("what", DROPPED)
def test_what_was_dropped_by_hand_comes_back_alone(filled: RcloneStore, what: str) -> None:
    title, action, drop = DROPPED[what]
    whole = fingerprint(filled)
    drop(filled)
    checked = filled.run(check=True, diff=True, **DECLARED)
    applied = filled.apply(**DECLARED)
    assert objects(applied) == [(title, action)]
    assert (applied["plan"], applied["diff"]) == (checked["plan"], checked["diff"])
    now = fingerprint(filled)["keys"]
    assert {name: entry[:3] for name, entry in now.items()} == {n: entry[:3] for n, entry in whole["keys"].items()}
    other = "bob" if title == "user ann" else "ann"
    untouched = [name for name in now if name.startswith(f"{other}000000") and title.startswith("user")]
    assert all(now[name] == whole["keys"][name] for name in untouched), "another user's files were written"
    assert bucket_names(filled.client("ann000000", ANN)) == ["alpha", "shared"]
    assert not filled.run(**DECLARED).changed


def test_what_is_not_declared_is_reported_and_kept(filled: RcloneStore) -> None:
    filled.inside("mkdir", "/data/by-hand", "/data/lost+found", "/data/.hidden")
    less = {"buckets": BUCKETS[:1], "users": [user("ann", ANN, [{"name": "alpha"}])]}
    applied = filled.apply(**less)
    assert applied["plan"] == [
        {"object": "user ann", "action": "change", "reasons": ["bucket shared: read_only -> none"]}
    ]
    assert applied["unmanaged"] == ["bucket beta", "bucket by-hand", "bucket shared", "key bob000000"]
    assert bucket_names(filled.client("bob000000", BOB)) == ["beta", "shared"]
    assert not filled.apply(**less).changed
    assert "by-hand" in filled.inside("ls", "/data")


# --- changes on a running store


def test_a_policy_changes_without_a_restart(filled: RcloneStore) -> None:
    ann, started = filled.client("ann000000", ANN), filled.container.attrs["State"]["StartedAt"]
    assert bucket_names(ann) == ["alpha", "shared"]
    users = [user("ann", ANN, [{"name": "beta"}, {"name": "shared"}]), USERS[1]]
    applied = filled.apply(buckets=BUCKETS, users=users)
    assert applied["plan"] == [
        {
            "object": "user ann",
            "action": "change",
            "reasons": ["bucket alpha: read_write -> none", "bucket beta: none -> read_write",
                        "bucket shared: read_only -> read_write"],
        }
    ]  # fmt: skip
    assert bucket_names(ann) == ["beta", "shared"]
    eventually(lambda: failure(ann.put_object, Bucket="shared", Key="k", Body=b"") == "")
    assert failure(ann.put_object, Bucket="alpha", Key="k", Body=b"") == "NoSuchBucket"
    assert filled.container.attrs["State"]["StartedAt"] == started


def test_a_rotated_secret_works_at_once_and_ends_the_old_one(filled: RcloneStore) -> None:
    old, new = filled.client("ann000000", ANN), filled.client("ann000000", "new-" + ANN)
    assert failure(old.list_buckets) == ""
    applied = filled.apply(buckets=BUCKETS, users=[{**USERS[0], "secret_access_key": "new-" + ANN}, USERS[1]])
    assert [step["reasons"] for step in applied["plan"]] == [["the secret is another one"]]
    assert failure(new.list_buckets) == ""
    assert failure(old.list_buckets) == "AccessDenied"
    assert failure(filled.client("bob000000", BOB).list_buckets) == ""


def test_killed_at_any_moment_the_next_run_converges(store: RcloneStore, seed: int) -> None:
    moments = random.Random(seed)
    for number in range(12):
        users = [{**USERS[0], "secret_access_key": f"{ANN}-{number}"}, USERS[1]]
        # Without the gate, which takes its time and writes nothing.
        declared: dict[str, Any] = {"buckets": BUCKETS, "users": users, "wait_seconds": 0}
        (store.keys / "bob000000").unlink(missing_ok=True)
        running = start_module("s3_objects", store.params(**declared))
        time.sleep(moments.uniform(0.1, 0.3))
        running.kill(with_children=True)
        running.wait()
        store.apply(**declared)
        assert not store.run(**declared).changed
        assert sorted(path.name for path in store.keys.iterdir()) == [
            "ann000000", "ann000000.buckets", "bob000000", "bob000000.buckets",
        ]  # fmt: skip


def test_a_run_that_changes_nothing_waits_for_what_a_killed_one_wrote(filled: RcloneStore) -> None:
    users = [{**USERS[0], "secret_access_key": "new-" + ANN}, USERS[1]]
    assert filled.apply(buckets=BUCKETS, users=users, wait_seconds=0).changed
    new = filled.client("ann000000", "new-" + ANN)
    assert failure(new.list_buckets) == "AccessDenied", "rclone asked again at once: the gate has nothing to wait for"
    assert not filled.apply(buckets=BUCKETS, users=users).changed
    assert failure(new.list_buckets) == ""


def test_a_user_that_does_not_work_fails_the_run(filled: RcloneStore) -> None:
    refused = filled.run(**DECLARED, port=9001, wait_seconds=1)
    assert re.fullmatch(
        r"Cannot see user 'ann' work: asked at [0-9.]+:9001 with its key, the store does not answer "
        r"\(\[Errno 111\] Connection refused\) after 1 s; its files are as they should be, so look at the store's log "
        r"\(docker logs\)\.",
        refused.msg,
    )


# --- secrets


def test_secrets_stand_in_key_files_and_nowhere_else(store: RcloneStore) -> None:
    own_store = {"path": str(store.secret_store)}
    made = run_module("secrets", {**own_store, "secrets": [{"name": "ann_s3", "kind": "hex"}]})
    assert made.rc == 0, made.msg
    document = json.loads(store.secret_store.read_text())
    [version] = document["secrets"]["ann_s3"]["versions"].values()
    [value] = version["secret"].values()
    users = [{**USERS[0], "secret_access_key": "@@secret:ann_s3@@"}, USERS[1]]
    with ArgumentWatch() as watch:
        results = [
            run_by_ansible("s3_objects", store.params(buckets=BUCKETS, users=users), diff=True, verbosity=4),
            run_by_ansible(
                "s3_objects", store.params(buckets=[*BUCKETS, {"name": "-"}], users=users), diff=True, verbosity=4
            ),
        ]
    assert [result.failed for result in results] == [False, True]
    inspected = json.dumps([container.attrs for container in [store.container]])
    said = "".join(result.stdout + result.stderr for result in results)
    told = {"what Ansible wrote": said, "arguments": watch.text(), "docker inspect": inspected}
    for secret in (value, BOB):
        assert [where for where, text in told.items() if secret in text] == []
    # Ansible pipes the module into it, so its name is in no argument.
    assert "/bin/sh -c /usr/bin/python3" in watch.text(), "the watch saw nothing of the run"
    assert failure(store.client("ann000000", value).list_buckets) == ""


def test_key_files_are_for_the_store_alone(filled: RcloneStore) -> None:
    modes = {path.name: (oct(path.stat().st_mode & 0o7777), path.stat().st_uid) for path in filled.keys.iterdir()}
    assert modes == {
        "ann000000": ("0o400", UID), "bob000000": ("0o400", UID),
        "ann000000.buckets": ("0o755", 0), "bob000000.buckets": ("0o755", 0),
    }  # fmt: skip
    assert filled.keys.stat().st_mode & 0o7777 == 0o711
    found = filled.inside("stat", "-c", "%n %a %u", "/data/alpha", "/data/beta", "/data/shared").split("\n")
    assert {line.split()[2] for line in found if line} == {str(UID)}


# --- refusals


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ({"read_only_mount": False}, "/data-ro is not a read-only mount of the volume at /data"),
        ({"keys_mode": "rw"}, "/run/s3-keys is not a read-only mount of"),
    ],
    ids=["nothing to read only from", "keys that the store could write"],
)
def test_a_store_that_is_not_mounted_so_is_refused_before_anything_is_touched(
    site: Site, store_image: str, mounts: dict[str, Any], said: str
) -> None:
    store = RcloneStore(site, store_image)
    store.start(**mounts)
    before = fingerprint(store)
    for check in (True, False):
        refused = store.run(check=check, **DECLARED)
        assert refused.failed
        assert said in refused.msg
    assert fingerprint(store) == before


def test_a_folder_of_keys_that_was_made_anew_is_noticed(filled: RcloneStore) -> None:
    shutil.rmtree(filled.keys)
    assert "is gone, but its container still has it mounted" in filled.run(**DECLARED).msg
    filled.keys.mkdir()
    assert "still sees an older" in filled.run(**DECLARED).msg
    filled.container.restart()
    assert objects(filled.apply(**DECLARED))[-2:] == [("user ann", "create"), ("user bob", "create")]


def test_a_file_in_place_of_a_bucket_is_told(store: RcloneStore) -> None:
    store.inside("touch", "/data/alpha")
    refused = store.run(buckets=BUCKETS)
    assert refused.msg.startswith("Cannot make a bucket in /data of the store: mkdir: cannot create directory")
    assert refused.msg.endswith("File exists; correct that and run again.")


def test_the_no_op_run_is_quick(filled: RcloneStore) -> None:
    durations = sorted(run_timed(filled.params(**DECLARED)) for _number in range(10))
    assert durations[0] < 0.35, durations


def run_timed(params: dict[str, Any]) -> float:
    start = time.monotonic()
    assert not run_module("s3_objects", params).changed
    return time.monotonic() - start


# --- any other store


@pytest.fixture
def external(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the address of a store that is none of ours, and the folder of its buckets."""
    with serve(tmp_path / "buckets") as url:
        yield url, tmp_path / "buckets"


def external_params(url: str, directory: Path, **options: Any) -> dict[str, Any]:
    key = {"access_key_id": "root00000", "secret_access_key": "root-secret-1"}
    return {"engine": "external", "endpoint": url, "directory": str(directory), "buckets": BUCKETS, **key, **options}


def test_an_external_store_gets_its_buckets(external: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = external
    (folder / "theirs").mkdir()
    params = external_params(url, tmp_path / "site")
    checked = run_module("s3_objects", params, check=True, diff=True)
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    applied = run_module("s3_objects", params, diff=True)
    assert applied.rc == 0, applied.msg
    assert (applied["plan"], applied["diff"]) == (checked["plan"], checked["diff"])
    assert applied["unmanaged"] == ["bucket theirs"]
    assert sorted(path.name for path in folder.iterdir()) == ["alpha", "beta", "shared", "theirs"]
    assert not run_module("s3_objects", params).changed
    (folder / "beta").rmdir()
    assert objects(run_module("s3_objects", params)) == [("bucket beta", "create")]


def test_an_external_store_that_refuses_or_is_away_is_told(external: tuple[str, Path], tmp_path: Path) -> None:
    url, _folder = external
    wrong = run_module("s3_objects", external_params(url, tmp_path, secret_access_key="wrong-secret"))
    assert wrong.msg == (
        f"Cannot list the buckets at {url}: the store answered SignatureDoesNotMatch to access key root00000; correct "
        "the key, or what it may do."
    )
    away = run_module("s3_objects", external_params("http://127.0.0.1:9", tmp_path))
    assert away.msg.startswith("Cannot list the buckets at http://127.0.0.1:9: Could not connect to the endpoint URL")
    assert "wrong-secret" not in json.dumps(wrong.values)


def test_what_an_engine_lacks_is_refused_by_name(tmp_path: Path) -> None:
    refused = run_module("s3_objects", external_params("http://127.0.0.1:9", tmp_path, users=USERS))
    assert refused.msg == (
        "Cannot use engine 'external': 'users' are given, which the S3 API has no call for; make them with the "
        "provider's own tools, and take 'users' out."
    )
