# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secret values for one run: the store's current versions, or those that a release pinned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .._errors import PlatformError
from .._secrets.references import Reference, find_references, resolve
from .._secrets.store import SecretStore


class SecretSource:
    """Resolves references against one store, which is read when the first value is needed."""

    def __init__(
        self,
        path: str,
        pinned: Mapping[str, int] | None = None,
        read: list[SecretStore] | None = None,
        *,
        may_lack: bool = False,
    ) -> None:
        """Resolve against the store at ``path``.

        :param may_lack: in check mode a secret may be one that an earlier task would make: it stands for itself, and
            :meth:`lacking` names it.
        """
        self._path = path
        self._pinned = pinned
        self._may_lack = may_lack
        self._lacking: set[str] = set()
        #: The store once it is read; shared with all that were pinned, so that each masks what another one gave.
        self._read: list[SecretStore] = [] if read is None else read

    @property
    def store(self) -> SecretStore:
        """The store as it was when it was first needed: one run sees one state of it."""
        if not self._read:
            self._read.append(SecretStore.load(self._path))
        return self._read[0]

    def pin(self, versions: Mapping[str, int]) -> SecretSource:
        """Return a source that gives these versions."""
        return SecretSource(self._path, versions, self._read)

    def lookup(self, reference: Reference) -> str:
        """Return the value of a reference.

        :raises PlatformError: there is no such secret, version or part.
        """
        if self._lacks(reference.name):
            return str(reference)
        return self.store.value(reference.name, reference.part, self.version(reference.name))

    def lacking(self) -> list[str]:
        """Return the secrets that were asked for and that are not in the store."""
        return sorted(self._lacking)

    def _lacks(self, name: str) -> bool:
        if self._may_lack and name not in self.store.secrets:
            self._lacking.add(name)
        return name in self._lacking

    def version(self, name: str) -> int:
        if self._lacks(name):
            return 0
        if self._pinned is not None and name in self._pinned:
            return self._pinned[name]
        return self.store.current_version(name)

    def versions(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the version of every secret that the texts refer to."""
        names = {reference.name for text in texts for reference in find_references(text)}
        return {name: self.version(name) for name in sorted(names)}

    def resolve_model(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model with values in place; ``$`` doubled, as Compose reads it once more."""
        text = json.dumps(model, ensure_ascii=False)
        resolved: dict[str, Any] = json.loads(resolve(text, self.lookup, _escape_in_model))
        return resolved

    def mask(self, text: str) -> str:
        """Return ``text`` without any value of the store, for messages that quote programs.

        A store that nobody has read has given no value that a program could repeat.
        """
        if not self._read:
            return text
        from .._secrets.masking import mask, secret_values

        return mask(text, secret_values(self.store))

    @contextmanager
    def masked_errors(self) -> Iterator[None]:
        """Take values out of the text of every error of ours: programs that get values may quote them."""
        try:
            yield
        except PlatformError as error:
            error.args = (self.mask(str(error)),)
            raise

    def mask_texts(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return a module's result with values taken out of what programs said in it."""
        quoting = {key: [self.mask(text) for text in result[key]] for key in ("warnings", "notes") if key in result}
        return {**result, **quoting}


def _escape_in_model(value: str) -> str:
    return json.dumps(value.replace("$", "$$"), ensure_ascii=False)[1:-1]
