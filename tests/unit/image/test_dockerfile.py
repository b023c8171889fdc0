# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Dockerfile may say without a registry."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.dockerfile import check_dockerfile

ADVICE = "A recipe starts with ARG BASE and FROM ${BASE}, and copies from its own stages only."


@pytest.mark.parametrize(
    "text",
    [
        "ARG BASE\nFROM ${BASE}\n",
        "ARG BASE\nFROM $BASE\n",
        "ARG BASE\nfrom --platform=linux/amd64 ${BASE} as built\nFROM built\nCOPY --from=built /a /a\n",
        "ARG BASE\nFROM ${BASE}\nFROM scratch\nCOPY --chown=1:1 --from=0 /a /a\n",
        "ARG BASE\nFROM ${BASE} AS a\nRUN --mount=type=bind,from=a,target=/x true\n",
        "ARG BASE\nFROM ${BASE}\nRUN echo \\\n# FROM debian\n  FROM debian\n",
        "# FROM debian\nARG BASE\nFROM ${BASE}\n",
    ],
    ids=["braces", "bare", "stages", "scratch", "mount of a stage", "FROM in a continued line", "FROM in a comment"],
)
def test_own_stages_are_fine(text: str) -> None:
    check_dockerfile(text, image="mytest/tool")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "FROM debian:13\n",
            "line 1 of its Dockerfile is 'FROM debian:13', and 'debian:13' would be fetched from a registry.",
        ),
        (
            "# syntax=docker/dockerfile:1\nARG BASE\nFROM ${BASE}\n",
            (
                "line 1 of its Dockerfile is '# syntax=docker/dockerfile:1', and its frontend would be fetched from a "
                "registry."
            ),
        ),
        (
            "ARG BASE\nFROM ${BASE}\nCOPY --from=alpine /a /a\n",
            "line 3 of its Dockerfile is 'COPY --from=alpine /a /a', and 'alpine' is no stage above it.",
        ),
        (
            "ARG BASE\nFROM ${BASE}\nCOPY --from=1 /a /a\n",
            "line 3 of its Dockerfile is 'COPY --from=1 /a /a', and '1' is no stage above it.",
        ),
        (
            "ARG BASE\nFROM ${BASE}\n\nRUN --mount=type=bind,from=alpine,target=/x \\\n  true\n",
            (
                "line 4 of its Dockerfile is 'RUN --mount=type=bind,from=alpine,target=/x true', and 'alpine' is no "
                "stage "
                "above it."
            ),
        ),
        ("FROM scratch\nCOPY a /\n", "its Dockerfile never says FROM ${BASE}."),
        ("", "its Dockerfile never says FROM ${BASE}."),
    ],
    ids=["FROM", "syntax", "COPY", "COPY by number", "mount", "no base", "empty"],
)
def test_what_needs_a_registry_is_refused(text: str, cause: str) -> None:
    with pytest.raises(PlatformError) as caught:
        check_dockerfile(text, image="mytest/tool")
    assert str(caught.value) == f"Cannot build image mytest/tool: {cause} {ADVICE}"
