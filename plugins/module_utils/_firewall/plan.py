# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done so that published ports are guarded as wanted, or no longer guarded. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .._files import FileState
from .._step import HostPlan, HostStep
from .files import render_script, render_unit, script_path, unit_name
from .observe import SeenHost
from .rules import HOOK, Chains, Guarded, comparable, render_rules

Action = Literal["script", "unit", "rules", "remove"]
Step = HostStep[Action]
_FAMILY_NAMES = {4: "IPv4", 6: "IPv6"}


@dataclass(frozen=True)
class Plan(HostPlan[Action]):
    """The steps in their order; what the files are to hold; the rules before and after, for people."""

    script: str = ""
    unit: str = ""
    before: str = ""
    after: str = ""
    #: Chains that go, by family; those of ours last.
    gone: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def plan_guard(prefix: str, directory: str, guarded: Guarded, chains: Chains, host: SeenHost) -> Plan:
    """Compare a host with what is wanted of it."""
    rules = {family: render_rules(guarded, chains, family=family) for family in (4, 6)}
    script, unit = render_script(prefix, chains, rules), render_unit(prefix, directory)
    steps = [_file_step("script", script_path(directory), script, 0o700, host.script)]
    if host.has_systemd:
        steps.append(_file_step("unit", unit_name(prefix), unit, 0o644, host.unit))
        if steps[-1] is None and not host.is_enabled:
            steps[-1] = Step("unit", unit_name(prefix), "is not started with the engine")
    steps += [_rules_step(family, rules[family], chains, host) for family in (host.rules or (4,))]
    before, after = _texts(rules, chains, host)
    return Plan(tuple(step for step in steps if step), script, unit, before, after)


def _file_step(action: Action, subject: str, content: str, mode: int, found: FileState | None) -> Step | None:
    if found is None:
        return Step(action, subject, "is missing")
    if found.content != content.encode():
        return Step(action, subject, "has another content")
    if (found.mode, found.uid, found.gid) != (mode, 0, 0):
        return Step(action, subject, "has another mode or owner")
    return None


def _rules_step(family: int, rules: Sequence[str], chains: Chains, host: SeenHost) -> Step | None:
    name = f"rules of {_FAMILY_NAMES[family]}"
    if family not in host.rules or not all(host.has_chain(family, chain) for chain in chains.names):
        return Step("rules", name, "are missing")
    for chain, own in chains.jumps:
        if not host.leads(family, chain, own):
            return Step("rules", name, f"are not reached from {chain}")
    return None if _is_same(rules, chains, host, family) else Step("rules", name, "are others")


def _is_same(rules: Sequence[str], chains: Chains, host: SeenHost, family: int) -> bool:
    """Compare each chain with its own: the list shows them in an order of its own."""
    live = host.own(family, chains.names)
    return all(
        [comparable(rule) for rule in rules if rule.startswith(f"-A {name} ")]
        == [comparable(rule) for rule in live if rule.startswith(f"-A {name} ")]
        for name in chains.names
    )


def _texts(rules: Mapping[int, Sequence[str]], chains: Chains, host: SeenHost) -> tuple[str, str]:
    """Return the rules of all families before and after; those that are the same in the same words."""
    before, after = "", ""
    for family in host.rules or (4,):
        wanted = "".join(f"{line}\n" for line in (f"# {_FAMILY_NAMES[family]}", *rules[family]))
        live = host.own(family, chains.names)
        found = "".join(f"{line}\n" for line in (f"# {_FAMILY_NAMES[family]}", *live)) if live else ""
        before += wanted if _is_same(rules[family], chains, host, family) else found
        after += wanted
    return before, after


def plan_removal(prefix: str, directory: str, chains: Chains, host: SeenHost) -> Plan:
    """Return what takes away all that was made for the site, and nothing else."""
    gone = {family: _chains_that_go(family, chains, host) for family in host.rules}
    steps = [
        Step("remove", f"rules of {_FAMILY_NAMES[family]}", "are no longer wanted")
        for family, names in gone.items()
        if names
    ]
    if host.unit is not None or host.is_enabled:
        steps.append(Step("remove", unit_name(prefix), "is no longer wanted"))
    if host.script is not None:
        steps.append(Step("remove", script_path(directory), "is no longer wanted"))
    live = [line for family in host.rules for line in host.own(family, chains.names)]
    return Plan(tuple(steps), before="".join(f"{line}\n" for line in live), gone=gone)


def _chains_that_go(family: int, chains: Chains, host: SeenHost) -> tuple[str, ...]:
    own = [name for name in chains.names if host.has_chain(family, name)]
    if not own:
        return ()
    # Where the engine makes no rules of a family the chain for them is ours, unless another has put something there.
    users = [line for line in host.rules[family] if line.startswith(f"-A {HOOK} ") or line.endswith(f" -j {HOOK}")]
    is_hook_ours = host.has_chain(family, HOOK) and users == [f"-A {HOOK} -j {chains.forward}"]
    return (*([HOOK] if is_hook_ours else []), *own)
