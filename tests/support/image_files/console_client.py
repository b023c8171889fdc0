# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role rustdesk uses of its image's nc: ``nc -w SECONDS HOST PORT``."""

from __future__ import annotations

import socket
import sys

_w, seconds, host, port = sys.argv[1:]
with socket.create_connection((host, int(port)), int(seconds)) as connection:
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    while found := connection.recv(4096):
        sys.stdout.buffer.write(found)
