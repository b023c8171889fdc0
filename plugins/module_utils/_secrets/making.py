# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a version of each kind of secret is made. Imported only when one is made; keys and hashes later still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .random_text import random_base64, random_text
from .store import OptionValue, Version

LETTERS_AND_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Material:
    """What a new version consists of: secret parts, public parts, and which of them is the main one."""

    secret: Mapping[str, str] = field(repr=False)
    public: Mapping[str, str] = field(default_factory=dict)
    main: str = "value"
    expires: int | None = None


@dataclass(frozen=True)
class Ingredients:
    """What a version is made from: every option of the kind, the source's version (derived kinds), the time."""

    options: Mapping[str, OptionValue]
    now: int
    source: Version | None = None


def _from_alphabet(alphabet: str) -> Callable[[Ingredients], Material]:
    def make(ingredients: Ingredients) -> Material:
        return Material({"value": random_text(alphabet, _number(ingredients, "length"))})

    return make


def _number(ingredients: Ingredients, option: str) -> int:
    value = ingredients.options[option]
    return value if isinstance(value, int) else int(str(value))


def _make_base64(ingredients: Ingredients) -> Material:
    return Material({"value": random_base64(_number(ingredients, "length"))})


def _make_uuid(_ingredients: Ingredients) -> Material:
    import uuid

    return Material({"value": str(uuid.uuid4())})


def _make_fernet(_ingredients: Ingredients) -> Material:
    return Material({"value": random_base64(32, altchars=b"-_")})


def _make_api_key(ingredients: Ingredients) -> Material:
    return _adopt_api_key(_from_alphabet(LETTERS_AND_DIGITS)(ingredients).secret["value"])


def _adopt_api_key(value: str) -> Material:
    import hashlib

    # The digest is a secret part: a key that a user gave may be short enough to be guessed from it.
    return Material({"value": value, "sha256": hashlib.sha256(value.encode()).hexdigest()})


def _make_bcrypt(ingredients: Ingredients) -> Material:
    from .password_hashes import bcrypt_hash

    return Material({"value": bcrypt_hash(_source_value(ingredients), cost=_number(ingredients, "cost"))})


def _make_htpasswd(ingredients: Ingredients) -> Material:
    from .password_hashes import bcrypt_hash

    hashed = bcrypt_hash(_source_value(ingredients), cost=_number(ingredients, "cost"))
    return Material({"value": f"{ingredients.options['user']}:{hashed}", "hash": hashed})


def _source_value(ingredients: Ingredients) -> str:
    return _source(ingredients).secret["value"]


def _source(ingredients: Ingredients) -> Version:
    if ingredients.source is None:
        raise ValueError("a derived kind was made without its source")
    return ingredients.source


def _make_ed25519(_ingredients: Ingredients) -> Material:
    from .keys import make_ed25519

    return make_ed25519()


def _make_rsa(ingredients: Ingredients) -> Material:
    from .keys import make_rsa

    return make_rsa(bits=_number(ingredients, "bits"))


def _make_rustdesk_key(_ingredients: Ingredients) -> Material:
    from .keys import make_rustdesk_key

    return make_rustdesk_key()


def _make_ca(ingredients: Ingredients) -> Material:
    from .certificates import make_ca

    return make_ca(
        common_name=str(ingredients.options["common_name"]), days=_number(ingredients, "days"), now=ingredients.now
    )


def _make_leaf(ingredients: Ingredients) -> Material:
    from .certificates import make_leaf

    names = ingredients.options["names"]
    return make_leaf(
        names=names if isinstance(names, tuple) else (str(names),),
        days=_number(ingredients, "days"),
        now=ingredients.now,
        ca=_source(ingredients),
    )


#: How each kind is made. Its keys are those of the table in ``kinds``.
MAKE: Mapping[str, Callable[[Ingredients], Material]] = {
    "password": _from_alphabet(LETTERS_AND_DIGITS),
    "hex": _from_alphabet("0123456789abcdef"),
    "base64": _make_base64,
    "token": _from_alphabet(f"{LETTERS_AND_DIGITS}-_"),
    "uuid": _make_uuid,
    "fernet": _make_fernet,
    # The characters of django.core.management.utils.get_random_secret_key.
    "django_key": _from_alphabet("abcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*(-_=+)"),
    "api_key": _make_api_key,
    "bcrypt": _make_bcrypt,
    "htpasswd": _make_htpasswd,
    "ed25519": _make_ed25519,
    "rsa": _make_rsa,
    "rustdesk_key": _make_rustdesk_key,
    "x509_ca": _make_ca,
    "x509_leaf": _make_leaf,
}


def make(kind: str, ingredients: Ingredients) -> Material:
    """Return a new version of a secret of this kind.

    :raises PlatformError: the host lacks what it is made with; names the package.
    """
    return MAKE[kind](ingredients)


def adopt(kind: str, value: str) -> Material:
    """Return a version of a secret of this kind with a given value."""
    return _adopt_api_key(value) if kind == "api_key" else Material({"value": value})
