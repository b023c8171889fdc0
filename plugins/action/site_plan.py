# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of module site_plan: all of it, for what it reads is here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._site.decisions import refuse_addresses, refuse_groups
from ansible_collections.modelyard.platform.plugins.module_utils._site.gated import find_gate_problems
from ansible_collections.modelyard.platform.plugins.module_utils._site.names import (
    refuse_domain,
    refuse_ports,
    refuse_prefix,
    refuse_rotation,
)
from ansible_collections.modelyard.platform.plugins.module_utils._site.needs import (
    Need,
    SiteRole,
    derive_order,
    find_problems,
    needs_from,
    parse_needs,
    refusals_from,
)
from ansible_collections.modelyard.platform.plugins.module_utils._site.places import (
    as_declared,
    find_followers,
    find_placement_problems,
    find_places,
    find_transfers,
    place_of,
)

_OWN_ROLES = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../roles"))
#: Its defaults are known to every role.
_SITE_ROLE = "site"


class ActionModule(ActionBase):
    """Reads the roles' data with each host's variables."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"roles"})

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        self._known_defaults: dict[str, dict[str, Any]] = {}
        try:
            _validated, given = self.validate_argument_spec({"roles": {"type": "dict", "required": True}})
            roles, problems = self._read_roles(given["roles"], variables)
            private = self._values_of_hosts("site_private_address", variables)
            problems += self._refused_names(variables, roles) + find_problems(roles)
            problems += find_placement_problems(roles, private) + self._refused_parts(variables)
            problems += find_gate_problems(roles, self._templar.template(variables.get("site_prefix", "modelyard")))
            problems += refuse_groups(_tagged(variables), set(given["roles"].values()) - {"all"})
            named = {host: host for host in variables["groups"]["all"]}
            if unreachable := refuse_addresses(named | self._values_of_hosts("ansible_host", variables)):
                # Such a host can be asked nothing, so that what is known already is told here.
                raise PlatformError("\n".join([*unreachable, *problems]))
            order = derive_order(roles)
        except PlatformError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {
            **result,
            "changed": False,
            "order": order,
            "needs": _told(roles, self._values_of_hosts("site_address", variables)),
            "role_hosts": {role.name: [*role.hosts, *role.followers] for role in roles},
            "transfers": [asdict(transfer) for transfer in find_transfers(roles)],
            "places": find_places(roles, variables["groups"]["all"], private),
            "problems": problems,
        }

    def _values_of_hosts(self, name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return host to what it has in a variable; those that have it not are left out."""
        known = {host: variables["hostvars"].raw_get(host) for host in variables["groups"]["all"]}
        return {
            host: self._templar.copy_with_new_env(available_variables=own).template(own[name])
            for host, own in known.items()
            if name in own
        }

    def _refused_names(self, variables: Mapping[str, Any], roles: Sequence[SiteRole]) -> list[str]:
        """Return what no argument specification can say about the values that all roles share."""
        found = {
            name: self._templar.template(variables[name])
            for name in ("site_domain", "site_prefix", "site_ports", "site_rotate", "site_secrets")
            if name in variables
        }
        return [
            *refuse_domain(found.get("site_domain")),
            *refuse_prefix(found.get("site_prefix", "modelyard")),
            *refuse_ports(found.get("site_ports")),
            *refuse_rotation(found.get("site_rotate"), _names_of_secrets(roles, found.get("site_secrets"))),
        ]

    def _refused_parts(self, variables: Mapping[str, Any]) -> list[str]:
        """Return why a run for a part of the site cannot rotate: the other part would go on with the old value."""
        if not self._templar.template(variables.get("site_rotate", [])):
            return []
        absent = [host for host in variables["groups"]["all"] if host not in variables["ansible_play_hosts_all"]]
        parts = ["--tags"] if list(variables.get("ansible_run_tags", ["all"])) != ["all"] else []
        parts += ["--limit"] if absent else []
        return [f"Cannot rotate secrets with {part}: whoever is left out goes on with the old one; run without it."
                for part in parts]  # fmt: skip

    def _read_roles(self, enabled: Mapping[str, str], variables: Mapping[str, Any]) -> tuple[list[SiteRole], list[str]]:
        """Return the roles that some host has, and what is wrong with their values."""
        roles, problems = [], []
        for name, group in enabled.items():
            hosts = list(variables["groups"].get(group, ())) if group != "all" else list(variables["groups"]["all"])
            if not hosts:
                continue
            folder = _find_role(name, str(variables.get("playbook_dir", "")))
            declared = parse_needs(self._read(folder, "meta/needs.yml"), name)
            needs: list[Need] = []
            for host in hosts:
                templar = self._templar_for(folder, host, variables)
                # Of values of the wrong form nobody can tell whether they fit each other.
                problems += [f"{host}: {text}" for text in self._refused_options(folder, templar)] or refusals_from(
                    declared, templar.template, host=host
                )
                needs += self._needs(declared.needs, templar, role=name, host=host, folder=folder)
            roles.append(SiteRole(name, hosts, declared.owns, needs, declared.follows))
        return [self._with_followers(role, roles, variables) for role in roles], list(dict.fromkeys(problems))

    def _with_followers(self, role: SiteRole, roles: Sequence[SiteRole], variables: Mapping[str, Any]) -> SiteRole:
        """Return a role with the hosts that it follows to, and with what it needs there."""
        followers = find_followers(roles, role.follows, role.hosts)
        if not followers:
            return role
        folder = _find_role(role.name, str(variables.get("playbook_dir", "")))
        declared = parse_needs(self._read(folder, "meta/needs.yml"), role.name).follower_needs
        needs = list(role.needs)
        for host in followers:
            of_host = [need for one in roles for need in one.needs if need.host == host]
            followed = [need.data for need in of_host if need.subject in role.follows]
            more = {"site_leader": role.hosts[0], "site_followed": followed}
            templar = self._templar_for(folder, host, variables, more)
            followed_needs = self._needs(declared, templar, role=role.name, host=host, folder=folder)
            needs += [as_declared(need, role.needs) for need in followed_needs]
        return replace(role, needs=needs, followers=followers)

    def _needs(
        self, declared: Mapping[str, Any], templar: Any, *, role: str, host: str, folder: str
    ) -> list[Need]:  # fmt: skip
        """Return what a role needs on a host, its images among that."""
        needs: list[Need] = []
        for subject, data in declared.items():
            needs += needs_from(subject, templar.template(data), role=role, host=host)
        return needs + self._images(self._defaults(folder), templar, role=role, host=host)

    def _images(self, defaults: Mapping[str, Any], templar: Any, *, role: str, host: str) -> list[Need]:
        """Return the images that the role's options name, where images are pulled and not built on the host."""
        known = templar.available_variables
        if templar.template(known["site_images"]) != "registry":
            return []
        options = [name for name in defaults if name.endswith("_image") and not name.startswith("_")]
        return [Need("image", role, host, {"option": name, "image": templar.template(known[name])}) for name in options]

    def _templar_for(
        self, folder: str, host: str, variables: Mapping[str, Any], more: Mapping[str, Any] | None = None
    ) -> Any:
        """Return a templar that knows the role's defaults and the host's variables, as the role itself will."""
        of_site = self._defaults(os.path.join(_OWN_ROLES, _SITE_ROLE))
        known = {**of_site, **self._defaults(folder), **variables["hostvars"].raw_get(host), **(more or {})}
        return self._templar.copy_with_new_env(available_variables=known)

    def _defaults(self, folder: str) -> dict[str, Any]:
        if folder in self._known_defaults:
            return self._known_defaults[folder]
        found: dict[str, Any] = self._known_defaults.setdefault(folder, {})
        path = os.path.join(folder, "defaults/main")
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        for name in [f"main/{name}" for name in names] or ["main.yml"]:
            found |= self._read(folder, f"defaults/{name}") or {}
        return found

    def _refused_options(self, folder: str, templar: Any) -> Sequence[str]:
        """Return what the role's argument specification has against the values, before any role begins."""
        specs = self._read(folder, "meta/argument_specs.yml") or {}
        options = ((specs.get("argument_specs") or {}).get("main") or {}).get("options") or {}
        known = templar.available_variables
        values = {name: templar.template(known[name]) for name in options if name in known}
        found: Sequence[str] = ArgumentSpecValidator(options).validate(values).error_messages
        return found

    def _read(self, folder: str, name: str) -> Any:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            return None
        # Not copied, which takes longer than reading it: nothing here changes what it has read.
        return self._loader.load_from_file(path, unsafe=True, trusted_as_template=True)


def _told(roles: Sequence[SiteRole], public: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return subject to needs, as roles read them.

    :param public: host to the address that its ports are bound to.
    """
    needs: dict[str, list[dict[str, Any]]] = {}
    for need in (need for role in roles for need in role.needs):
        place = place_of(need, roles)
        # What these say is in 'at' already.
        data = {key: value for key, value in need.data.items() if key not in ("on", "on_edge")}
        if need.data.get("on_edge") and place != need.host:
            data["address"] = public.get(place, "")
        needs.setdefault(need.subject, []).append({"role": need.role, "host": need.host, "at": place, "data": data})
    return needs


def _tagged(variables: Mapping[str, Any]) -> dict[str, Sequence[object]]:
    """Return the groups that tags of hosts name, where the inventory comes from tags."""
    known = {host: variables["hostvars"].raw_get(host) for host in variables["groups"]["all"]}
    return {host: own["modelyard_groups"] for host, own in known.items() if "modelyard_groups" in own}


def _names_of_secrets(roles: Sequence[SiteRole], own: object) -> set[str]:
    """Return the names of the secrets that roles need and that the operator brings."""
    needed = [need.data for role in roles for need in role.needs if need.subject == "secret"]
    brought = [entry for entry in own if isinstance(entry, Mapping)] if isinstance(own, list) else []
    return {str(entry.get("name")) for entry in (*needed, *brought)}


def _find_role(name: str, playbook_folder: str) -> str:
    """Return the folder of a role of this collection, one beside the playbook, or one in Ansible's ``roles_path``."""
    # Where a team's playbook imports this collection's, `the playbook` is the imported one.
    places = (_OWN_ROLES, os.path.join(playbook_folder, "roles"), *constants.DEFAULT_ROLES_PATH)
    for folder in (os.path.join(place, name) for place in places):
        if os.path.isdir(folder):
            return folder
    raise PlatformError(
        f"Cannot find role {name!r}: it is neither in this collection nor in roles/ beside the playbook; correct "
        "'site_roles'."
    )
