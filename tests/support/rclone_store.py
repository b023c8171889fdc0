# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store of rclone in a container, with the auth program of the packaged image, and clients of it.

The image is made of the fixtures' base and the rclone that is in the venv; its build needs no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from docker.models.containers import Container

from . import images
from .modules import ROOT, ModuleResult, run_module
from .site import PROJECT_LABEL, Site

PROGRAM = Path(sys.prefix) / "bin" / "rclone"
AUTH_PROGRAM = ROOT / "roles" / "object_store" / "files" / "image" / "s3-auth"
UID = 10002
SERVICE = "s3"
_DOCKERFILE = """
FROM {parent}
COPY --chmod=0755 rclone s3-auth /usr/local/bin/
RUN install -d -o 10002 -g 10002 -m 0750 /data
VOLUME /data
USER 10002:10002
ENTRYPOINT ["rclone", "serve", "s3", "--config=/dev/null", "--cache-dir=/tmp", "--addr=:9000", \
"--dir-cache-time=1s", "--auth-proxy=/usr/local/bin/s3-auth"]
"""


def ensure_image() -> str:
    """Build the image where it is missing; return its reference."""
    parent = images.ensure(images.BASE)
    content = hashlib.sha256(PROGRAM.read_bytes()).hexdigest()
    inputs = (parent, content, _DOCKERFILE, AUTH_PROGRAM.read_text(encoding="utf-8"))
    reference = f"{images.REPOSITORY}/rclone:{hashlib.sha256(chr(0).join(inputs).encode()).hexdigest()[:12]}"
    with images.LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run(["docker", "image", "inspect", reference], check=False, capture_output=True).returncode:
            _build(reference, parent)
    return reference


def _build(reference: str, parent: str) -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-test-") as folder:
        shutil.copy(PROGRAM, folder)
        shutil.copy(AUTH_PROGRAM, folder)
        (Path(folder) / "Dockerfile").write_text(_DOCKERFILE.replace("{parent}", parent), encoding="utf-8")
        command = ["docker", "buildx", "build", "--quiet", "--load", "--network=none", "--tag", reference, folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Cannot build the store's image: {done.stderr}")


class RcloneStore:
    """One store of a test's own site, and the module's parameters for it."""

    def __init__(self, site: Site, image: str) -> None:
        self.site, self.image = site, image
        self.project = site.name("store")
        self.keys = site.directory / "keys"
        self.secret_store = site.directory.parent / "secrets" / "secrets.json"
        self.data_volume = site.name("data")

    def start(self, *, read_only_mount: bool = True, keys_mode: str = "ro") -> None:
        """Start the container, with a folder of keys as an engine would make it."""
        self.keys.mkdir(exist_ok=True)
        options: dict[str, Any] = {
            "init": True, "read_only": True, "tmpfs": {"/tmp": ""}, "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"], "ports": {"9000/tcp": ("127.0.0.1", None)},
            "labels": {PROJECT_LABEL: self.project, "com.docker.compose.service": SERVICE},
        }  # fmt: skip
        mounts = [f"{self.data_volume}:/data", f"{self.keys}:/run/s3-keys:{keys_mode}"]
        if read_only_mount:
            mounts.append(f"{self.data_volume}:/data-ro:ro")
        self.site.engine.containers.run(
            self.image, name=self.site.name("store-s3-1"), detach=True, volumes=mounts, **options
        )
        self._wait_until_it_answers()

    @property
    def container(self) -> Container:
        return self.site.engine.containers.get(self.site.name("store-s3-1"))

    @property
    def url(self) -> str:
        [address] = self.container.ports["9000/tcp"] or []
        return f"http://{address['HostIp']}:{address['HostPort']}"

    def params(self, **options: Any) -> dict[str, Any]:
        own = {
            "project": self.project, "service": SERVICE, "directory": str(self.site.directory),
            "keys_directory": str(self.keys), "owner_uid": UID, "secret_store": str(self.secret_store),
            "wait_seconds": 20,
        }  # fmt: skip
        return {**own, **options}

    def run(self, *, check: bool = False, diff: bool = False, **options: Any) -> ModuleResult:
        return run_module("s3_objects", self.params(**options), check=check, diff=diff)

    def apply(self, **options: Any) -> ModuleResult:
        """Run the module; a failure fails the test."""
        result = self.run(diff=True, **options)
        assert result.rc == 0, result.msg or result.stderr
        return result

    def inside(self, *argv: str, user: str = "") -> str:
        """Run a program in the container and return what it says; it must succeed."""
        code, output = self.container.exec_run(list(argv), user=user)
        assert code == 0, output
        return bytes(output).decode()  # type: ignore[arg-type]

    def client(self, key_id: str, secret: str) -> BaseClient:
        return connect(self.url, key_id, secret)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 20
        while failure(self.client("nobody00", "nothing00").list_buckets) != "AccessDenied":
            assert time.monotonic() < deadline, self.container.logs().decode()
            time.sleep(0.1)


def connect(url: str, key_id: str, secret: str) -> BaseClient:
    """Return an S3 client that does not repeat what was refused."""
    return boto3.session.Session(key_id, secret, region_name="us-east-1").client(
        "s3",
        endpoint_url=url,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def failure(call: Callable[..., Any], **options: Any) -> str:
    """Return the code that a call is refused with; empty where it succeeds."""
    try:
        call(**options)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except BotoCoreError as error:
        return type(error).__name__
    return ""


def bucket_names(client: Any) -> list[str]:
    """Return the buckets that a client sees."""
    return [entry["Name"] for entry in client.list_buckets()["Buckets"]]


def user(name: str, secret: str, buckets: Sequence[Mapping[str, str]], key_id: str = "") -> dict[str, Any]:
    """Return a user as the module's options have it."""
    return {
        "name": name,
        "access_key_id": key_id or f"{name}000000",
        "secret_access_key": secret,
        "buckets": list(buckets),
    }


def eventually(claim: Callable[[], bool], *, seconds: float = 5) -> None:
    """Wait for what rclone notices when it looks at its folders again."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)
