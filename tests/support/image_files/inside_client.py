# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client inside the network: asks HOST:PORT by name, each time anew, for SECONDS; writes one line per failure.

As an ordinary program does: the name's addresses one after the other until one takes the connection.
"""

from __future__ import annotations

import http.client
import sys
import time

host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
end = time.monotonic() + seconds
answered, slowest = 0, 0.0
versions = set()
while time.monotonic() < end:
    started = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        versions.add(answer.read().decode())
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        answered += 1
    except OSError as error:
        sys.stdout.write(f"FAILED {seconds - (end - started):.1f} s: {type(error).__name__}: {error}\n")
    finally:
        connection.close()
    slowest = max(slowest, time.monotonic() - started)
    time.sleep(0.05)
sys.stdout.write(f"ANSWERED {answered} {','.join(sorted(versions))} {slowest:.2f}\n")
