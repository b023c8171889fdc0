# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules on a test host, by its own Python and without a controller."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.hosts import Host
from support.modules import ROOT

_MODULES = "ansible_collections.modelyard.platform.plugins.modules"


def put_modules(host: Host) -> None:
    """Bring the modules with what they need of Ansible to where its own Python finds them."""
    ansible = Path(sysconfig.get_path("purelib"))
    host.must("mkdir -p /collection/ansible_collections/modelyard/platform")
    of_ansible = ["ansible/__init__.py", "ansible/release.py", "ansible/_vendor", "ansible/module_utils"]
    for folder, names, place in (
        (ansible, of_ansible, "/collection"),
        (ROOT, ["plugins"], "/collection/ansible_collections/modelyard/platform"),
    ):
        argv = ["tar", "--create", "--exclude=__pycache__", f"--directory={folder}", *names]
        packed = subprocess.run(argv, check=True, capture_output=True).stdout
        host.must(f"tar --extract --directory {place}", stdin=packed)


def run_module_on(host: Host, name: str, params: Mapping[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Run a module on a host that has them, and return its answer."""
    sent = {"ANSIBLE_MODULE_ARGS": {**params, "_ansible_check_mode": check, "_ansible_diff": True}}
    run = f"PYTHONPATH=/collection PYTHONDONTWRITEBYTECODE=1 python3 -m {_MODULES}.{name} || true"
    done = host.run(run, folder="/", stdin=json.dumps(sent).encode())
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
