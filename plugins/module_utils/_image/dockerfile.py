# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a recipe's Dockerfile may not say, because it would need an image registry."""

from __future__ import annotations

import re

from .._errors import PlatformError

_DIRECTIVE = re.compile(r"#\s*(syntax)\s*=", re.IGNORECASE)
_FROM = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_COPY_FROM = re.compile(r"(?:COPY|ADD)\s.*?--from=(\S+)", re.IGNORECASE)
_MOUNT_FROM = re.compile(r"--mount=\S*\bfrom=([^\s,]+)", re.IGNORECASE)
_BASE_NAMES = ("$BASE", "${BASE}")
_ADVICE = "A recipe starts with ARG BASE and FROM ${BASE}, and copies from its own stages only."


def check_dockerfile(text: str, *, image: str) -> None:
    """Refuse a Dockerfile that would fetch an image or a frontend from a registry.

    :param image: the image's name, for the error.
    :raises PlatformError: names the line.
    """
    stages: set[str] = set()
    base_seen = False
    for number, line in _logical_lines(text):
        if _DIRECTIVE.match(line):
            _refuse(image, number, line, "its frontend would be fetched from a registry")
        if line.startswith("#"):
            continue
        if found := _FROM.match(line):
            source, stage = found.groups()
            _check_source(image, number, line, source, stages)
            base_seen = base_seen or source in _BASE_NAMES
            stages.add(stage.lower() if stage else str(len(stages)))
        for pattern in (_COPY_FROM, _MOUNT_FROM):
            for copied in pattern.findall(line):
                _check_copy(image, number, line, copied, stages)
    if not base_seen:
        raise PlatformError(f"Cannot build image {image}: its Dockerfile never says FROM ${{BASE}}. {_ADVICE}")


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines with their continuations, each with the number of its first line."""
    lines: list[tuple[int, str]] = []
    pending: tuple[int, str] | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if pending is not None and (not line or line.startswith("#")):
            continue
        first, joined = pending or (number, "")
        joined = f"{joined} {line}".strip()
        pending = (
            (first, joined.removesuffix("\\").rstrip()) if line.endswith("\\") and not line.startswith("#") else None
        )
        if pending is None and joined:
            lines.append((first, joined))
    return lines + ([pending] if pending else [])


def _check_source(image: str, number: int, line: str, source: str, stages: set[str]) -> None:
    if source not in _BASE_NAMES and source != "scratch" and source.lower() not in stages:
        _refuse(image, number, line, f"{source!r} would be fetched from a registry")


def _check_copy(image: str, number: int, line: str, source: str, stages: set[str]) -> None:
    is_number = source.isdigit() and int(source) < len(stages)
    if not is_number and source.lower() not in stages and source not in _BASE_NAMES:
        _refuse(image, number, line, f"{source!r} is no stage above it")


def _refuse(image: str, number: int, line: str, cause: str) -> None:
    raise PlatformError(
        f"Cannot build image {image}: line {number} of its Dockerfile is {line!r}, and {cause}. {_ADVICE}"
    )
