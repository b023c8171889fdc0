# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packaged images of the roles, read from the roles' own data by Ansible's own templating.

In a process of its own: Ansible changes how ``ansible_collections`` is imported, for all that runs beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROLES = Path(__file__).resolve().parents[2] / "roles"
#: Role and prefix of the variables of each packaged image of a whole site.
OF_A_SITE = (("traefik", ""), ("traefik", "traefik_proxy"), ("postgres", ""), ("object_store", ""), ("mlflow", ""),
             ("gateway", "gateway_gate"), ("gateway", ""))  # fmt: skip
#: Those of its engines, which tests of inference alone want.
LLAMA_CPP = ("inference", "inference_llama_cpp")
OF_ENGINES = (("inference", "inference_osam"), LLAMA_CPP)


@dataclass(frozen=True)
class Packaged:
    """One packaged image of a role: how it is built, and what the role expects of it."""

    recipe: Mapping[str, Any]
    contract: Mapping[str, Any]

    @property
    def uid(self) -> int:
        return int(self.contract["user"].split(":")[0])

    @property
    def gid(self) -> int:
        return int(self.contract["user"].split(":")[1])


def packaged(role: str, prefix: str = "") -> Packaged:
    """Return the image of a role, where it has several the one whose variables start with ``prefix``."""
    variables = _variables()[role]
    start = f"__{prefix or role}"
    return Packaged(variables[f"{start}_recipe"], variables[f"{start}_image_contract"])


@cache
def _variables() -> dict[str, dict[str, Any]]:
    done = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _render(role: Path) -> dict[str, Any]:
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    loader = DataLoader()
    variables: dict[str, Any] = {"ansible_search_path": [str(role)]}
    for path in (ROLES / "site/defaults/main/images.yml", role / "vars/main/image.yml"):
        variables.update(loader.load_from_file(str(path), trusted_as_template=True))
    templar = Templar(loader=loader, variables=variables)
    # What else is there depends on a host.
    wanted = [name for name in variables if name.endswith(("_recipe", "_image_contract"))]
    return {name: templar.template(variables[name]) for name in wanted}


if __name__ == "__main__":
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([])
    # A role without a recipe has a contract alone, for upstream's image.
    files = (path for path in ROLES.glob("*/vars/main/image.yml") if "_recipe:" in path.read_text(encoding="utf-8"))
    roles = (path.parents[2] for path in files)
    sys.stdout.write(json.dumps({role.name: _render(role) for role in roles}))
