# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Compose service says so that its containers get GPUs, and which of both ways a host understands.

``gpus:`` and ``devices: [nvidia.com/gpu=0]`` are no third and fourth: Compose before 2.30 drops the one without a word
and takes the other for a path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from .._docker_host.wanted import is_at_least
from .._errors import PlatformError
from .cdi import KIND
from .facts import RunningEngine

Form = Literal["nvidia", "cdi"]

#: Before it a container that asks by CDI stays down after a restart of the engine or of the host (moby#49989).
CDI_ENGINE = (28, 2)
#: Before it the engine knows nothing of CDI; from it to 28.1 it has to be told (``features``).
CDI_FLOOR = (25,)

#: Every GPU of the host.
ALL = "all"

#: Index, MIG instance by indexes, or the UUID of either. Source: NVIDIA's container toolkit, "GPU Enumeration".
_NAME = re.compile(r"[0-9]{1,3}(?::[0-9]{1,3})?|(?:GPU|MIG)-[0-9A-Za-z/-]{8,80}")


def device_request(gpus: Sequence[str], form: Form) -> dict[str, Any]:
    """Return the fragment of a Compose service that asks for these GPUs; empty where there are none.

    :param gpus: each an index (``0``), a MIG instance (``0:1``) or a UUID; or ``all`` alone.
    :param form: ``nvidia`` is given by the runtime's hook, ``cdi`` by the engine itself from a CDI spec.
    :raises PlatformError: a name is none of these, or is there twice.
    """
    check_names(gpus)
    if not gpus:
        return {}
    # The engine looks for a driver by capabilities unless it is named, and Compose asks for some in any case.
    device: dict[str, Any] = {"driver": form, "capabilities": ["gpu"]}
    if form == "cdi":
        device["device_ids"] = [f"{KIND}={name}" for name in gpus]
    elif ALL in gpus:
        device["count"] = "all"
    else:
        device["device_ids"] = list(gpus)
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


def choose_form(engine: RunningEngine | None) -> Form:
    """Return how services of a host ask for GPUs, by what its running engine has found there."""
    knows = engine is not None and is_at_least(engine.version, CDI_ENGINE)
    found = engine is not None and any(device.startswith(f"{KIND}=") for device in engine.cdi_devices)
    return "cdi" if knows and found else "nvidia"


def is_name(found: object) -> bool:
    """Whether a GPU can be asked for by it, or all of them."""
    return isinstance(found, str) and (found == ALL or _NAME.fullmatch(found) is not None)


def has_twice(gpus: Sequence[str]) -> bool:
    """Whether one is named twice, or beside all of them."""
    return len(set(gpus)) < len(gpus) or (ALL in gpus and len(gpus) > 1)


def check_names(gpus: Sequence[str]) -> None:
    """Refuse names that neither form knows.

    :raises PlatformError: one is malformed, there twice, or ``all`` is not alone.
    """
    for name in gpus:
        if not is_name(name):
            raise PlatformError(
                f"Cannot ask for GPU {name!r}: it is no name of one; give an index as '0', a MIG instance as '0:1', a "
                "UUID as 'GPU-...' or 'MIG-...', or 'all' alone."
            )
    if has_twice(gpus):
        raise PlatformError(
            f"Cannot ask for GPUs {', '.join(gpus)}: one is named twice; name each once, or 'all' alone."
        )
