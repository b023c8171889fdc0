# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be true of every role, so that a new one is a folder of data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._site.needs import (
    SITE_SUBJECTS,
    DeclaredNeeds,
    parse_needs,
)
from support.tree import ROOT

ROLES = {path.name: path for path in sorted((ROOT / "roles").iterdir()) if path.is_dir()}
#: Public variables of a role; everything else goes through its overrides.
MOST_VARIABLES = 16
#: And of the one that has what all of them share.
MOST_SHARED_VARIABLES = 20
each_role = pytest.mark.parametrize("name", ROLES)


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def defaults(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted([*role.glob("defaults/main.yml"), *role.glob("defaults/main/*.yml")]):
        found |= read_yaml(path) or {}
    return found


def options(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options") or {}
    return found


def tasks(role: Path) -> list[dict[str, Any]]:
    return [task for path in sorted(role.glob("tasks/*.yml")) for task in read_yaml(path) or ()]


def test_there_are_roles() -> None:
    assert {"site", "docker", "traefik", "postgres", "object_store", "mlflow", "verify"} <= set(ROLES)


@each_role
def test_role_has_a_page_and_says_who_made_it(name: str) -> None:
    role = ROLES[name]
    assert (role / "README.md").is_file(), f"roles/{name}/README.md is missing"
    assert read_yaml(role / "meta/main.yml")["galaxy_info"]["license"] == "GPL-3.0-or-later"


@each_role
def test_role_has_the_same_defaults_in_both_places(name: str) -> None:
    specified, given = options(ROLES[name]), defaults(ROLES[name])
    public = {key: value for key, value in given.items() if not key.startswith("__")}
    required = {key for key, option in specified.items() if option.get("required")}
    assert specified.keys() - required == public.keys() - required, f"roles/{name}: defaults and specification differ"
    for key in public.keys() - required:
        assert specified[key].get("default") == public[key], f"roles/{name}: {key} has two defaults"


@each_role
def test_role_names_its_variables_after_itself(name: str) -> None:
    role = ROLES[name]
    inner = [read_yaml(path) or {} for path in sorted(role.glob("vars/**/*.yml"))]
    names = {*defaults(role), *(key for found in inner for key in found)}
    prefixes = (f"{name}_", f"__{name}_")
    assert all(key.startswith(prefixes) for key in names), f"roles/{name}: {sorted(names)}"


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


@each_role
def test_role_writes_no_backslash_where_it_means_the_end_of_a_line(name: str) -> None:
    """Ansible keeps the two characters of a backslash and an n in an expression: a file would end with them."""
    found = [text for path in ROLES[name].rglob("*.yml") for text in strings(read_yaml(path)) if "'\\n'" in text]
    assert found == []


@each_role
def test_role_has_few_variables(name: str) -> None:
    assert len(options(ROLES[name])) <= (MOST_SHARED_VARIABLES if name == "site" else MOST_VARIABLES)


@each_role
def test_role_reads_no_variable_of_another_role(name: str) -> None:
    others = {
        key
        for other, role in ROLES.items()
        if other not in (name, "site")
        for key in defaults(role)
        if not key.startswith("__")
    }
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in ROLES[name].rglob("*")
        if path.suffix in (".yml", ".j2") and path.is_file()
    }
    found = {
        f"{path.relative_to(ROOT)}: {key}"
        for path, text in texts.items()
        for key in others
        if re.search(rf"\b{key}\b", text)
    }
    assert not found, f"roles meet in playbooks and needs alone: {found}"


@each_role
def test_role_uses_our_modules_alone(name: str) -> None:
    allowed = (
        "modelyard.platform.", "ansible.builtin.include_role", "ansible.builtin.include_tasks",
        "ansible.builtin.import_tasks", "ansible.builtin.set_fact",
        # Only the controller can wait for a host that it restarts.
        "ansible.builtin.reboot",
    )  # fmt: skip
    for task in tasks(ROLES[name]):
        actions = [key for key in task if key.count(".") >= 2]
        assert actions, f"roles/{name}: task {task.get('name')!r} has no fully qualified action"
        assert actions[0].startswith(allowed), f"roles/{name}: {actions[0]}; a task of another module is slow"
        assert "ignore_errors" not in task


def declared_needs() -> dict[str, DeclaredNeeds]:
    return {
        name: parse_needs(read_yaml(role / "meta/needs.yml"), name) for name, role in ROLES.items() if name != "site"
    }


def test_every_role_says_what_it_needs() -> None:
    missing = [name for name, role in ROLES.items() if name != "site" and not (role / "meta/needs.yml").is_file()]
    assert not missing, f"no meta/needs.yml: {missing}"


def test_every_needed_subject_has_one_owner() -> None:
    declared = declared_needs()
    owners = [subject for role in declared.values() for subject in role.owns]
    assert len(owners) == len(set(owners)), f"owned twice: {owners}"
    needed = {subject for role in declared.values() for subject in role.needs}
    assert needed <= {*owners, *SITE_SUBJECTS}, f"nobody owns {needed - {*owners, *SITE_SUBJECTS}}"


def test_the_site_knows_its_own_roles() -> None:
    known = read_yaml(ROLES["site"] / "vars/main.yml")["__site_own_roles"]
    assert set(known) == set(ROLES) - {"site"}
    assert set(defaults(ROLES["site"])["site_roles"]) == set(known)
