# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a machine reaches a site without public DNS and public CA: names in its hosts file, the CA in its store."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .._errors import PlatformError
from .._files import FileState, read_state, telling, write_atomically
from .._run import Run

#: Where Debian and Ubuntu look for the authorities of this machine. Source: update-ca-certificates(8).
AUTHORITIES = "/usr/local/share/ca-certificates"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Wanted:
    """What one site wants of a machine. ``names`` empty: no block; ``certificate`` empty: no authority."""

    site: str
    address: str
    names: Sequence[str]
    certificate: str


@dataclass(frozen=True)
class Trust:
    """The plan: texts of what changes, and the contents that do it."""

    changes: Sequence[str]
    hosts: str | None = None
    #: None: as it is.
    authority: str | None = None
    refresh: bool = False


def plan_trust(wanted: Wanted, *, hosts_path: str, root: str = "") -> Trust:
    """Compare a machine with what the site wants of it."""
    changes = []
    with telling(f"read {hosts_path}"):
        before = _read(hosts_path)
        after = with_block(before, wanted)
        path = authority_path(wanted.site, root)
        authority, bundle = _read(path), _read(f"{root}{BUNDLE}")
        # A run that was killed after it took the file away has left the link to it, and with it the trust.
        is_stale = not wanted.certificate and os.path.lexists(_link_path(wanted.site, root))
    if after != before:
        changes.append(f"names of the site in {hosts_path}: {', '.join(wanted.names) or 'none'}")
    if authority != wanted.certificate:
        changes.append(f"{'trust' if wanted.certificate else 'trust no longer'} the site's CA ({path})")
    elif wanted.certificate.strip() not in bundle:
        changes.append(f"put the site's CA into {BUNDLE}")
    elif is_stale:
        changes.append(f"take the site's CA out of {BUNDLE}")
    return Trust(
        tuple(changes),
        hosts=after if after != before else None,
        authority=wanted.certificate if authority != wanted.certificate else None,
        refresh=authority != wanted.certificate or wanted.certificate.strip() not in bundle or is_stale,
    )


def apply_trust(trust: Trust, wanted: Wanted, *, hosts_path: str, run: Run, root: str = "") -> None:
    """Carry a plan out.

    :raises PlatformError: a file cannot be written, or update-ca-certificates fails.
    """
    if trust.hosts is not None:
        with telling(f"write {hosts_path}"):
            _write_hosts(hosts_path, trust.hosts)
    if trust.authority is not None:
        path = authority_path(wanted.site, root)
        with telling(f"write {path}"):
            if trust.authority:
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                write_atomically(path, FileState(trust.authority.encode(), 0o644, 0, 0))
            else:
                os.unlink(path)
    if trust.refresh:
        done = run(["update-ca-certificates", "--fresh"])
        if done.returncode:
            raise PlatformError(
                f"Cannot put the site's CA into the system's trust store: update-ca-certificates says "
                f"{done.stderr.strip()[-500:]!r}; mend that and run again."
            )


def authority_path(site: str, root: str = "") -> str:
    """Return the file that holds the site's CA."""
    return f"{root}{AUTHORITIES}/modelyard-site-{site}.crt"


def _link_path(site: str, root: str) -> str:
    """Return the link that update-ca-certificates(8) makes to the site's CA."""
    return f"{root}{os.path.dirname(BUNDLE)}/modelyard-site-{site}.pem"


def with_block(text: str, wanted: Wanted) -> str:
    """Return a hosts file with the site's block as wanted, and everything else as it was."""
    begin, end = (f"# {word} of the names of site {wanted.site}" for word in ("begin", "end"))
    block = f"{begin}\n{wanted.address} {' '.join(wanted.names)}\n{end}\n" if wanted.names else ""
    old = re.compile(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", re.MULTILINE | re.DOTALL)
    if old.search(text):
        return old.sub(lambda _found: block, text, count=1)
    if block and text and not text.endswith("\n"):
        text += "\n"
    return text + block


def _read(path: str) -> str:
    found = read_state(path)
    return "" if found is None else found.content.decode(errors="surrogateescape")


def _write_hosts(path: str, text: str) -> None:
    old = read_state(path)
    content = text.encode(errors="surrogateescape")
    state = FileState(content, old.mode, old.uid, old.gid) if old else FileState(content, 0o644, 0, 0)
    try:
        write_atomically(path, state)
    except OSError as error:
        # In a container the file is a mount, which no other file can take the place of.
        if error.errno != errno.EBUSY:
            raise
        with open(path, "wb") as stream:
            stream.write(content)
