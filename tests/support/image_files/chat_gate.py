# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A gate and what is behind it, for the tests of who chats.

``chat_gate.py gate ENGINE SHA256`` lets in one key, takes the first segment of the path away, and writes a line per
request, as the site's own gate serves programs of the site. ``chat_gate.py engine`` speaks OpenAI's protocol.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import sys

ANSWER = "I heard you"


class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": [{"id": "chat", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("stream"):
            self.stream(body["model"])
        else:
            message = {"role": "assistant", "content": ANSWER}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.reply(200, {"id": "1", "object": "chat.completion", "model": body["model"], "choices": [choice]})

    def stream(self, model: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for word in (*ANSWER.split(" "), None):
            choice = {
                "index": 0,
                "delta": {"content": f"{word} "} if word else {},
                "finish_reason": None if word else "stop",
            }
            chunk = {"id": "1", "object": "chat.completion.chunk", "model": model, "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def reply(self, status: int, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, _form: str, *_arguments: object) -> None:
        """Say nothing."""


class Gate(http.server.BaseHTTPRequestHandler):
    engine, digest = (*sys.argv[2:4], "", "")[:2]

    def do_GET(self) -> None:
        self.pass_on(None)

    def do_POST(self) -> None:
        self.pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    def pass_on(self, body: bytes | None) -> None:
        key = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        is_known = hashlib.sha256(key.encode()).hexdigest() == self.digest
        sys.stdout.write(json.dumps({"path": self.path, "admitted": is_known}) + "\n")
        sys.stdout.flush()
        if not is_known:
            self.send_response(403 if key else 401)
            self.end_headers()
            return
        path = "/" + self.path.split("/", 2)[2]
        connection = http.client.HTTPConnection(self.engine, 8080, timeout=20)
        connection.request(self.command, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.end_headers()
        self.wfile.write(answer.read())

    def log_message(self, _form: str, *_arguments: object) -> None:
        """Say nothing."""


if sys.argv[1] == "gate":
    http.server.ThreadingHTTPServer(("", 8081), Gate).serve_forever()
http.server.ThreadingHTTPServer(("", 8080), Engine).serve_forever()
