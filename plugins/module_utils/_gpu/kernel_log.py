# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel has said of GPUs since the host started, from the journal or else from its ring buffer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone

from .facts import KernelLog, ModuleKind, Xid
from .host import Host
from .pci import normalise_address

#: Of the whole log of a busy host only what is read here is asked for.
_PATTERN = "NVRM|Loading of (unsigned )?module"
# Both exist since systemd 236, --grep and its status 1 for "nothing found" since 237.
_JOURNAL = (
    "journalctl", "--dmesg", "--boot", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE",
    f"--grep={_PATTERN}",
)  # fmt: skip
_JOURNALS = ("/var/log/journal", "/run/log/journal")
# util-linux 2.37, the one of Ubuntu 22.04, has no --json yet.
_RING_BUFFER = ("dmesg", "--kernel", "--time-format=iso")

_ADDRESS = r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.\d"
#: Old drivers leave out ``PCI:``, and all leave out the function of the address.
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): ([0-9]{1,9})(?:, (.*))?", re.DOTALL)
_FAILED = re.compile(r"NVRM: GPU ([0-9a-fA-F:.]+): (RmInitAdapter failed!.*)")
_REJECTED = re.compile(r"Loading of (unsigned module|module with unavailable key) is rejected")
# Sentences that the driver breaks into lines, each one an entry or all of them one.
_WANTED = re.compile(
    rf"The NVIDIA GPU ({_ADDRESS}) \(PCI ID: [^)]*\) installed in this system "
    "(is not supported by open nvidia.ko|requires use of the NVIDIA open kernel modules)"
)
_LEGACY = re.compile(
    "The NVIDIA (?:NVIDIA )?(.{1,60}?) GPU installed in this system is supported through the NVIDIA "
    r"(\d+(?:\.\d+)?)\.xx Legacy drivers"
)
_LONGEST = 200

#: Time in ISO 8601 and UTC, empty where nobody knows, and text.
Entry = tuple[str, str]


def read_kernel_log(host: Host) -> KernelLog:
    """Return what is known; nothing where neither the journal nor the ring buffer may be read."""
    done = host.ask(*_JOURNAL) if has_journal(host) else None
    # 1 with nothing said: there is no such entry. An older or lesser journalctl says why.
    if done is not None and (done.returncode == 0 or (done.returncode == 1 and not done.stderr.strip())):
        return judge_entries(parse_journal(done.stdout))
    done = host.ask(*_RING_BUFFER)
    if done is not None and done.returncode == 0:
        return judge_entries(parse_ring_buffer(done.stdout))
    return KernelLog()


def has_journal(host: Host) -> bool:
    """Tell whether the system's journal is there and for this user to read; to others journalctl shows nothing."""
    machines = [f"{folder}/{name}" for folder in _JOURNALS for name in host.list_names(folder)]
    return any(host.may_read(f"{folder}/system.journal") for folder in machines)


def parse_journal(text: str) -> Iterator[Entry]:
    """Yield the entries of ``journalctl --output=json``, one object a line. Source: journalctl(1)."""
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and (message := _message_of(entry.get("MESSAGE"))):
            yield _time_of(entry.get("__REALTIME_TIMESTAMP")), message


def parse_ring_buffer(text: str) -> Iterator[Entry]:
    """Yield the lines of ``dmesg --time-format=iso``: ``2026-11-21T10:00:00,123456+00:00 text``."""
    for line in text.split("\n"):
        time, _between, message = line.partition(" ")
        if not line:
            continue
        try:
            yield _in_utc(datetime.fromisoformat(time.replace(",", "."))), message
        except ValueError:
            yield "", line


def judge_entries(entries: Iterable[Entry]) -> KernelLog:
    """Return what entries in the order of time say; errors in the order in which they came first."""
    xids: dict[tuple[str, int], Xid] = {}
    failed: dict[str, str] = {}
    is_rejected, lines = False, []
    for time, message in entries:
        lines.append(message.replace("NVRM:", " "))
        if found := _FAILED.search(message):
            failed[normalise_address(found[1])] = found[2].strip()
        if found := _XID.search(message):
            _count(xids, time, found)
        is_rejected = is_rejected or bool(_REJECTED.search(message))
    said = " ".join(" ".join(lines).split())
    wanted = {normalise_address(address): _kind_of(verb) for address, verb in _WANTED.findall(said)}
    return KernelLog(True, tuple(xids.values()), wanted, failed, is_rejected, dict(_LEGACY.findall(said)))


def _kind_of(verb: str) -> ModuleKind:
    return "open" if verb.startswith("requires") else "proprietary"


def _count(xids: dict[tuple[str, int], Xid], time: str, found: re.Match[str]) -> None:
    address, code = normalise_address(found[1]), int(found[2])
    known = xids.get((address, code), Xid(code, address, 0, ""))
    message = " ".join((found[3] or "").split())[:_LONGEST]
    xids[address, code] = replace(known, count=known.count + 1, last_message=message, last_at=time or known.last_at)


def _message_of(value: object) -> str:
    # Bytes that are no text come as a list of numbers.
    if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, str) else ""


def _time_of(microseconds: object) -> str:
    try:
        return _in_utc(datetime.fromtimestamp(int(str(microseconds)) // 1_000_000, tz=timezone.utc))
    except (ValueError, OverflowError, OSError):
        return ""


def _in_utc(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
