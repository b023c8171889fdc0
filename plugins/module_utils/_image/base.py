# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bootstrapped base of packaged images: what it is made of, and the command that makes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError
from .inputs import RECIPE_FORMAT, digest_of, refuse_secrets, tag_of

#: All bases share one repository; its tag alone tells them apart.
BASE_NAME = "modelyard/base"

#: Suites that never have a security repository beside them.
ROLLING_SUITES = frozenset({"sid", "unstable", "experimental"})

VARIANTS = ("minbase", "apt", "required", "important", "buildd", "essential")

# What apt knows of each package index of this machine. Fields that apt has no value for stay as they are written
# here: ORIGIN and LABEL come from the Release file, which is absent before the first "apt-get update".
INDEX_FORMAT = "$(REPO_URI)|$(CODENAME)|$(RELEASE)|$(LABEL)"
INDEX_ARGV = ("apt-get", "indextargets", "--format", INDEX_FORMAT, "Created-By: Packages")

_SUITE = re.compile(r"[a-z][a-z0-9.-]{0,62}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:[=/][A-Za-z0-9.+:~-]+)?")
_COMPONENT = re.compile(r"[a-z][a-z0-9-]*")
_MIRROR = re.compile(r"(?:https?|file):/[^\s\[\]]+")
_CREDENTIALS = re.compile(r"://[^/]*@")


#: What a recipe's base is where it does not say, as :func:`parse_base` takes it.
BASE_DEFAULTS: dict[str, Any] = {
    "variant": "minbase",
    "components": ["main"],
    "packages": ["ca-certificates"],
    "path_excludes": [],
    "apt_options": [],
    "mirror": None,
    "security_mirror": None,
    "revision": "",
}


@dataclass(frozen=True)
class Base:
    """One base; equal data gives an equal reference on every host of the architecture."""

    suite: str
    variant: str
    components: tuple[str, ...]
    packages: tuple[str, ...]
    path_excludes: tuple[str, ...]
    apt_options: tuple[str, ...]
    mirror: str
    security_mirror: str
    revision: str
    architecture: str

    @property
    def inputs(self) -> dict[str, Any]:
        """What the reference is the digest of. The machine's own mirror is no input: its packages are the same."""
        return {
            "format": RECIPE_FORMAT,
            "suite": self.suite,
            "variant": self.variant,
            "components": list(self.components),
            "packages": sorted(self.packages),
            "path_excludes": sorted(self.path_excludes),
            "apt_options": list(self.apt_options),
            "mirror": [self.mirror, self.security_mirror],
            "revision": self.revision,
            "architecture": self.architecture,
        }

    @property
    def digest(self) -> str:
        return digest_of(self.inputs)

    @property
    def reference(self) -> str:
        return f"{BASE_NAME}:{tag_of(self.digest)}"


@dataclass(frozen=True)
class IndexTarget:
    """One package index of this machine's apt sources."""

    uri: str
    codename: str
    release: str
    label: str


def parse_base(data: Mapping[str, Any], *, architecture: str) -> Base:
    """Return the base that the module's ``base`` option describes.

    :raises PlatformError: a value cannot be what it says; before anything is run.
    """
    base = Base(
        suite=data["suite"],
        variant=data["variant"],
        components=tuple(data["components"]),
        packages=tuple(data["packages"]),
        path_excludes=tuple(data["path_excludes"]),
        apt_options=tuple(data["apt_options"]),
        mirror=data["mirror"] or "",
        security_mirror=data["security_mirror"] or "",
        revision=data["revision"],
        architecture=architecture,
    )
    _check_words("suite", [base.suite], _SUITE)
    _check_words("packages", base.packages, _PACKAGE)
    _check_words("components", base.components, _COMPONENT)
    _check_words("mirror", filter(None, [base.mirror]), _MIRROR)
    _check_words("security_mirror", filter(None, [base.security_mirror]), _MIRROR)
    for option, texts in (("path_excludes", base.path_excludes), ("apt_options", base.apt_options)):
        _check_lines(option, texts)
    return base


def _check_words(option: str, values: Any, pattern: re.Pattern[str]) -> None:
    for value in values:
        if _CREDENTIALS.search(value):
            raise PlatformError(
                f"Cannot build a base image: base.{option} holds a user or a password, which would stay in the image; "
                "give an address without them."
            )
        if not pattern.fullmatch(value):
            raise PlatformError(
                f"Cannot build a base image: base.{option} has {value!r}, which is no valid value; correct it."
            )


def _check_lines(option: str, texts: Sequence[str]) -> None:
    for text in texts:
        refuse_secrets(text, where=f"base.{option}")
        if not text.strip() or any(character in text for character in "\n\r\0"):
            raise PlatformError(
                f"Cannot build a base image: base.{option} has {text!r}, which is not one line; write one per item."
            )


def parse_index_targets(text: str) -> tuple[IndexTarget, ...]:
    """Return the machine's package indexes, from ``apt-get indextargets`` with :data:`INDEX_FORMAT`.

    Lines of another shape are left out: apt prints nothing else, but a wrapper may.
    """
    rows = (line.split("|") for line in text.splitlines())
    return tuple(IndexTarget(*(field.strip() for field in row)) for row in rows if len(row) == 4)


def choose_sources(base: Base, targets: Sequence[IndexTarget]) -> tuple[str, ...]:
    """Return the apt source lines of ``base``: its archive, and the security repository where there is one.

    What the base gives comes first; the rest is taken from the machine's own sources, so that a company's mirror
    set up there is used here too.

    :raises PlatformError: neither names an archive, or the machine's address holds a password.
    """
    mirror = base.mirror or _find_archive(base.suite, targets)
    security = base.security_mirror
    if not base.mirror and not security and base.suite not in ROLLING_SUITES:
        security = next((target.uri for target in targets if target.codename.endswith("-security")), "")
    for address in filter(None, (mirror, security)):
        if _CREDENTIALS.search(address):
            raise PlatformError(
                "Cannot build a base image: this machine's apt sources hold a user or a password in an address, which "
                "would stay in the image; set base.mirror and base.security_mirror to addresses without them."
            )
    components = " ".join(base.components)
    lines = [f"deb {mirror} {base.suite} {components}"]
    if security:
        lines.append(f"deb {security} {base.suite}-security {components}")
    return tuple(lines)


def _find_archive(suite: str, targets: Sequence[IndexTarget]) -> str:
    exact = (target for target in targets if suite in (target.codename, target.release))
    # Any other suite of the same distribution is below the same address.
    distribution = (target for target in targets if target.label in ("Debian", "Ubuntu") and "-" not in target.codename)
    for target in (*exact, *distribution):
        return target.uri
    found = ", ".join(sorted({target.uri for target in targets})) or "nothing"
    raise PlatformError(
        f"Cannot build a base image of {suite}: this machine's apt sources name no archive that could have it "
        f"(found: {found}); set base.mirror."
    )


def bootstrap_argv(base: Base, sources: Sequence[str], *, tar_path: str) -> tuple[str, ...]:
    """Return the command that writes ``base`` to ``tar_path``.

    To a file, never to a pipe: ``docker import -`` makes an empty image from a bootstrap that failed.
    mmdebstrap leaves both kinds of options in the image, so that ``apt-get`` in a recipe obeys them too.
    """
    return (
        "mmdebstrap",
        "--format=tar",
        f"--variant={base.variant}",
        *([f"--include={','.join(base.packages)}"] if base.packages else []),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in base.path_excludes),
        *(f"--aptopt={option}" for option in base.apt_options),
        base.suite,
        tar_path,
        *sources,
    )
