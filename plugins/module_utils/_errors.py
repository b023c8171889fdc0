# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception that a user of the collection is meant to read."""

from __future__ import annotations


class PlatformError(Exception):
    """Something that the user can mend; the text is the whole message.

    Its form is *Cannot <do> <object>: <cause with the found value>; <what to do>*.
    It never holds a secret: whoever raises it masks first.
    """
