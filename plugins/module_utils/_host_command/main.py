# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command ``modelyard`` on a host: what an operator wants to know or do without a playbook at hand.

It is the modules' own code, packed into one file by :mod:`pack`. Only ``secrets show`` ever writes a secret, and
nothing else with it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from .._bug import describe_bug
from .._compose.engine import Engine, socket_path_of
from .._compose.release import ReleaseStore
from .._compose.site import DEFAULT_DIRECTORY, Site
from .._compose.status import (
    ProjectStatus,
    is_known,
    list_projects,
    read_status,
    status_to_record,
    unknown_project,
)
from .._errors import PlatformError
from .._secrets.masking import mask, secret_values
from .._secrets.store import DEFAULT_PATH, SecretStore
from .arguments import make_parser
from .text import render_overview, render_plan, render_project, render_releases, render_secrets

if TYPE_CHECKING:
    from .._compose.run_release import ReleaseRun

ALL_WELL, FAILED, REFUSED = 0, 1, 2
_INTERRUPTED = 130

Ask = Callable[[str], str]


class HostCommand:
    """One call of the command. Streams and question are passed in."""

    def __init__(self, given: argparse.Namespace, *, out: TextIO, ask: Ask | None) -> None:
        self._given = given
        self._out = out
        self._ask = ask
        self._site = Site(os.path.abspath(given.directory))
        self._engine = Engine(socket_path_of(os.environ))

    def carry_out(self) -> int:
        """Do what was typed; return the exit code.

        :raises PlatformError: it cannot be done.
        """
        self._site.check_version(program="modelyard", exactly=True)
        name = "_".join(filter(None, (self._given.command, getattr(self._given, "action", None))))
        commands: dict[str, Callable[[], int]] = {
            "status": self._status,
            "logs": self._logs,
            "releases": self._releases,
            "rollback": self._rollback,
            "secrets_list": self._list_secrets,
            "secrets_show": self._show_secret,
            "keys_list": self._list_keys,
        }
        return commands[name]()

    def _status(self) -> int:
        wanted = self._given.project
        statuses = [self._read(name) for name in ([wanted] if wanted else list_projects(self._engine, self._site))]
        if self._given.json:
            text = json.dumps([status_to_record(status) for status in statuses], indent=2, sort_keys=True) + "\n"
        else:
            text = render_project(statuses[0]) if wanted else render_overview(statuses)
        self._out.write(text)
        return ALL_WELL if all(status.is_good for status in statuses) else FAILED

    def _read(self, name: str) -> ProjectStatus:
        status = read_status(self._engine, self._site, name)
        if status is None:
            raise unknown_project(self._engine, self._site, name)
        return status

    def _logs(self) -> int:
        status = self._read(self._given.project)
        wanted = self._given.service
        services = sorted({container.state.service for container in status.containers})
        if wanted and wanted not in services:
            raise PlatformError(
                f"Cannot show the log of service {wanted!r}: project {status.name!r} has no container of it; there "
                f"are {', '.join(services) or 'none'}, choose one of these."
            )
        values = list(secret_values(SecretStore.load(self._given.secret_store)))
        for container in status.containers:
            if wanted in (None, container.state.service):
                text = self._engine.logs(container.state.id, lines=self._given.lines)
                self._out.write(f"==> {container.state.name} ({container.state.status})\n")
                self._out.write(mask(text, values) + ("" if text.endswith("\n") or not text else "\n"))
        return ALL_WELL

    def _releases(self) -> int:
        project = self._given.project
        if not is_known(self._site, project):
            raise unknown_project(self._engine, self._site, project)
        store = ReleaseStore(self._site, project)
        self._out.write(render_releases(map(store.load, store.numbers()), store.progress().current))
        return ALL_WELL

    def _rollback(self) -> int:
        result = self._release_run(None, check_mode=True).carry_out()
        number = result["rolled_back_to"]
        if not result["changed"]:
            self._out.write(f"Release {number} is what runs already.\n")
            return ALL_WELL
        self._out.write(f"To go back to release {number} of {self._given.project}:\n{render_plan(result)}")
        if self._given.check or not (self._given.yes or self._agrees(number)):
            return ALL_WELL if self._given.check else REFUSED
        # By number: what "the last good one" means may change while somebody reads the plan.
        return self._go_back(number)

    def _go_back(self, number: int) -> int:
        from .._compose.apply import ApplyError

        try:
            done = self._release_run(number, check_mode=False).carry_out()
        except ApplyError as error:
            sys.stderr.write(f"{error}\n")
            return FAILED
        self._out.write(f"Release {number} serves again, as release {done['release']}.\n")
        return ALL_WELL

    def _release_run(self, number: int | None, *, check_mode: bool) -> ReleaseRun:
        # The half of the code that changes things; the other commands start quicker without it.
        from .._compose.run_release import ReleaseRun, Wish

        wish = Wish(
            name=self._given.project,
            directory=self._site.directory,
            secret_store=self._given.secret_store,
            state="rolled_back",
            release=number or self._given.number,
            restore_databases=not self._given.keep_databases,
        )
        return ReleaseRun(wish, program="modelyard", check_mode=check_mode, exactly=True)

    def _agrees(self, number: int) -> bool:
        if self._ask is None:
            raise PlatformError(
                f"Cannot go back to release {number} unasked: this is no terminal to answer on; add --yes to do it, "
                "or --check to only look."
            )
        return self._ask("Go back? [y/N] ").strip().lower() in ("y", "yes")

    def _list_secrets(self) -> int:
        self._out.write(render_secrets(SecretStore.load(self._given.secret_store)))
        return ALL_WELL

    def _list_keys(self) -> int:
        from .._keys.known import Places, read_known
        from .._keys.listing import list_keys, render_keys

        known, _store = read_known(Places(self._site.directory, self._given.secret_store))
        self._out.write(render_keys(list_keys(known, int(time.time()))))
        return ALL_WELL

    def _show_secret(self) -> int:
        value = SecretStore.load(self._given.secret_store).value(self._given.name, self._given.part)
        # A program gets the value as it is; a person gets the prompt on a line of its own.
        self._out.write(value + ("\n" if self._out.isatty() else ""))
        return ALL_WELL


def main(
    argv: Sequence[str] | None = None, *, directory: str = DEFAULT_DIRECTORY, secret_store: str = DEFAULT_PATH
) -> int:
    """Run the command; return its exit code. Errors go to the standard error, in words.

    :param directory: the site's folder, unless another one is typed; ``secret_store`` likewise.
    """
    given = make_parser(directory=directory, secret_store=secret_store).parse_args(argv)
    try:
        if os.geteuid() != 0:
            raise PlatformError(
                f"Cannot run modelyard as uid {os.geteuid()}: releases and secrets are root's; run it with sudo."
            )
        ask = input if sys.stdin.isatty() else None
        code = HostCommand(given, out=sys.stdout, ask=ask).carry_out()
        sys.stdout.flush()
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader, such as head, has seen enough. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ALL_WELL
    except Exception as error:  # noqa: BLE001 - a traceback quotes values, and one may be a secret
        sys.stderr.write(f"Cannot run modelyard {given.command}: {describe_bug(error)}\n")
        return REFUSED
    return code
