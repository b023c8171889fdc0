# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of an error that nobody foresaw."""

from __future__ import annotations

import os
import traceback


def describe_bug(error: BaseException) -> str:
    """Return the kind of an unforeseen error and the place where it was raised, without its text.

    A traceback quotes values (``KeyError('hunter2')``), and a value may be a secret.
    """
    places = [
        f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    return (
        f"unforeseen {type(error).__name__} at {' > '.join(places[-4:])}; this is a bug of modelyard.platform, "
        "report it with these places (the text of the error is left out, it may hold a secret)."
    )
