# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures for Prometheus.

Written here and no library: the text format is a line a figure, and these are few, known in advance, and counted on
every request. The client library would bring a registry, locks and a process collector, of which nothing is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .decision import Decision, Denial
from .state import PHASES, ServiceState

#: https://prometheus.io/docs/instrumenting/exposition_formats/
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_PREFIX = "modelyard_gateway_"
Labels = tuple[str, ...]


@dataclass(frozen=True)
class Readings:
    """What is read when somebody asks, and not counted."""

    states: Iterable[ServiceState]
    budget_mib: Mapping[str, int]
    used_mib: Mapping[str, int]
    keys: int


class _Histogram:
    """How many values are at most as large as each bound, how many there are, and their sum."""

    def __init__(self) -> None:
        self.buckets = [0] * len(_BUCKETS)
        self.number, self.total = 0, 0.0

    def add(self, value: float) -> None:
        self.number, self.total = self.number + 1, self.total + value
        self.buckets = [count + (value <= bound) for count, bound in zip(self.buckets, _BUCKETS, strict=True)]


class Metrics:
    """What was counted since the start."""

    def __init__(self) -> None:
        self._requests: Counter[Labels] = Counter()
        self._denials: Counter[Labels] = Counter()
        self._wakes: Counter[Labels] = Counter()
        self._sleeps: Counter[Labels] = Counter()
        self._reloads: Counter[Labels] = Counter()
        self._refused: dict[Labels, float] = {}
        self._wake_seconds: dict[str, _Histogram] = {}

    def decided(self, service: str, decision: Decision) -> None:
        """Count a request. ``service`` is one of ours, or empty: clients must not make new figures."""
        if isinstance(decision, Denial):
            self._requests[service, "denied" if decision.is_refusal else "unavailable"] += 1
            self._denials[service, decision.reason] += 1
        else:
            self._requests[service, "allowed"] += 1

    def woke(self, service: str, result: str, seconds: float | None = None) -> None:
        """Count a wake: ``ready`` after so many seconds, ``failed``, or ``unreachable`` (the engine)."""
        self._wakes[service, result] += 1
        if seconds is not None:
            self._wake_seconds.setdefault(service, _Histogram()).add(seconds)

    def slept(self, service: str, why: str) -> None:
        """Count a service put to sleep."""
        self._sleeps[service, why] += 1

    def reloaded(self, file: str, *, succeeded: bool) -> None:
        """Count a reload of a file."""
        self._reloads[file, "used" if succeeded else "refused"] += 1
        self._refused[file,] = int(not succeeded)

    def text(self, readings: Readings) -> bytes:
        """Return all of it in Prometheus' text format."""
        lines: list[str] = []
        _add(lines, "requests_total", "counter", ("service", "decision"), self._requests)
        _add(lines, "denials_total", "counter", ("service", "reason"), self._denials)
        _add(lines, "wakes_total", "counter", ("service", "result"), self._wakes)
        _add(lines, "sleeps_total", "counter", ("service", "why"), self._sleeps)
        _add(lines, "reloads_total", "counter", ("file", "result"), self._reloads)
        _add(lines, "reload_refused", "gauge", ("file",), self._refused)
        self._add_wake_seconds(lines)
        _add_readings(lines, readings)
        return "".join(f"{line}\n" for line in lines).encode()

    def _add_wake_seconds(self, lines: list[str]) -> None:
        lines.append(f"# TYPE {_PREFIX}wake_seconds histogram")
        for service, found in sorted(self._wake_seconds.items()):
            for bound, count in zip((*_BUCKETS, "+Inf"), (*found.buckets, found.number), strict=True):
                lines.append(_line("wake_seconds_bucket", {"service": service, "le": str(bound)}, count))
            lines.append(_line("wake_seconds_sum", {"service": service}, found.total))
            lines.append(_line("wake_seconds_count", {"service": service}, found.number))


def _add_readings(lines: list[str], readings: Readings) -> None:
    states = sorted(readings.states, key=lambda state: state.config.name)
    in_flight: dict[Labels, float] = {
        (state.config.name,): state.connections for state in states if state.connections is not None
    }
    phases: dict[Labels, float] = {
        (state.config.name, phase): int(state.phase == phase) for state in states for phase in PHASES
    }
    _add(lines, "in_flight", "gauge", ("service",), in_flight)
    _add(lines, "waiting", "gauge", ("service",), {(state.config.name,): state.waiting for state in states})
    _add(lines, "phase", "gauge", ("service", "phase"), phases)
    _add(lines, "vram_budget_mib", "gauge", ("gpu",), {(gpu,): mib for gpu, mib in readings.budget_mib.items()})
    _add(lines, "vram_used_mib", "gauge", ("gpu",), {(gpu,): mib for gpu, mib in readings.used_mib.items()})
    _add(lines, "keys", "gauge", (), {(): readings.keys})


def _add(lines: list[str], name: str, kind: str, labels: Labels, values: Mapping[Labels, float]) -> None:
    lines.append(f"# TYPE {_PREFIX}{name} {kind}")
    lines.extend(_line(name, dict(zip(labels, key, strict=True)), value) for key, value in sorted(values.items()))


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{_PREFIX}{name}{{{inside}}} {value:.10g}" if inside else f"{_PREFIX}{name} {value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
