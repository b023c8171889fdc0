# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of secrets as a table: which options each has, and what it can be made from.

It is read on every run; how a kind is made stands in ``making``, which is imported only when one is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import OptionValue


@dataclass(frozen=True)
class Kind:
    """One kind of secret."""

    #: Options with what they are when a declaration leaves them out.
    defaults: Mapping[str, OptionValue] = field(default_factory=dict)
    #: Options that a declaration must give.
    required: tuple[str, ...] = ()
    #: Smallest and largest value of numeric options.
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    #: Kinds that ``of`` may name; empty for what is made from nothing. None of them is derived itself.
    source_kinds: frozenset[str] = frozenset()

    @property
    def is_derived(self) -> bool:
        """Whether it is made from another secret, and made again when that one changes."""
        return bool(self.source_kinds)

    @property
    def option_names(self) -> frozenset[str]:
        """Every option that a declaration of this kind may hold."""
        return frozenset([*self.defaults, *self.required])


#: Kinds that are one text: their value can be given, and a hash can be made of them.
TEXT_KINDS = frozenset({"password", "hex", "base64", "token", "uuid", "fernet", "django_key", "api_key"})

#: Lengths are those of the hand-made deployments that this collection replaces, where they are strong.
KINDS: Mapping[str, Kind] = {
    "password": Kind({"length": 20}, limits={"length": (12, 1024)}),
    "hex": Kind({"length": 40}, limits={"length": (32, 1024)}),
    "base64": Kind({"length": 32}, limits={"length": (16, 1024)}),
    "token": Kind({"length": 32}, limits={"length": (20, 1024)}),
    "uuid": Kind(),
    "fernet": Kind(),
    "django_key": Kind({"length": 50}, limits={"length": (50, 1024)}),
    "api_key": Kind({"length": 40}, limits={"length": (32, 1024)}),
    # An edge checks the hash on every request, so the cost is below that of a login form.
    "bcrypt": Kind({"cost": 10}, ("of",), {"cost": (5, 15)}, TEXT_KINDS),
    "htpasswd": Kind({"cost": 10}, ("of", "user"), {"cost": (5, 15)}, TEXT_KINDS),
    "ed25519": Kind(),
    "rsa": Kind({"bits": 3072}, limits={"bits": (2048, 8192)}),
    "rustdesk_key": Kind(),
    "x509_ca": Kind({"common_name": "modelyard CA", "days": 3650}, limits={"days": (365, 36500)}),
    "x509_leaf": Kind({"days": 365}, ("of", "names"), {"days": (60, 825)}, frozenset({"x509_ca"})),
}
