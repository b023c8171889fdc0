# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every error of a failed build, whole, from output that was recorded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.command import mask_credentials, run_bounded
from ansible_collections.modelyard.platform.plugins.module_utils._image.failures import (
    base_failure,
    build_failure,
    check_failure,
)
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed

from .image_examples import make_base

BASE = make_base()
SOURCES = ("deb http://mirror.test/debian/ trixie main",)

# mmdebstrap 1.3.5, apt 2.6 of Debian 12.
MISSING_PACKAGES = """\
I: installing remaining packages inside the chroot...
Reading package lists...
Building dependency tree...
E: Unable to locate package nosuchpkg
E: Package 'oldpkg' has no installation candidate
E: setup failed: E: apt-get -o Dir::Bin::dpkg=env --yes install nosuchpkg oldpkg failed
E: mmdebstrap failed to run
"""
MISSING_SUITE = """\
Ign:1 http://me:hush@mirror.test/debian nosuite InRelease
Err:2 http://me:hush@mirror.test/debian nosuite Release
  404  Not Found [IP: 203.0.113.80 80]
E: The repository 'http://me:hush@mirror.test/debian nosuite Release' does not have a Release file.
E: mmdebstrap failed to run
"""
EXPIRED = """\
E: Release file for http://mirror.test/debian/dists/sid/InRelease is expired (invalid since 14d 3h 2min 1s). Updates \
for this repository will not be applied.
"""
FULL = "tar: base.tar: Wrote only 4096 of 10240 bytes\nE: write error: No space left on device\n"

# buildx 0.13.1 with the BuildKit of engine 20.10.24.
FAILED_STEP = """\
#0 building with "default" instance using docker driver

#4 [1/3] FROM docker.io/modelyard/base:1
#4 CACHED

#5 [2/3] RUN echo before
#5 0.078 before
#5 DONE 0.1s

#6 [3/3] RUN echo words &&   echo http://u:hush@host/x && exit 3
#6 0.078 words
#6 0.079 http://u:hush@host/x
#6 ERROR: executor failed running [/bin/sh -c echo words &&   echo http://u:hush@host/x && exit 3]: exit code: 3
------
 > [3/3] RUN echo words &&   echo http://u:hush@host/x && exit 3:
0.078 words
0.079 http://u:hush@host/x
------
ERROR: failed to solve: executor failed running [/bin/sh -c echo words &&   echo http://u:hush@host/x && exit 3]: exit \
code: 3
"""
FAILED_APT = """\
#6 [3/3] RUN apt-get update -qq && apt-get install -y nosuchpackage
#6 2.935 Reading package lists...
#6 3.228 E: Unable to locate package nosuchpackage
#6 ERROR: executor failed running [/bin/sh -c apt-get update -qq && apt-get install -y nosuchpackage]: exit code: 100
"""
SILENT_STEP = """\
#6 [3/3] RUN false
#6 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1
"""


@pytest.mark.parametrize(
    ("completed", "cause"),
    [
        (
            Completed(25, "", MISSING_PACKAGES),
            "trixie has no packages 'nosuchpkg', 'oldpkg'; correct base.packages.",
        ),
        (
            Completed(25, "", MISSING_SUITE),
            "there is no suite 'nosuite' at http://***@mirror.test/debian; correct base.suite, or set base.mirror.",
        ),
        (
            Completed(25, "", EXPIRED),
            (
                "the mirror's list of trixie expired 14d 3h 2min 1s ago; use another base.mirror, or accept old "
                "lists by "
                "adding 'Acquire::Check-Valid-Until \"false\"' to base.apt_options."
            ),
        ),
        (
            Completed(25, "", FULL),
            (
                "the disk is full, below /site/build or below Docker's own folder; free some space (state: pruned "
                "removes "
                "images that no release needs) and run again."
            ),
        ),
        (
            Completed(127, "", "timeout: failed to run command 'mmdebstrap': No such file or directory\n"),
            "there is no mmdebstrap; install it (apt-get install mmdebstrap).",
        ),
        (
            Completed(2, "I: one\n", "\nE: http://me:hush@mirror.test broke\n"),
            (
                "mmdebstrap ended with exit code 2 for deb http://mirror.test/debian/ trixie main; its last words "
                "say why:\n"
                "I: one\nE: http://***@mirror.test broke"
            ),
        ),
    ],
    ids=["packages", "suite", "expired", "full disk", "no mmdebstrap", "anything else"],
)
def test_failed_bootstrap(completed: Completed, cause: str) -> None:
    error = base_failure(BASE, SOURCES, completed, folder="/site/build")
    assert str(error) == f"Cannot build base image {BASE.reference}: {cause}"


@pytest.mark.parametrize(
    ("completed", "cause"),
    [
        (
            Completed(1, "", FAILED_STEP),
            (
                "step [3/3] RUN echo words &&   echo http://***@host/x && exit 3 failed; mend the recipe. It said:\n"
                "words\nhttp://***@host/x"
            ),
        ),
        (Completed(1, "", SILENT_STEP), "step [3/3] RUN false failed; mend the recipe. It said:\n(nothing)"),
        (
            Completed(1, "", FAILED_APT),
            (
                "in step [3/3] RUN apt-get update -qq && apt-get install -y nosuchpackage apt has no package "
                "'nosuchpackage'; correct the Dockerfile."
            ),
        ),
        (
            Completed(1, "", "#6 0.1 cp: error writing: No space left on device\n"),
            (
                "the disk is full, below /site or below Docker's own folder; free some space (state: pruned removes "
                "images "
                "that no release needs) and run again."
            ),
        ),
        (
            Completed(127, "", "timeout: failed to run command 'docker': No such file or directory\n"),
            "there is no docker command; install it (package docker-cli, or docker.io before Debian 13).",
        ),
        (
            Completed(1, "", "docker: 'buildx' is not a docker command.\nSee 'docker --help'\n"),
            "the docker CLI has no buildx; install it (apt-get install docker-buildx).",
        ),
        (
            Completed(1, "", "ERROR: failed to solve: dockerfile parse error line 3: unknown instruction: RUM\n"),
            (
                "docker buildx build ended with exit code 1; its last words say why:\n"
                "ERROR: failed to solve: dockerfile parse error line 3: unknown instruction: RUM"
            ),
        ),
    ],
    ids=["step", "silent step", "package", "full disk", "no docker", "no buildx", "anything else"],
)
def test_failed_build(completed: Completed, cause: str) -> None:
    error = build_failure("mytest/tool", completed, folder="/site")
    assert str(error) == f"Cannot build image mytest/tool: {cause}"


@pytest.mark.parametrize(
    ("exit_code", "output", "rest"),
    [
        (
            3,
            "one\ntwo\n",
            "ended with exit code 3, so the image was dropped; mend the recipe or the check. It said:\none\ntwo",
        ),
        (
            None,
            "",
            "did not end within 5 s, so the image was dropped; mend the recipe or the check. It said:\n(nothing)",
        ),
    ],
    ids=["exit code", "time"],
)
def test_failed_check(exit_code: int | None, output: str, rest: str) -> None:
    error = check_failure("mytest/tool", "tool --version", exit_code=exit_code, seconds=5.0, output=output)
    assert str(error) == f"Cannot build image mytest/tool: the check 'tool --version' in the new image {rest}"


def test_a_program_that_takes_too_long_is_named() -> None:
    seen: list[Sequence[str]] = []

    def run(argv: Sequence[str], **_: object) -> Completed:
        seen.append(argv)
        return Completed(124, "", "I: downloading http://me:hush@mirror.test/x\n")

    with pytest.raises(PlatformError) as caught:
        run_bounded(run, ["mmdebstrap", "x"], timeout_seconds=7, pass_fds=[])
    assert seen == [["timeout", "--kill-after=60", "7", "mmdebstrap", "x"]]
    assert str(caught.value) == (
        "Cannot finish 'mmdebstrap': it ran for 7 s and was ended; look whether the network is slow, or raise "
        "timeout_seconds. Its last words:\nI: downloading http://***@mirror.test/x"
    )


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://me:hush@proxy:3128/", "http://***@proxy:3128/"),
        ("https://token@host", "https://***@host"),
        ("a http://u:p@h b ftp://x:y@z c", "a http://***@h b ftp://***@z c"),
        ("http://host/a@b", "http://host/a@b"),
        ("me@host", "me@host"),
    ],
)
def test_credentials_in_addresses_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked
