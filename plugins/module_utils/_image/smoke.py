# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trying a new image in a throw-away container, before it gets its tag."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Sequence

from .._compose.engine import Engine, EngineError
from .._errors import PlatformError
from .failures import LINES_SHOWN, check_failure
from .images import SMOKE_LABEL


def parse_commands(commands: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the commands split as a shell would, without running one.

    :raises PlatformError: a quotation is not closed, or there is nothing.
    """
    parsed = []
    for command in commands:
        try:
            argv = tuple(shlex.split(command))
        except ValueError as error:
            raise PlatformError(
                f"Cannot build an image: the check {command!r} cannot be split ({error}); mend it."
            ) from None
        if not argv:
            raise PlatformError("Cannot build an image: a check is empty; remove it from smoke.")
        parsed.append(argv)
    return tuple(parsed)


def smoke_label(directory: str, name: str) -> str:
    """Return the label that marks the check containers of one image of one site."""
    return f"{SMOKE_LABEL}={directory}:{name}"


def remove_strays(engine: Engine, label: str) -> None:
    """Remove check containers that a killed run left; the caller holds the image's lock."""
    for found in engine.get("/containers/json", {"all": "1", "filters": {"label": [label]}}):
        _remove(engine, found["Id"])


def check_image(
    engine: Engine, image_id: str, commands: Sequence[Sequence[str]], *, name: str, label: str, timeout_seconds: float
) -> None:
    """Run each of ``commands`` in the image, without network, as the image's own user.

    :raises PlatformError: one did not end with 0 in time. No container is left.
    """
    for argv in commands:
        container = _create(engine, image_id, argv, label)
        try:
            exit_code = _run(engine, container, timeout_seconds)
            if exit_code != 0:
                output = engine.logs(container, lines=LINES_SHOWN)
                raise check_failure(name, shlex.join(argv), exit_code=exit_code, seconds=timeout_seconds, output=output)
        finally:
            _remove(engine, container)


def _create(engine: Engine, image_id: str, argv: Sequence[str], label: str) -> str:
    key, value = label.split("=", 1)
    answer = engine.request(
        "POST",
        "/containers/create",
        None,
        {
            "Image": image_id,
            "Entrypoint": [argv[0]],
            "Cmd": list(argv[1:]),
            "Labels": {key: value},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {"NetworkMode": "none", "Init": True, "LogConfig": {"Type": "json-file"}},
        },
    )
    return str(json.loads(answer)["Id"])


def _run(engine: Engine, container: str, timeout_seconds: float) -> int | None:
    """Return the exit code; None when the time was up. A command that is not in the image is 127, as in a shell."""
    try:
        engine.request("POST", f"/containers/{container}/start")
    except EngineError as error:
        if error.status in (400, 404, 500) and "executable file not found" in str(error):
            return 127
        raise
    with contextlib.suppress(EngineError):
        answer = engine.request("POST", f"/containers/{container}/wait", timeout_seconds=timeout_seconds)
        return int(json.loads(answer)["StatusCode"])
    return None


def _remove(engine: Engine, container: str) -> None:
    try:
        engine.request("DELETE", f"/containers/{container}", {"force": "1", "v": "1"})
    except EngineError as error:
        if error.status != 404:
            raise
