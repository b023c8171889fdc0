# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions that are known not to work together, as data: facts of a host and its images against rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError

_KEYS = frozenset({"name", "image", "all", "verdict", "reason", "fix", "source"})
_VERDICTS = frozenset({"refuse", "warn"})
_CONDITION_KEYS = frozenset({"fact", "operator", "value"})


@dataclass(frozen=True)
class Condition:
    """A claim about one fact. A fact that nobody knows fulfils none."""

    fact: str
    operator: str
    value: Any


@dataclass(frozen=True)
class Rule:
    """What is known of some combination of versions.

    ``image``: a pattern of the repositories that it is about, empty where it is about the host alone. ``reason`` and
    ``fix`` name facts in braces.
    """

    name: str
    image: str
    conditions: tuple[Condition, ...]
    verdict: str
    reason: str
    fix: str
    source: str


@dataclass(frozen=True)
class Judgement:
    """A sentence for each rule that holds."""

    refused: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def parse_rules(found: Iterable[Any]) -> list[Rule]:
    """Return the rules of a data file.

    :raises PlatformError: one has another form; the message names it.
    """
    return [_parse_rule(entry) for entry in found]


def _parse_rule(entry: Any) -> Rule:
    name = entry.get("name", "") if isinstance(entry, Mapping) else ""
    doing = f"Cannot read rule {name!r}"
    if not isinstance(entry, Mapping) or (wrong := (set(entry) ^ _KEYS) - {"image"}):
        said = ", ".join(sorted(map(str, wrong))) if isinstance(entry, Mapping) else type(entry).__name__
        raise PlatformError(f"{doing}: {said} is too much or missing; it has {', '.join(sorted(_KEYS))}.")
    if entry["verdict"] not in _VERDICTS:
        raise PlatformError(f"{doing}: its verdict is {entry['verdict']!r}; known are 'refuse' and 'warn'.")
    conditions = []
    for claim in entry["all"]:
        if set(claim) != _CONDITION_KEYS or claim["operator"] not in _OPERATORS:
            raise PlatformError(
                f"{doing}: found condition {claim!r}; it has 'fact', 'operator' and 'value', and operators are "
                f"{', '.join(_OPERATORS)}."
            )
        conditions.append(Condition(claim["fact"], claim["operator"], claim["value"]))
    texts = {key: str(entry[key]).strip() for key in ("verdict", "reason", "fix", "source")}
    return Rule(name, str(entry.get("image", "")), tuple(conditions), **texts)


def judge(rules: Iterable[Rule], facts: Mapping[str, Any], images: Mapping[str, str]) -> Judgement:
    """Return what the rules say of a host.

    :param facts: such as ``engine`` and ``python``; empty is unknown.
    :param images: option of a role to the image that it names.
    """
    found: dict[str, list[str]] = {"refuse": [], "warn": []}
    described = [_facts_of_image(option, image) for option, image in images.items() if image]
    for rule in rules:
        about = [image for image in described if re.search(rule.image, image["repository"])] if rule.image else [{}]
        for known in ({**facts, **image} for image in about):
            if all(_holds(condition, known) for condition in rule.conditions):
                found[rule.verdict].append(_sentence(rule, known))
    return Judgement(*(tuple(dict.fromkeys(found[verdict])) for verdict in ("refuse", "warn")))


def _facts_of_image(option: str, image: str) -> dict[str, str]:
    """Return the facts of ``docker.io/library/traefik:v3.7.15@sha256:...``; names are completed as Docker does it."""
    name = image.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "latest"
    first, slash, _rest = repository.partition("/")
    if not slash:
        repository = f"docker.io/library/{repository}"
    elif not ("." in first or ":" in first or first == "localhost"):
        repository = f"docker.io/{repository}"
    return {"option": option, "image": image, "repository": repository, "version": tag}


def parse_version(text: str) -> tuple[int, ...]:
    """Return (2, 24, 6) of ``v2.24.6+ds1-0ubuntu1~22.04.1``; nothing of a text that begins with no number."""
    found = re.match(r"v?([0-9]+(?:\.[0-9]+)*)", text)
    return tuple(map(int, found[1].split("."))) if found else ()


def is_below(version: str, floor: str) -> bool | None:
    """Tell whether a version is below another one in the places that the other one has; None where it is no version."""
    wanted = parse_version(floor)
    found = parse_version(version)
    if not found:
        return None
    return (*found, *[0] * len(wanted))[: len(wanted)] < wanted


def _holds(condition: Condition, facts: Mapping[str, Any]) -> bool:
    fact = facts.get(condition.fact)
    if fact is None or fact == "":
        # That something is missing can be asked for.
        return condition.operator == "is" and condition.value == "" and fact is not None
    return _OPERATORS[condition.operator](fact, condition.value)


def _matches(fact: Any, value: Any) -> bool:
    return any(re.search(str(value), str(entry)) for entry in _listed(fact))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "below": lambda fact, value: is_below(str(fact), str(value)) is True,
    "at_least": lambda fact, value: is_below(str(fact), str(value)) is False,
    "is": lambda fact, value: bool(fact == value),
    "in": lambda fact, value: fact in value,
    "not_in": lambda fact, value: fact not in value,
    "matches": _matches,
}


def _sentence(rule: Rule, facts: Mapping[str, Any]) -> str:
    def fill(found: re.Match[str]) -> str:
        return ", ".join(map(str, _listed(facts.get(found[1], ""))))

    return re.sub(r"\{(\w+)\}", fill, f"{rule.reason}; {rule.fix} (see {rule.source}).")
