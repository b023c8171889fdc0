# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hashes of passwords that programs read from their configuration."""

from __future__ import annotations

from .._errors import PlatformError

#: bcrypt reads no more; what is longer would be cut in silence.
LONGEST_BCRYPT_BYTES = 72

_MEND = "install the Debian packages python3-passlib and python3-bcrypt (with pip: libpass and bcrypt)"


def bcrypt_hash(password: str, *, cost: int) -> str:
    """Return the ``$2y$`` hash of ``password``: the spelling that Apache, nginx and Traefik all read.

    :raises PlatformError: it is longer than bcrypt reads, or the host cannot make such a hash.
    """
    size_bytes = len(password.encode())
    if size_bytes > LONGEST_BCRYPT_BYTES:
        raise PlatformError(
            f"Cannot make a bcrypt hash: the secret that it is of has {size_bytes} bytes and bcrypt reads "
            f"{LONGEST_BCRYPT_BYTES} of them; use a shorter one."
        )
    try:
        from passlib.exc import MissingBackendError
        from passlib.hash import bcrypt
    except ImportError:
        raise PlatformError(f"Cannot make a bcrypt hash: this host has no passlib; {_MEND}.") from None
    try:
        return str(bcrypt.using(rounds=cost, ident="2y").hash(password))
    except MissingBackendError:
        raise PlatformError(f"Cannot make a bcrypt hash: this host has no bcrypt; {_MEND}.") from None
    except ValueError:
        # passlib 1.7.4 tests its backend with a password of 73 bytes, which bcrypt 5 refuses, whatever ours is.
        raise PlatformError(
            f"Cannot make a bcrypt hash: this host's passlib does not work with its bcrypt; {_MEND}."
        ) from None
