# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker's SDK loses what a program in a container says at once.

It reads the head of the engine's answer through a buffer, and what follows past it. On a busy machine both are there
when it looks: ``exec_run`` gives exit code 0 and no output. Source: docker/docker-py#3332, seen with 7.2.0; remove when
docker/docker-py#3438 is in a release.
"""

from __future__ import annotations

from typing import Any

from docker import APIClient

_HEADER_BYTES = 8
_client: Any = APIClient  # the stubs leave out what is private
_read_past_the_buffer = _client._read_from_socket


def keep_early_output() -> None:
    """Let every client read all that a program says, where it is asked for as a whole."""
    _client._read_from_socket = _read_from_buffer


def _read_from_buffer(self: Any, response: Any, stream: bool, tty: bool = True, demux: bool = False) -> Any:
    if stream or tty or demux:
        return _read_past_the_buffer(self, response, stream, tty, demux)
    self._disable_socket_timeout(self._get_raw_response_socket(response))
    said, buffer = b"", response.raw._fp.fp
    try:
        while len(header := buffer.read(_HEADER_BYTES)) == _HEADER_BYTES:
            said += buffer.read(int.from_bytes(header[4:], "big"))
    finally:
        response.close()
    return said
