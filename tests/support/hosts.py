# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bare Debian machines with systemd as PID 1, each a container that can run an engine of its own.

They have what a server has after its installation: root, a user ``admin`` who may use sudo, an SSH server, Python and
``make``; no Docker, no venv, no git. What this machine has for its packages (mirror, proxy, certificates, pip's index)
a host gets too, read from this machine when the host starts. Nothing of it is in the image.
"""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import images
from support.machine import apt_settings, certificates, pip_settings, proxies
from support.modules import ROOT
from support.site import new_prefix

RELEASES = ("bookworm", "trixie")
#: Where the clone is that a newcomer works in.
CLONE = "/root/platform"

_PACKAGES = (
    "ca-certificates", "dbus", "iproute2", "kmod", "libpam-systemd", "make", "openssh-server", "procps", "python3",
    "sudo", "systemd", "systemd-sysv",
)  # fmt: skip
_OWN_HOSTS = (
    "[Unit]\\nDefaultDependencies=no\\nBefore=sysinit.target\\n\\n"
    "[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/usr/bin/umount /etc/hosts\\n\\n"
    "[Install]\\nWantedBy=sysinit.target\\n"
)
_HOOKS = (
    'chroot "$1" useradd --create-home --shell /bin/bash admin',
    'echo "admin ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/admin" && chmod 440 "$1/etc/sudoers.d/admin"',
    # The engine that runs the host writes this file anew at each start, and over what the host wrote; a real one stays.
    f'printf "{_OWN_HOSTS}" > "$1/etc/systemd/system/own-hosts.service"',
    'chroot "$1" systemctl enable own-hosts.service',
    # What the image leaves out, packages of the host itself keep, as on a real machine.
    'rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"',
)
IMAGES = {
    release: images.Bootstrapped(f"host-{release}", _PACKAGES, customize_hooks=_HOOKS, suite=release)
    for release in RELEASES
}

# What systemd and an engine in a container need; --privileged asks for more than some machines can give.
_CAPABILITIES = (
    "SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "SYS_CHROOT", "SYS_NICE", "SYS_TIME", "SYS_BOOT", "MKNOD",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "DAC_READ_SEARCH", "LINUX_IMMUTABLE", "IPC_LOCK", "SYSLOG",
)  # fmt: skip
_UNCONFINED = ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")
#: Of the first version of control groups systemd mounts every controller that the kernel has. One that this machine has
#: not mounted would be on for all of its processes from then on, and its engine would know nothing of memory any more
#: ("cannot find cgroup mount destination"). So systemd is shown those alone that are mounted already.
_INIT = """
while read -r name rest; do
    case $name in "#"*) echo "$name $rest" ;; *)
        grep -qE " - cgroup [^ ]+ ([^ ]*,)?$name(,|$)" /proc/self/mountinfo && echo "$name $rest" ;;
    esac
done </proc/cgroups >/run/cgroups
[ -e /sys/fs/cgroup/cgroup.controllers ] || mount --bind /run/cgroups /proc/cgroups
exec /sbin/init
"""
_READY_SECONDS = 90
#: Of a host that stops: what its own engine stops is stopped by then.
_STOP_SECONDS = 60


@dataclass(frozen=True)
class Host:
    """A running host, by the name of its container."""

    name: str
    release: str

    def run(
        self, command: str, *, user: str = "root", folder: str = CLONE, stdin: bytes | None = None, timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run a line as a user types it in a login shell, and return what came of it, whatever that is."""
        done = subprocess.run(
            ["docker", "exec", "--interactive", "--user", user, self.name, "bash", "-lc",
             f"cd {shlex.quote(folder)} && {command}"],
            input=stdin or b"", capture_output=True, check=False, timeout=timeout,
        )  # fmt: skip
        return subprocess.CompletedProcess(command, done.returncode, _text(done.stdout), _text(done.stderr))

    def must(self, command: str, *, user: str = "root", folder: str = "/", stdin: bytes | None = None) -> str:
        """Run a line that has to succeed, and return its output."""
        done = self.run(command, user=user, folder=folder, stdin=stdin)
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def put(self, path: str, content: str | bytes) -> None:
        """Write a file."""
        data = content.encode() if isinstance(content, str) else content
        self.must(f"mkdir -p {Path(path).parent} && cat > {path}", stdin=data)

    def forgo_syncs(self) -> None:
        """Install packages faster: a test host need not survive a power cut, and dpkg waits for the disk otherwise."""
        self.put("/etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n")

    def put_clone(self) -> None:
        """Put the last commit of this checkout where a newcomer has a clone."""
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], check=True, capture_output=True).stdout
        self.must(f"mkdir -p {CLONE} && tar -x -C {CLONE}", stdin=archive)

    def load_images(self, references: Sequence[str]) -> None:
        """Give the host's engine images of this machine's engine, under the same names."""
        with (
            subprocess.Popen(["docker", "save", *references], stdout=subprocess.PIPE) as saved,
            subprocess.Popen(
                ["docker", "exec", "--interactive", self.name, "docker", "load", "--quiet"], stdin=saved.stdout,
                stdout=subprocess.DEVNULL,
            ) as loaded,
        ):  # fmt: skip
            assert (loaded.wait(), saved.wait()) == (0, 0), f"cannot bring {references} to {self.name}"

    def authorize(self, public_key: str) -> None:
        """Let whoever has the key log in as ``admin``."""
        folder = "/home/admin/.ssh"
        self.put(f"{folder}/authorized_keys", public_key)
        self.must(f"chown -R admin: {folder} && chmod 700 {folder} && chmod 600 {folder}/authorized_keys")

    def admit(self, folder: Path) -> dict[str, Any]:
        """Let whoever has the key in ``folder``, made if missing, log in; return what an inventory says of that."""
        key = folder / "key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.authorize(key.with_suffix(".pub").read_text(encoding="utf-8"))
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlPath=none"
        return {
            "ansible_host": self.address(), "ansible_user": "admin", "ansible_ssh_private_key_file": str(key),
            "ansible_become": True, "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": options,
        }  # fmt: skip

    def address(self, network: str = "") -> str:
        """Return the host's address on this machine, which may be another one after a restart, or that in a network."""
        done = subprocess.run(
            ["docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", self.name],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        networks = json.loads(done.stdout)
        # The first one is its own; others join hosts to each other.
        return str(networks.get(network or self.name, next(iter(networks.values())))["IPAddress"])

    def wait_well(self, *, timeout_seconds: float = 120) -> None:
        """Wait until the site's own command says that all is well.

        :raises AssertionError: it does not; the message is what it says.
        """
        deadline = time.monotonic() + timeout_seconds
        while (said := self.run("modelyard status", folder="/")).returncode or "All is well." not in said.stdout:
            assert time.monotonic() < deadline, f"{self.name} is not well: {said.stdout}{said.stderr}"
            time.sleep(0.5)

    def container_ids(self) -> dict[str, str]:
        """Return the host's containers, those that have ended too."""
        listed = self.must("docker ps --all --no-trunc --format '{{.Names}} {{.ID}}'")
        return dict(line.split() for line in listed.splitlines())

    def status_of(self, address: str) -> int:
        """Return the status that the host's own Python gets from an address, with full verification."""
        script = (
            "import sys, urllib.error, urllib.request\n"
            "try: print(urllib.request.urlopen(sys.argv[1], timeout=20).status)\n"
            "except urllib.error.HTTPError as answer: print(answer.code)\n"
        )
        return int(self.must(f"python3 - {shlex.quote(address)}", stdin=script.encode()))

    def restart(self) -> None:
        """Restart the host, as a reboot does; what was running is not told beforehand."""
        subprocess.run(
            ["docker", "restart", "--time", str(_STOP_SECONDS), self.name], check=True, capture_output=True
        )  # fmt: skip
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until systemd has started everything.

        :raises AssertionError: a unit failed; the message names it.
        """
        # Just after the start systemd itself does not answer yet, so that --wait alone is not enough.
        deadline = time.monotonic() + _READY_SECONDS
        state = ""
        while state not in ("running", "degraded") and time.monotonic() < deadline:
            time.sleep(0.2)
            state = self.run("systemctl is-system-running", folder="/").stdout.strip()
        if state != "running":
            failed = self.run("systemctl --failed --plain --no-legend; systemctl list-jobs", folder="/").stdout
            raise AssertionError(f"{self.name} is '{state}', not running after {_READY_SECONDS} s: {failed}")


@contextlib.contextmanager
def running_host(release: str, *, name: str = "") -> Iterator[Host]:
    """Yield a bare host of ``release``; at the end nothing of it is left."""
    host = Host(name or f"{new_prefix()}-{release}", release)
    try:
        start(host)
        yield host
    finally:
        remove(host.name)


@contextlib.contextmanager
def private_network(*hosts: Host) -> Iterator[dict[str, str]]:
    """Join hosts by a network of their own, as a provider's private one; yield their addresses there, which stay.

    This machine is in it too, as one that none of the hosts has invited.
    """
    name = f"{new_prefix()}-private"
    try:
        yield join(name, *hosts)
    finally:
        part(name, *hosts)


def join(network: str, *hosts: Host) -> dict[str, str]:
    """Join hosts by a network; return their addresses there, which stay; whoever calls parts them, always."""
    # Below 10.216 there are networks that tests make inside of hosts.
    subnet = f"10.{random.randint(216, 250)}.{random.randint(0, 255)}"
    mtu = f"com.docker.network.driver.mtu={_default_mtu()}"
    made = ["docker", "network", "create", "--opt", mtu, "--subnet", f"{subnet}.0/24", network]
    subprocess.run(made, check=True, capture_output=True)
    addresses = {host.name: f"{subnet}.{number}" for number, host in enumerate(hosts, start=10)}
    for host, address in addresses.items():
        subprocess.run(
            ["docker", "network", "connect", "--ip", address, network, host], check=True, capture_output=True
        )  # fmt: skip
    return addresses


def part(network: str, *hosts: Host) -> None:
    """Part hosts that a network joins, and remove it; gone is fine."""
    for host in hosts:
        subprocess.run(
            ["docker", "network", "disconnect", "--force", network, host.name], check=False, capture_output=True
        )  # fmt: skip
    subprocess.run(["docker", "network", "rm", network], check=False, capture_output=True)


def start(host: Host) -> None:
    """Start a bare host and wait for it; whoever calls removes it, also where this fails."""
    image = images.ensure(IMAGES[host.release])
    _start(host, image)
    host.wait_ready()
    _configure(host)


def remove(name: str) -> None:
    """Remove a host with its volume and its network; gone is fine."""
    subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)
    subprocess.run(["docker", "network", "rm", name], check=False, capture_output=True)


def _start(host: Host, image: str) -> None:
    mtu = _default_mtu()
    subprocess.run(
        ["docker", "network", "create", "--opt", f"com.docker.network.driver.mtu={mtu}", host.name],
        check=True, capture_output=True,
    )  # fmt: skip
    environment = dict(proxies())
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # Since version 256 systemd asks for this where only the first version of control groups is there.
        environment["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE"] = "1"
    done = subprocess.run(
        [
            "docker", "run", "--detach", "--name", host.name, "--hostname", host.release, "--network", host.name,
            "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw", "--volume=/var/lib/docker",
            "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec", "--stop-signal=SIGRTMIN+3",
            *(f"--cap-add={capability}" for capability in _CAPABILITIES),
            *(f"--security-opt={option}" for option in _UNCONFINED),
            *(f"--env={name}={value}" for name, value in environment.items()),
            image, "sh", "-c", _INIT,
        ], check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"cannot start {host.name}: {done.stderr}"


def _configure(host: Host) -> None:
    """Give the host the way to packages that this machine has."""
    mirror = images.debian_mirror()
    suites = f"{host.release} {host.release}-updates"
    host.put(
        "/etc/apt/sources.list.d/debian.sources",
        f"Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
    )
    # Below the file that the host has unmounted the engine put an empty one, over any of the image.
    host.put("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    host.must("chmod 644 /etc/hosts")
    if settings := apt_settings():
        host.put("/etc/apt/apt.conf.d/80machine", settings)
    if settings := pip_settings():
        host.put("/etc/pip.conf", settings)
    for certificate in certificates():
        host.put(f"/usr/local/share/ca-certificates/{certificate.name}", certificate.read_bytes())
    host.must("update-ca-certificates")


def _default_mtu() -> int:
    """Return the MTU of this machine's default route; larger packets of a host would vanish. Source: proc(5)."""
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        device, destination, *_rest = line.split()
        if destination == "00000000":
            return int(Path(f"/sys/class/net/{device}/mtu").read_text(encoding="ascii"))
    return 1500


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
