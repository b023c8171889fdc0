# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts of Molecule: made once, used by all scenarios, and there between its commands.

``python -m support.molecule_hosts create``, ``images`` or ``destroy`` is what Molecule's playbooks call. Which hosts
are meant, and how they are reached, is in ``build/molecule``: a checkout has hosts of its own. A private network joins
them.
"""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
from collections.abc import Callable

import yaml

from support import hosts, images, stand_ins
from support.declared import build
from support.hosts import RELEASES, Host
from support.model_server import sha256_of
from support.modules import ROOT
from support.recipes import LLAMA_CPP, OF_A_SITE, packaged
from support.site import new_prefix
from support.tiny_gguf import tiny_gguf

FOLDER = ROOT / "build/molecule"
INVENTORY = FOLDER / "hosts.yml"
#: For testinfra, which reads no option of SSH from an inventory.
SSH_CONFIG = FOLDER / "ssh_config"
_KEY = FOLDER / "key"
_NAMES = FOLDER / "names.json"
#: Under this name a host keeps an image when the site that used it is removed, so that it is brought there once.
_KEPT = "modelyard-test/kept"
#: Where a host finds the file of a language model.
MODEL = "/srv/models/tiny.gguf"


def known_hosts() -> list[Host]:
    """Return the hosts that are there, or were when they were made."""
    names = json.loads(_NAMES.read_text(encoding="utf-8")) if _NAMES.exists() else {}
    return [Host(name, release) for release, name in names.items()]


def host_of(release: str) -> Host:
    """Return the host of a release."""
    return next(host for host in known_hosts() if host.release == release)


def create() -> None:
    """Start a bare host of each release that may be logged in to as ``admin``, and write the inventory of them."""
    destroy()
    FOLDER.mkdir(parents=True, exist_ok=True)
    prefix = new_prefix()
    _NAMES.write_text(json.dumps({release: f"{prefix}-{release}" for release in RELEASES}), encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(_KEY)], check=True)
    try:
        _on_all(_start)
        hosts.join(_private_network(), *known_hosts())
    except BaseException:
        destroy()
        raise
    write_inventory()


def bring_images() -> None:
    """Give each host that lacks them the site's images, from this machine's engine, where they are built if missing."""
    references = [build(packaged(role, prefix), FOLDER).reference for role, prefix in (*OF_A_SITE, LLAMA_CPP)]
    references += [build(packaged("open_webui"), FOLDER).reference]
    references += [images.ensure(stand_ins.HOMEPAGE), images.ensure(stand_ins.RUSTDESK)]
    _on_all(lambda host: _bring(host, references))
    _on_all(_bring_model)


def destroy() -> None:
    """Remove the hosts and all that is known of them."""
    if known_hosts():
        hosts.part(_private_network(), *known_hosts())
    for host in known_hosts():
        hosts.remove(host.name)
    for path in (_NAMES, INVENTORY, SSH_CONFIG, _KEY, _KEY.with_suffix(".pub")):
        path.unlink(missing_ok=True)


def write_inventory() -> None:
    """Write where the hosts are, and how they are logged in to."""
    network = _private_network()
    found = {
        host.release: {"ansible_host": host.address(), "site_private_address": host.address(network)}
        for host in known_hosts()
    }
    values = {
        "ansible_ssh_private_key_file": str(_KEY),
        "model_sha256": sha256_of(tiny_gguf()), "model_path": MODEL,
        "stand_in_homepage": stand_ins.HOMEPAGE.reference, "stand_in_rustdesk": stand_ins.RUSTDESK.reference,
    }  # fmt: skip
    content = {"all": {"hosts": found, "vars": values}}
    INVENTORY.write_text(yaml.safe_dump(content), encoding="utf-8")
    SSH_CONFIG.write_text(
        f"IdentityFile {_KEY}\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n",
        encoding="utf-8",
    )


def inventory_of(host: Host) -> dict[str, str]:
    """Return what the inventory says of a host: where it is, and its address in the private network."""
    found: dict[str, str] = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))["all"]["hosts"][host.release]
    return found


def check_address(host: Host) -> None:
    """Find that a host is where the inventory says; after a restart it could be elsewhere.

    :raises AssertionError: it is.
    """
    known = inventory_of(host)["ansible_host"]
    found = host.address()
    assert found == known, f"{host.release} is at {found} after a restart, and was at {known}: another host took it"


def _private_network() -> str:
    """Return the name of the network between the hosts, which begins as theirs do."""
    host = known_hosts()[0]
    return f"{host.name.removesuffix(host.release)}private"


def _start(host: Host) -> None:
    hosts.start(host)
    host.authorize(_KEY.with_suffix(".pub").read_text(encoding="utf-8"))
    host.forgo_syncs()


def _bring_model(host: Host) -> None:
    """Give a host the file of a language model, which no address of this machine has."""
    host.put(MODEL, tiny_gguf())


def _bring(host: Host, references: list[str]) -> None:
    there = set(host.must("docker image ls --format '{{.Repository}}:{{.Tag}}'").split())
    kept = {reference: f"{_KEPT}:{reference.replace('/', '-').replace(':', '-')}" for reference in references}
    if missing := [reference for reference in references if not {reference, kept[reference]} & there]:
        host.load_images(missing)
    tags = [(name, reference) for reference, name in kept.items() if reference not in {*there, *missing}]
    tags += [(reference, name) for reference, name in kept.items() if name not in there]
    if tags:
        host.must(" && ".join(f"docker tag {source} {target}" for source, target in tags))


def _on_all(work: Callable[[Host], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _done in pool.map(work, known_hosts()):
            pass


if __name__ == "__main__":
    {"create": create, "images": bring_images, "destroy": destroy}[sys.argv[1]]()
