# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that an image is pushed to: is it there, and putting it there."""

from __future__ import annotations

import http.client
import ipaddress
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from .._compose.engine import Engine
from .._errors import PlatformError
from .._run import Run
from .command import is_missing, last_lines, output_of, run_bounded
from .images import remove_image

_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?"
_DESTINATION = re.compile(rf"(?P<host>{_HOST})(?P<path>(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)/?")

_HEAD_SECONDS = 30.0

#: What a manifest may be; a registry that is not told the kind answers 404 for the newer ones.
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
)


@dataclass(frozen=True)
class Destination:
    """A registry's host with an optional path below it."""

    host: str
    path: str

    def reference(self, image: str) -> str:
        """Return the reference of ``image`` (name and tag) at this registry."""
        return f"{self.host}{self.path}/{image}"

    @property
    def is_local(self) -> bool:
        """Whether the engine speaks plain HTTP to it: 127.0.0.0/8 and ::1, as dockerd's manual says."""
        name = self.host.rpartition(":")[0] if re.search(r":\d+$", self.host) else self.host
        try:
            return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False


def parse_destination(text: str) -> Destination:
    """Return the registry that ``push_to`` names.

    :raises PlatformError: it is no ``host[:port][/path]``.
    """
    found = _DESTINATION.fullmatch(text)
    if found is None or not ("." in found["host"] or ":" in found["host"] or found["host"] == "localhost"):
        shown = last_lines(text, count=1).rpartition("@")[2]
        raise PlatformError(
            f"Cannot push images to {shown!r}: that is no registry; write host[:port][/path], without a scheme and "
            "without a user (docker login keeps those)."
        )
    return Destination(found["host"], found["path"])


def has_manifest(destination: Destination, image: str, *, run: Run) -> bool:
    """Ask the registry with one HEAD whether it has ``image``.

    Where it wants a login, the docker CLI is asked instead: it has the user's credentials and we do not read them.

    :raises PlatformError: the registry cannot be reached, or answers something else.
    """
    name, tag = image.rsplit(":", 1)
    status = _head(destination, f"/v2{destination.path}/{name}/manifests/{tag}")
    if status in (401, 403):
        return _inspect(destination.reference(image), run)
    if status not in (200, 404):
        raise PlatformError(
            f"Cannot ask registry {destination.host} for {image}: it answered with status {status}; "
            "look at the registry's log."
        )
    return status == 200


def push(engine: Engine, destination: Destination, image: str, *, run: Run, timeout_seconds: int, lock: int) -> None:
    """Push ``image``; the tag that this takes is removed again.

    :raises PlatformError: the registry refused it, or cannot be reached.
    """
    reference = destination.reference(image)
    repository, tag = reference.rsplit(":", 1)
    engine.request("POST", f"/images/{image}/tag", {"repo": repository, "tag": tag})
    try:
        argv = ["docker", "--host", f"unix://{engine.socket_path}", "push", "--quiet", reference]
        completed = run_bounded(run, argv, timeout_seconds=timeout_seconds, pass_fds=[lock])
    finally:
        remove_image(engine, reference)
    if is_missing(completed, "docker"):
        raise PlatformError(f"Cannot push {reference}: there is no docker command; install it.")
    if completed.returncode != 0:
        raise PlatformError(
            f"Cannot push {reference}: docker push says: {last_lines(output_of(completed), count=3)}; "
            f"look whether the registry runs and whether this host is logged in (docker login {destination.host})."
        )


def _head(destination: Destination, path: str) -> int:
    connection = _connect(destination)
    try:
        connection.request("HEAD", path, headers={"Accept": _MANIFESTS})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise PlatformError(
            f"Cannot ask registry {destination.host} for an image: {_cause(error)}; "
            "look whether it runs, and whether this host trusts its certificate."
        ) from None
    finally:
        connection.close()


def _connect(destination: Destination) -> http.client.HTTPConnection:
    if destination.is_local:
        return http.client.HTTPConnection(destination.host, timeout=_HEAD_SECONDS)
    return http.client.HTTPSConnection(destination.host, timeout=_HEAD_SECONDS, context=ssl.create_default_context())


def _inspect(reference: str, run: Run) -> bool:
    argv: Sequence[str] = ["docker", "buildx", "imagetools", "inspect", "--raw", reference]
    return run_bounded(run, argv, timeout_seconds=120, pass_fds=[]).returncode == 0


def _cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
