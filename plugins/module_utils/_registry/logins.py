# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins of a host's docker CLI to registries: what they are, what they should be, and the way to that.

The CLI keeps a login in its configuration, or gives it to a credential helper. Pulls and pushes of this collection use
the CLI, so a login that it knows is all that they need. A password goes to the CLI by standard input alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
import subprocess  # nosec: only its exception
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .._errors import PlatformError
from .._files import telling
from .._run import Completed, Run
from .._step import HostStep

Action = Literal["protect", "login", "logout"]
_COMMAND_SECONDS = 120.0
#: Docker Hub, by any of its names, is known to the CLI by this one. Source: docker/cli, registry.IndexServer.
_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Login:
    """A user at a registry. ``password`` is None where nobody knows it yet."""

    host: str
    username: str
    password: str | None = field(repr=False)

    @property
    def key(self) -> str:
        """The name by which the CLI knows the registry."""
        return _HUB if self.host in _HUB_NAMES else self.host


@dataclass(frozen=True)
class Known:
    """What the CLI knows of a registry. ``password`` is None where the registry has given a token in its place."""

    username: str
    password: str | None = field(repr=False)


@dataclass(frozen=True)
class Step(HostStep[Action]):
    """One thing to do, why, and with which login."""

    login: Login | None = field(default=None, repr=False)


def config_path(environment: Mapping[str, str]) -> str:
    """Return the file of the CLI's configuration."""
    folder = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME", "/root"), ".docker")
    return os.path.join(folder, "config.json")


class Registries:
    """The CLI's logins, as its configuration has them."""

    def __init__(self, path: str, run: Run) -> None:
        self._path = path
        self._run = run
        self._config = _read_config(path)

    def is_open(self) -> bool:
        """Tell whether somebody else could read the configuration."""
        try:
            return bool(os.stat(self._path).st_mode & _OPEN_TO_OTHERS)
        except FileNotFoundError:
            return False

    def known(self, login: Login) -> Known | None:
        """Return the user that the CLI is logged in as, if it is.

        :raises PlatformError: a credential helper that it names is not there.
        """
        helper = (self._config.get("credHelpers") or {}).get(login.key) or self._config.get("credsStore")
        if helper:
            return self._ask(str(helper), login)
        entry = (self._config.get("auths") or {}).get(login.key)
        return _parse_entry(entry) if isinstance(entry, Mapping) else None

    def _ask(self, helper: str, login: Login) -> Known | None:
        program = f"docker-credential-{helper}"
        try:
            done = self._run([program, "get"], stdin=login.key, timeout_seconds=_COMMAND_SECONDS)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            raise PlatformError(
                f"Cannot see the logins to registries: {self._path} names the helper {program!r}, which is not there "
                "or does not answer; install it, or take it out of that file."
            ) from None
        if done.returncode:
            # Its only way to say that it knows none. Source: docker/docker-credential-helpers, "get".
            return None
        found = _parse_json(done.stdout)
        return Known(str(found.get("Username", "")), str(found.get("Secret", "")))

    def plan(self, wanted: Sequence[Login], unwanted: Sequence[Login]) -> list[Step]:
        """Return what has to be done, so that these logins are there and those are not."""
        steps = []
        if wanted and self.is_open():
            steps.append(Step("protect", self._path, "others could read it"))
        reasons = [(login, self._why_login(login)) for login in wanted]
        steps += [Step("login", login.host, reason, login) for login, reason in reasons if reason]
        for login in unwanted:
            known = self.known(login)
            if known is not None and _is_same(known, login):
                steps.append(Step("logout", login.host, f"user {login.username!r} is no longer to be logged in", login))
        return steps

    def _why_login(self, login: Login) -> str:
        known = self.known(login)
        if known is None:
            return "nobody is logged in"
        if known.username != login.username:
            return f"user {known.username!r} is logged in, not {login.username!r}"
        if login.password is None:
            return "its secret is not in the store yet"
        return "" if _is_same(known, login) else "the password is another one"

    def carry_out(self, steps: Iterable[Step]) -> None:
        """Do every step.

        :raises PlatformError: a registry refuses a login, or cannot be reached.
        """
        for step in steps:
            if step.login is None:
                with telling(f"protect {self._path}"):
                    os.chmod(self._path, stat.S_IMODE(os.stat(self._path).st_mode) & ~_OPEN_TO_OTHERS)
            elif step.action == "login":
                self._log_in(step.login)
            else:
                self._docker(["logout", *_argument(step.login)], step.login, "log out of")

    def _log_in(self, login: Login) -> None:
        argv = ["login", "--username", login.username, "--password-stdin", *_argument(login)]
        self._docker(argv, login, "log in to", stdin=login.password or "")

    def _docker(self, argv: list[str], login: Login, doing: str, *, stdin: str = "") -> None:
        what = f"Cannot {doing} registry {login.host!r} as {login.username!r}"
        try:
            done = self._run(["docker", *argv], stdin=stdin, timeout_seconds=_COMMAND_SECONDS)
        except FileNotFoundError:
            raise PlatformError(f"{what}: there is no program 'docker'; install docker-ce-cli or docker.io.") from None
        except subprocess.TimeoutExpired as error:
            raise PlatformError(
                f"{what}: it gave no answer within {error.timeout:g} s; look at the way to it, and run again."
            ) from None
        if done.returncode:
            raise PlatformError(
                f"{what}: {_last_words(done)}; correct its name, the user or the secret, or look at the way to it."
            )


def _read_config(path: str) -> Mapping[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        found = None
    if not isinstance(found, Mapping):
        raise PlatformError(
            f"Cannot see the logins to registries: {path} is no JSON mapping that can be read; mend it, or move it "
            "away."
        )
    return found


def _parse_entry(entry: Mapping[str, Any]) -> Known | None:
    """Return who is logged in. Source: docker/cli, configfile and types.AuthConfig."""
    try:
        text = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    username, _colon, password = text.partition(":")
    if not username:
        return None
    return Known(username, None if entry.get("identitytoken") else password.rstrip("\0"))


def _parse_json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _is_same(known: Known, login: Login) -> bool:
    if known.username != login.username:
        return False
    # Where a registry has given a token nobody can tell by which password.
    return None in (known.password, login.password) or known.password == login.password


def _argument(login: Login) -> list[str]:
    """Return how the CLI is told the registry; Docker Hub is what it means when it is told none."""
    return [] if login.key == _HUB else [login.host]


def _last_words(done: Completed) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"docker ended with {done.returncode}"
