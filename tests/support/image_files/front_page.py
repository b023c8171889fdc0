# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands for Homepage 1.12 where its image cannot be had: what role homepage counts on, as that program does it.

It needs every file, and writes none. Its API answers to known hosts only. The page at / is the one that came with the
image, until /api/revalidate makes it of the files that are there then.
"""

from __future__ import annotations

import http.server
import os
import sys

FOLDER = "/app/config"
FILES = (
    "settings.yaml", "services.yaml", "bookmarks.yaml", "widgets.yaml", "docker.yaml", "kubernetes.yaml",
    "proxmox.yaml", "custom.css", "custom.js",
)  # fmt: skip
PORT = 3000


def read() -> str:
    texts = []
    for name in FILES:
        with open(f"{FOLDER}/{name}", encoding="utf-8") as stream:
            texts.append(stream.read())
    return "\n".join(texts)


class Handler(http.server.BaseHTTPRequestHandler):
    page = "as it came with the image"

    def do_GET(self) -> None:
        known = [f"localhost:{PORT}", f"127.0.0.1:{PORT}", *os.environ["HOMEPAGE_ALLOWED_HOSTS"].split(",")]
        if self.path.startswith("/api/") and self.headers["Host"] not in known:
            self.answer(400, "Host validation failed")
        elif self.path == "/api/healthcheck":
            self.answer(200, "up")
        elif self.path == "/api/revalidate":
            Handler.page = read()
            self.answer(200, '{"revalidated":true}')
        else:
            self.answer(200, Handler.page)

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


if missing := [name for name in FILES if not os.path.exists(f"{FOLDER}/{name}")]:
    sys.exit(f"Failed to initialize required config: {missing}")
http.server.ThreadingHTTPServer((os.environ["HOSTNAME"], PORT), Handler).serve_forever()
