# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secret store: one root-only JSON file that holds a host's secrets in all their kept versions.

Nothing here needs more than the standard library, and nothing here makes a secret. A store is a value:
a change gives a new one, and ``store_change`` writes it.

Form of the file (``main`` names the part that a reference without part means)::

    {"format": 1,
     "host_key": {"private": "...", "public": "..."},
     "secrets": {"db_password": {"kind": "password", "current": 2, "versions": {
        "2": {"main": "value", "secret": {"value": "..."}, "public": {}, "origin": "generated",
              "options": {"length": 20}, "created": 1790000000, "expires": null, "source_version": null}}}}}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from .._errors import PlatformError
from .references import is_name, is_part
from .store_file import StoreText, damaged, read_store_text

DEFAULT_PATH = "/etc/modelyard/secrets.json"
ORIGINS = frozenset({"generated", "given", "derived", "sealed"})

#: Option values as a declaration gives them: numbers, texts, lists of names.
OptionValue: TypeAlias = "int | str | tuple[str, ...]"


@dataclass(frozen=True)
class Version:
    """One version of a secret; never changed once it is written."""

    main: str
    secret: Mapping[str, str] = field(repr=False)
    public: Mapping[str, str]
    origin: str
    options: Mapping[str, OptionValue]
    created: int
    expires: int | None = None
    source_version: int | None = None

    def part(self, name: str | None) -> str | None:
        """Return the value of a part (of the main one for None); None where there is no such part."""
        wanted = name or self.main
        return self.secret.get(wanted, self.public.get(wanted))


@dataclass(frozen=True)
class Secret:
    """All kept versions of one secret."""

    kind: str
    current: int
    versions: Mapping[int, Version]

    @property
    def newest(self) -> int:
        """The highest version that is kept; the next one is one more."""
        return max(self.versions)

    def with_version(self, number: int, version: Version, *, kind: str) -> Secret:
        """Return it with one more version, which becomes the current one."""
        return Secret(kind, number, {**self.versions, number: version})


@dataclass(frozen=True)
class HostKey:
    """The X25519 pair (base64) to which other hosts seal what this host may know."""

    private: str = field(repr=False)
    public: str


@dataclass(frozen=True)
class SecretStore:
    """What the store at ``path`` holds. ``text`` is the file as read, None where there is none yet."""

    path: str
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    host_key: HostKey | None = None
    text: StoreText | None = field(default=None, repr=False, compare=False)

    @classmethod
    def load(cls, path: str = DEFAULT_PATH) -> SecretStore:
        """Return the store at ``path``, an empty one where there is no file. Takes no lock, moves no time stamp.

        :raises PlatformError: the file or its folder is open to others, of a foreign owner, a link,
            damaged or of a newer format; the text says how to mend it.
        """
        text = read_store_text(path)
        return cls(path) if text is None else parse_store(text, path)

    def names(self) -> list[str]:
        """Return the names of all secrets, sorted."""
        return sorted(self.secrets)

    def current_version(self, name: str) -> int:
        """Return the number of the version that a reference without release means.

        :raises PlatformError: there is no such secret.
        """
        return self.secret(name).current

    def secret(self, name: str) -> Secret:
        """Return a secret with all its versions.

        :raises PlatformError: there is no such secret.
        """
        if name not in self.secrets:
            raise PlatformError(
                f"Cannot use secret '{name}': it is not in the store {self.path}; "
                "declare it with modelyard.platform.secrets first."
            )
        return self.secrets[name]

    def version(self, name: str, number: int | None = None) -> Version:
        """Return one version of a secret, the current one for None.

        :raises PlatformError: there is no such secret or version.
        """
        secret = self.secret(name)
        wanted = secret.current if number is None else number
        if wanted not in secret.versions:
            kept = ", ".join(str(kept) for kept in sorted(secret.versions))
            raise PlatformError(
                f"Cannot use version {wanted} of secret '{name}': the store {self.path} keeps version {kept}; "
                "use one of these."
            )
        return secret.versions[wanted]

    def value(self, name: str, part: str | None = None, version: int | None = None) -> str:
        """Return the value of a secret, of its main part unless ``part`` says which.

        :raises PlatformError: there is no such secret, version or part.
        """
        found = self.version(name, version)
        value = found.part(part)
        if value is None:
            parts = ", ".join(sorted([*found.secret, *found.public]))
            raise PlatformError(
                f"Cannot use part '{part}' of secret '{name}': a secret of kind '{self.secrets[name].kind}' "
                f"has the parts {parts}; refer to one of these."
            )
        return value

    def with_secret(self, name: str, secret: Secret) -> SecretStore:
        """Return the store with ``secret`` under ``name``."""
        return replace(self, secrets={**self.secrets, name: secret})

    def without_secrets(self, names: Iterable[str]) -> SecretStore:
        """Return the store without these secrets; one that is not there is no error."""
        gone = frozenset(names)
        return replace(self, secrets={name: secret for name, secret in self.secrets.items() if name not in gone})


def parse_store(text: StoreText, path: str) -> SecretStore:
    """Return what a store's file holds.

    :raises PlatformError: it is damaged; the message quotes no content.
    """
    document = text.document
    try:
        host_key = _parse_host_key(document.get("host_key"))
        secrets = {_checked(name, is_name(name)): parse_secret(entry) for name, entry in document["secrets"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        # The cause may quote what stands in the file, so it is not passed on.
        raise damaged(path, "it is JSON, but not a secret store's") from None
    return SecretStore(path, secrets, host_key, text)


def parse_secret(entry: Any) -> Secret:
    """Return the secret of a JSON form.

    :raises KeyError, TypeError, ValueError, AttributeError: it is none; the caller knows what to say.
    """
    versions = {int(number): parse_version(version) for number, version in entry["versions"].items()}
    current = _number(entry["current"])
    return Secret(_text(entry["kind"]), _checked(current, current in versions and min(versions) > 0), versions)


def parse_version(entry: Any) -> Version:
    """Return the version of a JSON form.

    :raises KeyError, TypeError, ValueError, AttributeError: it is none; the caller knows what to say.
    """
    secret, public = _parse_parts(entry["secret"]), _parse_parts(entry["public"])
    main = entry["main"]
    return Version(
        main=_checked(main, main in secret or main in public),
        secret=secret,
        public=public,
        origin=_checked(entry["origin"], entry["origin"] in ORIGINS),
        options={_text(name): _parse_option(value) for name, value in entry["options"].items()},
        created=_number(entry["created"]),
        expires=_number_or_none(entry["expires"]),
        source_version=_number_or_none(entry["source_version"]),
    )


def _parse_host_key(entry: Any) -> HostKey | None:
    return None if entry is None else HostKey(private=_text(entry["private"]), public=_text(entry["public"]))


def _parse_parts(entry: Any) -> dict[str, str]:
    return {_checked(name, is_part(name)): _text(value) for name, value in entry.items()}


def _parse_option(value: Any) -> OptionValue:
    if isinstance(value, list):
        return tuple(_text(item) for item in value)
    return value if isinstance(value, str) else _number(value)


def _text(value: Any) -> str:
    return str(_checked(value, isinstance(value, str)))


def _number(value: Any) -> int:
    return int(_checked(value, isinstance(value, int) and not isinstance(value, bool)))


def _number_or_none(value: Any) -> int | None:
    return None if value is None else _number(value)


def _checked(value: Any, is_valid: bool) -> Any:
    if not is_valid:
        raise ValueError
    return value
