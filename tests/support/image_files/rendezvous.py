# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands for hbbs or hbbr of rustdesk-server 1.1.16, as its first argument says, where their image cannot be had.

It takes their options, listens where they do and answers to the commands of their consoles on loopback. Where they
speak RustDesk's protocol it speaks lines: hbbs tells its public key, by UDP too; hbbr relays for who knows its key.
"""

from __future__ import annotations

import argparse
import base64
import os
import socket
import socketserver
import sys
import threading

NAME = sys.argv.pop(1)
CONSOLE = {"hbbs": "relay-servers(rs) <separated by ,>\n", "hbbr": "total-bandwidth(tb) [value(Mb/s)]\n"}


def read_key(given: str) -> str:
    """As ``get_server_sk`` and ``gen_sk`` do, with the key that nobody could write where there is none."""
    if given not in ("-", "_"):
        return given
    try:
        with open("id_ed25519", encoding="ascii") as stream:
            pair = base64.b64decode(stream.read().strip())
    except OSError:
        return ""
    if len(pair) != 64:
        sys.exit("Fatal error: malformed private key in id_ed25519.")
    return base64.b64encode(pair[32:]).decode()


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--key", default="-" if NAME == "hbbs" else "")
parser.add_argument("--relay-servers", default="")
OPTIONS = parser.parse_args()
KEY = read_key(OPTIONS.key)


class Line(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        console = OPTIONS.port - 1 if NAME == "hbbs" else OPTIONS.port
        said = self.request.recv(1024).decode().strip()
        if self.client_address[0] == "127.0.0.1" and self.request.getsockname()[1] == console:
            answer = CONSOLE[NAME] if said == "h" else ""
        elif NAME == "hbbs":
            answer = KEY
        else:
            answer = "relayed" if KEY in ("", said) else ""
        self.request.sendall(answer.encode())


class Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request[1].sendto(KEY.encode(), self.client_address)


servers: list[socketserver.BaseServer] = []
socketserver.ThreadingTCPServer.allow_reuse_address = True
numbers = [OPTIONS.port, OPTIONS.port + 2] + ([OPTIONS.port - 1] if NAME == "hbbs" else [])
servers += [socketserver.ThreadingTCPServer(("", number), Line) for number in numbers]
if NAME == "hbbs":
    servers.append(socketserver.ThreadingUDPServer(("", OPTIONS.port), Datagram))
    relay = OPTIONS.relay_servers.split(":")[0]
    try:
        sys.stdout.write(f"relay-servers {relay} {socket.gethostbyname(relay)}\n")
        sys.stdout.flush()
    except OSError:
        sys.exit(f"Invalid relay-servers {relay}")
    with open(os.environ["DB_URL"], "ab"):
        pass
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
threading.Event().wait()
