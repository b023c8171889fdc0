# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixture images, built once per machine from Debian's packages and kept: no image registry is asked.

A tag is the hash of everything that goes into its image, so a changed input makes a new image and nothing else does.
The packages come through the machine's own apt, thus from its mirror and with its certificates; neither stays in an
image. Builds on top of the base need no network.

=========== ==========================================================================================
``base``    Debian 13 with Python; for ``sleep infinity`` and the like
``app``     the HTTP server of ``image_files/app.py``, as ``v1``, ``v2`` and ``broken``
``postgres`` PostgreSQL 17 of ``image_files/postgres.sh``, not root, no password on its own socket
``host``    a bare Debian 12 or 13 with systemd, as :mod:`support.hosts` runs it
=========== ==========================================================================================
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUITE = "trixie"
REPOSITORY = "modelyard-test"
FILES = Path(__file__).parent / "image_files"
LOCK = Path(tempfile.gettempdir()) / "modelyard-test-images.lock"

#: Left out of the packages: nobody reads them in a container.
LEAN = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


@dataclass(frozen=True)
class Bootstrapped:
    """An image straight from packages."""

    name: str
    packages: tuple[str, ...]
    #: Shell commands of mmdebstrap; ``$1`` is the root of the image.
    essential_hooks: tuple[str, ...] = ()
    customize_hooks: tuple[str, ...] = field(default=(), repr=False)
    suite: str = field(default=SUITE, repr=False)

    @property
    def reference(self) -> str:
        return f"{REPOSITORY}/{self.name}:{_digest(repr(self), self.suite, *LEAN, *self.customize_hooks)}"


@dataclass(frozen=True)
class Layered:
    """An image of files on another one; its Dockerfile may not need a network."""

    name: str
    parent: Bootstrapped
    files: tuple[str, ...]
    dockerfile: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    version: str = ""

    @property
    def reference(self) -> str:
        contents = [(FILES / name).read_text(encoding="utf-8") for name in self.files]
        digest = _digest(self.parent.reference, self.dockerfile, repr(sorted(self.arguments.items())), *contents)
        return f"{REPOSITORY}/{self.name}:{digest}" + (f"-{self.version}" if self.version else "")


BASE = Bootstrapped("base", ("ca-certificates", "python3"))
_NO_CLUSTER = (
    'mkdir -p "$1/etc/postgresql-common"'
    ' && echo create_main_cluster = false > "$1/etc/postgresql-common/createcluster.conf"'
)
_POSTGRES_BASE = Bootstrapped("postgres-base", ("postgresql",), (_NO_CLUSTER,))

_APP_DOCKERFILE = """
FROM {parent}
COPY app.py healthy.sh /app/
ARG VERSION
ARG BROKEN=
ENV VERSION=$VERSION BROKEN=$BROKEN PYTHONUNBUFFERED=1
LABEL modelyard-test.version=$VERSION
EXPOSE 8080
HEALTHCHECK --interval=1s --timeout=2s --retries=3 CMD ["bash", "/app/healthy.sh"]
USER 65534:65534
CMD ["python3", "/app/app.py"]
"""

_POSTGRES_DOCKERFILE = """
FROM {parent}
COPY postgres.sh /
RUN install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data /run/postgresql
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data/17
VOLUME /var/lib/postgresql/data
HEALTHCHECK --interval=1s --timeout=5s --retries=3 --start-period=30s CMD ["pg_isready", "--quiet"]
STOPSIGNAL SIGINT
USER postgres
CMD ["bash", "/postgres.sh"]
"""

APP_V1 = Layered("app", BASE, ("app.py", "healthy.sh"), _APP_DOCKERFILE, {"VERSION": "v1"}, "v1")
APP_V2 = Layered("app", BASE, ("app.py", "healthy.sh"), _APP_DOCKERFILE, {"VERSION": "v2"}, "v2")
APP_BROKEN = Layered("app", BASE, ("app.py", "healthy.sh"), _APP_DOCKERFILE, {"VERSION": "v3", "BROKEN": "1"}, "broken")
POSTGRES = Layered("postgres", _POSTGRES_BASE, ("postgres.sh",), _POSTGRES_DOCKERFILE)


def ensure(image: Bootstrapped | Layered) -> str:
    """Build the image where it is missing; return its reference. Runs that need it at once build it once."""
    if not _exists(image.reference):
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _build(image)
    return image.reference


def _build(image: Bootstrapped | Layered) -> None:
    if _exists(image.reference):
        return
    if isinstance(image, Bootstrapped):
        _bootstrap(image)
    else:
        _build(image.parent)
        _build_layer(image)


def _bootstrap(image: Bootstrapped) -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-test-") as folder:
        archive = f"{folder}/root.tar"
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEAN]
        hooks = [f"--essential-hook={hook}" for hook in image.essential_hooks]
        hooks += [f"--customize-hook={hook}" for hook in image.customize_hooks]
        _run(
            ["mmdebstrap", "--variant=minbase", f"--include={','.join(image.packages)}", *excluded, *hooks,
             '--customize-hook=rm -rf "$1/etc/apt/sources.list" "$1/etc/apt/sources.list.d"',
             image.suite, archive, debian_mirror()]
        )  # fmt: skip
        # From a file: behind a pipe, half an archive would become an image.
        _run(["docker", "import", "--change", 'CMD ["sleep", "infinity"]', archive, image.reference])


def _build_layer(image: Layered) -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-test-") as folder:
        for name in image.files:
            (Path(folder) / name).write_text((FILES / name).read_text(encoding="utf-8"), encoding="utf-8")
        dockerfile = image.dockerfile.replace("{parent}", image.parent.reference)
        (Path(folder) / "Dockerfile").write_text(dockerfile, encoding="utf-8")
        arguments = [f"--build-arg={name}={value}" for name, value in image.arguments.items()]
        _run(["docker", "build", "--quiet", "--network=none", *arguments, "--tag", image.reference, folder])


def debian_mirror() -> str:
    """Return the mirror of the Debian archive that this machine's own apt uses."""
    shown = _run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Identifier: Packages"])
    for line in shown.splitlines():
        origin, component, address = line.split(" ", 2)
        if origin == "Debian" and component == "main" and "security" not in address:
            return address
    raise RuntimeError("Cannot build the fixtures' images: apt's sources name no Debian mirror; add one.")


def _exists(reference: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", reference], check=False, capture_output=True).returncode == 0


def _run(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise RuntimeError(
            f"Cannot build a fixture's image: {' '.join(command[:2])} ended with {done.returncode}:\n{lines}"
        )
    return done.stdout


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
