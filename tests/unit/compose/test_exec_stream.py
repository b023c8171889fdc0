# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io

from ansible_collections.modelyard.platform.plugins.module_utils._compose.exec_stream import FrameReader
from hypothesis import given
from hypothesis import strategies as st

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), max_size=8)


def frame(stream: int, block: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(block).to_bytes(4, "big") + block


@given(FRAMES, st.lists(st.integers(min_value=1, max_value=40), min_size=1))
def test_a_stream_is_taken_apart_wherever_it_was_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    raw = b"".join(frame(stream, block) for stream, block in frames)
    output = io.BytesIO()
    reader = FrameReader(output)
    number = 0
    while raw:
        size = cuts[number % len(cuts)]
        reader.feed(raw[:size])
        raw, number = raw[size:], number + 1
    assert output.getvalue() == b"".join(block for stream, block in frames if stream == 1)
    assert bytes(reader.stderr) == b"".join(block for stream, block in frames if stream == 2)


def test_of_a_long_complaint_the_end_is_kept() -> None:
    reader = FrameReader()
    for number in range(2000):
        reader.feed(frame(2, b"%6d\n" % number))
    assert len(reader.stderr) == 4096
    assert reader.stderr.endswith(b"  1999\n")


def test_output_that_nobody_wants_is_dropped() -> None:
    reader = FrameReader(None)
    reader.feed(frame(1, b"x" * 100) + frame(2, b"y"))
    assert bytes(reader.stderr) == b"y"
