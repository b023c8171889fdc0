# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one place that imports ``cryptography``: late, and with an error that says what to install."""

from __future__ import annotations

from .._errors import PlatformError


def require_cryptography(purpose: str) -> None:
    """Make sure that ``cryptography`` can be imported.

    :param purpose: completes *Cannot ...*, for the error.
    :raises PlatformError: this Python has none.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise PlatformError(
            f"Cannot {purpose}: this host's Python has no cryptography; "
            "install the Debian package python3-cryptography."
        ) from None
