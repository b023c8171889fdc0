# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the codes of Xid errors mean, and who has to do something about them.

Source: NVIDIA's Xid catalogue, https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .facts import Severity, Xid

RESET = "stop what uses it and reset it (nvidia-smi --gpu-reset -i {address}), or reboot the host"
_PROGRAM = "look for a fault in the program that used it"
REBOOT = "reboot the host, and look at power, seating and temperature of the card if it comes back"
_SUPPORT = "reset it or reboot the host, and have the card looked at if it comes back"
_WATCH = "watch whether it comes back, and reset it or have the card looked at if it does"
_UPDATE = "reset it or reboot the host, and move to another version of the driver if it comes back"

#: Ends the message of code 154.
_RECOVERY = re.compile(r"\bto 0x[0-9a-fA-F]+ \(([^)]+)\)")


@dataclass(frozen=True)
class Meaning:
    """What a code says of a card, and what to do; ``{address}`` in ``fix`` stands for the card."""

    severity: Severity
    text: str
    fix: str


MEANINGS = {
    8: Meaning("warning", "it stopped processing", _PROGRAM),
    13: Meaning("info", "a program caused an exception of the graphics engine", _PROGRAM),
    31: Meaning("info", "a program used memory that is not its own", _PROGRAM),
    32: Meaning("warning", "it was given damaged commands", _WATCH),
    38: Meaning("warning", "the driver's firmware failed", _UPDATE),
    43: Meaning("info", "a program was stopped after a fault of its own", _PROGRAM),
    45: Meaning("info", "work was removed when its program ended or failed", _PROGRAM),
    46: Meaning("error", "it stopped processing and does not go on", RESET),
    48: Meaning("error", "its memory has an error that cannot be corrected", RESET),
    61: Meaning("warning", "its power management stopped at a breakpoint", _UPDATE),
    62: Meaning("error", "its power management halted", RESET),
    63: Meaning("warning", "a part of its memory is to be replaced by a spare one at its next reset", RESET),
    64: Meaning("error", "a part of its memory could not be replaced by a spare one", _SUPPORT),
    68: Meaning("info", "its video decoder failed", _PROGRAM),
    69: Meaning("info", "a program gave the graphics engine what it does not understand", _PROGRAM),
    74: Meaning("error", "a link to other GPUs (NVLink) failed", _SUPPORT),
    79: Meaning("error", "it has fallen off the bus", REBOOT),
    92: Meaning("warning", "its memory has many errors that could be corrected", _WATCH),
    94: Meaning("warning", "an error of its memory ended the program that used it", _WATCH),
    95: Meaning("error", "an error of its memory may have harmed every program that used it", RESET),
    109: Meaning("warning", "changing from one program to another took too long", _UPDATE),
    119: Meaning("error", "its system processor (GSP) does not answer the driver", _UPDATE),
    120: Meaning("error", "its system processor (GSP) failed", _UPDATE),
    121: Meaning("warning", "its link to the processor (C2C) had errors", _WATCH),
    140: Meaning("error", "its memory has errors that cannot be corrected", RESET),
    143: Meaning("error", "it could not be set up", REBOOT),
}  # fmt: skip
_UNKNOWN = Meaning("warning", "its driver told an error that is not known here", "look it up in NVIDIA's Xid catalogue")


def explain(xid: Xid) -> Meaning:
    """Return what an error means. That of a changed recovery action (154) is in its message: ``to 0x1 (...)``."""
    if xid.code == 154 and (action := _RECOVERY.search(xid.last_message)):
        if action[1] == "None":
            return Meaning("info", "it had to be recovered, and has been", "nothing is to be done")
        return Meaning("error", f"its driver asks for {action[1]!r}", RESET)
    return MEANINGS.get(xid.code, _UNKNOWN)
