# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How this machine reaches packages, so that a test host can do the same: proxy, certificates, apt, pip's index.

A machine on the open internet has none of it, and a host gets none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

#: Where Debian takes an administrator's own authorities from. Source: update-ca-certificates(8).
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_APT = re.compile(r'Acquire::(?:https?|Retries|Check-Valid-Until)\b.* ".+";')
_PIP = {"index-url", "extra-index-url", "proxy", "cert"}


def proxies() -> dict[str, str]:
    """Return the proxy variables of this process."""
    return {name: os.environ[name] for name in _PROXIES if os.environ.get(name)}


def certificates() -> list[Path]:
    """Return the authorities that this machine's administrator added; a site's own come and go."""
    found = sorted(_CERTIFICATES.glob("**/*.crt")) if _CERTIFICATES.is_dir() else []
    return [path for path in found if not path.name.startswith("modelyard-site-")]


def apt_settings() -> str:
    """Return apt's settings for its downloads, as a file of them has it."""
    shown = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True).stdout
    return "".join(f"{line}\n" for line in shown.splitlines() if _APT.fullmatch(line))


def pip_settings() -> str:
    """Return pip's settings for its downloads, as ``pip.conf`` has it; folders of this machine are no index."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    values: dict[str, str] = {}
    for line in listed.splitlines():
        key, _equals, value = line.partition("=")
        name = key.rpartition(".")[2]
        words = [word for word in value.strip("'").split() if not word.startswith("file:")]
        if name in _PIP and words:
            values[name] = " ".join(words)
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()) if values else ""
