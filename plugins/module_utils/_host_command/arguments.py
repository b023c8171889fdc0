# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be typed after ``modelyard``."""

from __future__ import annotations

import argparse

from .._compose.site import DEFAULT_DIRECTORY
from .._secrets.store import DEFAULT_PATH
from .._version import VERSION

_EXIT_CODES = "exit codes: 0 all is well or done; 1 something has failed; 2 wrong use, or it cannot be done"


def make_parser(*, directory: str = DEFAULT_DIRECTORY, secret_store: str = DEFAULT_PATH) -> argparse.ArgumentParser:
    """Return the parser of the whole command.

    :param directory: the site's folder, unless another one is typed; ``secret_store`` likewise.
    """
    parser = argparse.ArgumentParser(
        prog="modelyard", description="Look after the Compose projects of this host.", epilog=_EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"modelyard {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    places = _places(directory, secret_store)
    _add_status(commands, places)
    _add_logs(commands, places)
    _add_releases(commands, places)
    _add_rollback(commands, places)
    _add_secrets(commands, places)
    _add_keys(commands, places)
    return parser


def _places(directory: str, secret_store: str) -> argparse.ArgumentParser:
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument("--directory", default=directory, help="folder of the site (%(default)s)")
    places.add_argument("--secret-store", default=secret_store, help="the secret store (%(default)s)")
    return places


_Commands = argparse._SubParsersAction  # has no public name, and is what add_subparsers returns


def _add_status(commands: _Commands[argparse.ArgumentParser], places: argparse.ArgumentParser) -> None:
    status = commands.add_parser(
        "status", parents=[places], help="how the projects stand, what is wrong, what to do", epilog=_EXIT_CODES
    )
    status.add_argument("project", nargs="?", metavar="PROJECT", help="one project, with its containers and ports")
    status.add_argument("--json", action="store_true", help="for programs: what compose_project_info returns")


def _add_logs(commands: _Commands[argparse.ArgumentParser], places: argparse.ArgumentParser) -> None:
    logs = commands.add_parser("logs", parents=[places], help="the last lines of a project's containers")
    logs.add_argument("project", metavar="PROJECT")
    logs.add_argument("service", nargs="?", metavar="SERVICE")
    logs.add_argument("-n", "--lines", type=number, default=20, help="lines per container (%(default)s)")


def _add_releases(commands: _Commands[argparse.ArgumentParser], places: argparse.ArgumentParser) -> None:
    releases = commands.add_parser("releases", parents=[places], help="the kept releases of a project")
    releases.add_argument("project", metavar="PROJECT")


def _add_rollback(commands: _Commands[argparse.ArgumentParser], places: argparse.ArgumentParser) -> None:
    rollback = commands.add_parser("rollback", parents=[places], help="apply a kept release again, after a question")
    rollback.add_argument("project", metavar="PROJECT")
    rollback.add_argument(
        "number", nargs="?", type=number, metavar="NUMBER", help="by default the last good one before this one"
    )
    rollback.add_argument("--keep-databases", action="store_true", help="leave migrated databases as they are")
    rollback.add_argument("--yes", action="store_true", help="do not ask")
    rollback.add_argument("--check", action="store_true", help="only say what would be done")


def _add_secrets(commands: _Commands[argparse.ArgumentParser], places: argparse.ArgumentParser) -> None:
    secrets = commands.add_parser("secrets", help="the secrets of this host")
    actions = secrets.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[places], help="names, kinds and versions; no value")
    show = actions.add_parser("show", parents=[places], help="write one value to the standard output, nothing else")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--part", help="a part, such as public or certificate; by default the main one")


def _add_keys(commands: _Commands[argparse.ArgumentParser], places: argparse.ArgumentParser) -> None:
    keys = commands.add_parser("keys", help="the API keys of the gateway's clients")
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[places], help="clients, scopes, ends and states; no key")


def number(text: str) -> int:
    """Return a number from 1 on; its name is what argparse says when the text is none."""
    found = int(text)
    if found < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return found
