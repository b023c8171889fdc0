# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that only the gateway starts: what a deployment asks it to do with them.

Whatever is awake together has to fit into the GPUs, and the gateway alone knows what is awake. So a container of such a
service is made and not started. Then the gateway *proves* it: wakes it within its budget, and puts it back to sleep.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import PlatformError
from .desired import PROJECT_LABEL, SERVICE_LABEL, DesiredService
from .engine import Engine, EngineError
from .exec_stream import run_in_container
from .observe import is_one_off
from .project import Sleeper

_NOT_NOW = 75
#: The program was cut, or is not there: that says nothing.
NO_WORD = frozenset({_NOT_NOW, 126, 127, 137, 143})


@dataclass(frozen=True)
class Proof:
    """What came of a proof. ``kind``: ``unproven`` is neither good nor bad; ``cause`` is empty for ``proven``."""

    kind: str
    cause: str = ""


def prove(engine: Engine, service: DesiredService) -> Proof:
    """Have the gateway wake a service, and put it back to sleep if it slept; it may take as long as that takes."""
    sleeper = _sleeper_of(service)
    code, said = ask_gateway(engine, sleeper, "prove", sleeper.name)
    if code == 0:
        return Proof("proven")
    return Proof("unproven" if code in NO_WORD else "failed", said or f"the gateway ended with exit code {code}")


def rest(engine: Engine, service: DesiredService) -> str:
    """Have the gateway stop a service that is about to be replaced, when nothing is in flight any more.

    :returns: why it did not, empty if it did. It gets no new requests then either, if there is a gateway.
    """
    sleeper = _sleeper_of(service)
    code, said = ask_gateway(engine, sleeper, "rest", sleeper.name, str(int(service.extras.drain_seconds)))
    return "" if code == 0 else said or f"the gateway ended with exit code {code}"


def _sleeper_of(service: DesiredService) -> Sleeper:
    if service.extras.sleeper is None:
        raise AssertionError(f"{service.name} is no sleeper")
    return service.extras.sleeper


def ask_gateway(engine: Engine, sleeper: Sleeper, *words: str) -> tuple[int, str]:
    """Return exit code and last line of a command of the gateway's program, run where the gateway runs."""
    try:
        container_id = _find_gateway(engine, sleeper)
        if container_id is None:
            return _NOT_NOW, f"service {sleeper.service!r} of project {sleeper.project!r}, the gateway, does not run"
        done = run_in_container(engine, container_id, ["python", "-m", "modelyard_gateway", *words])
    except (EngineError, PlatformError, OSError) as error:
        return _NOT_NOW, f"the gateway could not be asked: {error}"
    lines = done.stderr.strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def _find_gateway(engine: Engine, sleeper: Sleeper) -> str | None:
    labels = [f"{PROJECT_LABEL}={sleeper.project}", f"{SERVICE_LABEL}={sleeper.service}"]
    listed = engine.get("/containers/json", {"filters": {"label": labels, "status": ["running"]}})
    return next((str(entry["Id"]) for entry in listed if not is_one_off(entry["Labels"] or {})), None)
