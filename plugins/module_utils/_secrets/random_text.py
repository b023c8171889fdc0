# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random text from the kernel's generator."""

from __future__ import annotations

import base64
import secrets


def random_text(alphabet: str, length: int) -> str:
    """Return ``length`` characters of ``alphabet``; the first is a letter or digit.

    A value that starts with ``-`` is taken for an option by many programs, one that starts with ``#``,
    ``@`` or ``*`` is read as something else by some configuration files.
    """
    plain = "".join(filter(str.isalnum, alphabet))
    return secrets.choice(plain) + "".join(secrets.choice(alphabet) for _number in range(length - 1))


def random_base64(size_bytes: int, *, altchars: bytes | None = None) -> str:
    """Return ``size_bytes`` random bytes in base64, padded."""
    return base64.b64encode(secrets.token_bytes(size_bytes), altchars).decode("ascii")
