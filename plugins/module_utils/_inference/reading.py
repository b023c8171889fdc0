# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading data that people write, with words for what is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import PlatformError


class Reader:
    """One mapping of the inventory; ``doing`` completes every error."""

    def __init__(self, found: Mapping[str, Any], doing: str) -> None:
        self.found = found
        self.doing = doing

    def wrong(self, cause: str, remedy: str) -> PlatformError:
        """Return the error for what cannot be meant."""
        return PlatformError(f"{self.doing}: {cause}; {remedy}.")

    def only(self, known: Sequence[str]) -> None:
        """Refuse a key that nobody reads, such as a misspelt one.

        :raises PlatformError: names it, and those that there are.
        """
        if unknown := sorted(str(key) for key in self.found.keys() - set(known)):
            raise self.wrong(
                f"it has no option {', '.join(map(repr, unknown))}", f"known are {', '.join(sorted(known))}"
            )

    def text(self, key: str, default: str = "", *, form: re.Pattern[str] | None = None, meant: str = "a text") -> str:
        """Return a text.

        :raises PlatformError: it is none, or not of the form.
        """
        value = self.found.get(key)
        if value is None:
            value = default
        if not isinstance(value, str) or (form is not None and not form.fullmatch(value)):
            raise self.wrong(f"{key} is {value!r:.80}", f"give {meant}")
        return str(value)

    def number(self, key: str, default: float, *, least: float, most: float) -> float:
        """Return a number.

        :raises PlatformError: it is none, or too small or too large.
        """
        value = self.found.get(key)
        if value is None:
            return default
        if isinstance(value, str) and re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise self.wrong(f"{key} is {value!r:.80}", f"give a number from {least} to {most}")
        return value

    def truth(self, key: str, default: bool) -> bool:
        """Return yes or no.

        :raises PlatformError: it is neither.
        """
        value = self.found.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(f"{key} is {value!r:.80}", "give true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, empty where nothing is said.

        :raises PlatformError: it is no such list.
        """
        value = self.found.get(key) or []
        if not isinstance(value, list) or not all(isinstance(one, (str, int, float)) for one in value):
            raise self.wrong(f"{key} is {value!r:.80}", "give a list of texts")
        return tuple(str(one) for one in value)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return a mapping, empty where nothing is said.

        :raises PlatformError: it is none.
        """
        value = self.found.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(f"{key} is {value!r:.80}", "give a mapping")
        return value
