# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong with what the gateway is given."""

from __future__ import annotations


class GatewayError(Exception):
    """Something that an operator can mend; the text is the whole message and holds no key.

    Its form is *Cannot <do> <object>: <cause with the found value>; <what to do>*.
    """
