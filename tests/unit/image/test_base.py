# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The base: its digest, where its packages come from, the command that makes it."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.base import (
    bootstrap_argv,
    choose_sources,
    parse_index_targets,
)

from .image_examples import make_base

# Recorded on Debian 12 with apt 2.6; addresses replaced.
TARGETS = """\
http://mirror.test/debian/|bookworm|bookworm|Debian
http://mirror.test/debian/|bookworm-updates|bookworm-updates|Debian
http://mirror.test/debian-security/|bookworm-security|bookworm-security|Debian-Security
http://other.test/tools/|tools|tools|Tools
"""


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "sid"},
        {"variant": "apt"},
        {"components": ["main", "contrib"]},
        {"packages": ["ca-certificates", "python3"]},
        {"path_excludes": ["/usr/share/doc/*"]},
        {"apt_options": ['Acquire::Check-Valid-Until "false"']},
        {"mirror": "http://mirror.test/debian"},
        {"security_mirror": "http://mirror.test/debian-security"},
        {"revision": "2"},
        {"architecture": "aarch64"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_input_moves_the_reference(change: dict[str, object]) -> None:
    assert make_base(**change).reference != make_base().reference  # type: ignore[arg-type]


def test_the_order_of_packages_is_no_input() -> None:
    assert make_base(packages=["b1", "a1"]).reference == make_base(packages=["a1", "b1"]).reference


def test_reference_is_the_one_that_hosts_already_have() -> None:
    # A literal: another value means that every host builds every image again. Then raise RECIPE_FORMAT knowingly.
    assert make_base().reference == "modelyard/base:18b2ecf238da66da"


def test_sources_are_the_machines_own_with_their_security_repository() -> None:
    assert choose_sources(make_base(), parse_index_targets(TARGETS)) == (
        "deb http://mirror.test/debian/ trixie main",
        "deb http://mirror.test/debian-security/ trixie-security main",
    )


def test_a_machine_that_has_the_suite_from_elsewhere_takes_it_from_there() -> None:
    targets = parse_index_targets(TARGETS + "http://new.test/debian/|trixie|trixie|Debian\n")
    assert choose_sources(make_base(), targets)[0] == "deb http://new.test/debian/ trixie main"


def test_sources_work_before_the_first_update_of_apt_where_the_suite_is_named() -> None:
    targets = parse_index_targets("http://mirror.test/debian/|$(CODENAME)|trixie|$(LABEL)\n")
    assert choose_sources(make_base(), targets) == ("deb http://mirror.test/debian/ trixie main",)


def test_sid_has_no_security_repository() -> None:
    assert choose_sources(make_base(suite="sid"), parse_index_targets(TARGETS)) == (
        "deb http://mirror.test/debian/ sid main",
    )


def test_a_given_mirror_is_used_alone_or_with_its_own_security_repository() -> None:
    targets = parse_index_targets(TARGETS)
    alone = make_base(mirror="https://own.test/d", components=["main", "contrib"])
    both = make_base(mirror="https://own.test/d", security_mirror="https://own.test/s")
    assert choose_sources(alone, targets) == ("deb https://own.test/d trixie main contrib",)
    assert choose_sources(both, targets)[1] == "deb https://own.test/s trixie-security main"


def test_a_machine_without_an_archive_is_told_to_name_one() -> None:
    with pytest.raises(PlatformError) as caught:
        choose_sources(make_base(), parse_index_targets("http://other.test/tools/|tools|tools|Tools\n"))
    assert str(caught.value) == (
        "Cannot build a base image of trixie: this machine's apt sources name no archive that could have it "
        "(found: http://other.test/tools/); set base.mirror."
    )


def test_a_password_in_the_machines_sources_is_not_put_into_an_image() -> None:
    with pytest.raises(PlatformError) as caught:
        choose_sources(make_base(), parse_index_targets("http://me:hush@mirror.test/debian/|trixie|trixie|Debian\n"))
    assert str(caught.value) == (
        "Cannot build a base image: this machine's apt sources hold a user or a password in an address, which would "
        "stay in the image; set base.mirror and base.security_mirror to addresses without them."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"suite": "Trixie stable"},
            "Cannot build a base image: base.suite has 'Trixie stable', which is no valid value; correct it.",
        ),
        (
            {"packages": ["jq --evil"]},
            "Cannot build a base image: base.packages has 'jq --evil', which is no valid value; correct it.",
        ),
        (
            {"packages": ["-oX=y"]},
            "Cannot build a base image: base.packages has '-oX=y', which is no valid value; correct it.",
        ),
        (
            {"mirror": "http://me:hush@mirror.test/debian"},
            (
                "Cannot build a base image: base.mirror holds a user or a password, which would stay in the image; "
                "give an "
                "address without them."
            ),
        ),
        (
            {"apt_options": ['A::B "1";\nC::D "2"']},
            (
                'Cannot build a base image: base.apt_options has \'A::B "1";\\nC::D "2"\', which is not one line; '
                "write one "
                "per item."
            ),
        ),
        (
            {"apt_options": ["Acquire::http::Proxy @@secret:proxy@@"]},
            (
                "Cannot build an image: base.apt_options holds a secret reference, and whatever a build reads can be "
                "read from "
                "the image; give the secret to the running service as a file instead."
            ),
        ),
    ],
    ids=["suite", "package with a space", "package as option", "mirror with password", "two lines", "secret"],
)
def test_a_value_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        make_base(**change)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_the_bootstrap_writes_to_a_file() -> None:
    base = make_base(
        packages=["a1", "b1"], path_excludes=["/usr/share/doc/*"], apt_options=['Acquire::Check-Valid-Until "false"']
    )
    assert bootstrap_argv(base, ("deb http://m.test/d trixie main",), tar_path="/b/base.tar") == (
        "mmdebstrap",
        "--format=tar",
        "--variant=minbase",
        "--include=a1,b1",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        "trixie",
        "/b/base.tar",
        "deb http://m.test/d trixie main",
    )
