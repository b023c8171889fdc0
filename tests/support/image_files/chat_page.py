# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands for Open WebUI 0.12 where its image cannot be had: what role open_webui counts on, as that program does it.

Its settings are read after the database was brought to its schema, if that is asked for. It begins neither without a
key nor without a folder to write to nor on a database of another schema. VERSION is that of the image: 2 has a column
more, 3 has a migration that fails half way.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

import psycopg2

VERSION = int(os.environ["VERSION"])
PORT = 8080
_FIRST = "CREATE TABLE auth (id serial PRIMARY KEY, email text UNIQUE, password text, name text, role text)"
_SECOND = "ALTER TABLE auth ADD seen_at bigint"


def is_on(name: str, default: str) -> bool:
    return os.environ.get(name, default).lower() == "true"


def query(text: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query, in a transaction of its own."""
    service = os.environ["DATABASE_URL"].removeprefix("postgresql://?service=")
    with psycopg2.connect(f"service={service}") as connection, connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else []


def schema() -> int:
    if query("SELECT to_regclass('version')") == [(None,)]:
        return 0
    return int(query("SELECT max(number) FROM version")[0][0])


def check_environment() -> None:
    """End as Open WebUI does where what it needs to begin is missing."""
    if not os.environ.get("WEBUI_SECRET_KEY"):
        sys.exit("WEBUI_SECRET_KEY is not set. It is a hard requirement when authentication is enabled.")
    for folder in (f"{os.environ['DATA_DIR']}/uploads", os.environ["STATIC_DIR"]):
        os.makedirs(folder, exist_ok=True)


def read_settings() -> None:
    """Come before everything that imports settings: by default the database is brought to its schema then."""
    check_environment()
    if is_on("ENABLE_DB_MIGRATIONS", "True"):
        migrate()


def migrate() -> None:
    found = schema()
    if found == 0:
        query("CREATE TABLE version (number int)")
        query(_FIRST)
        query("INSERT INTO version VALUES (1)")
    if found < 2 <= VERSION:
        query(_SECOND)
    if VERSION == 3:
        query("UPDATE auth SET email = 'gone@lab.test'")
        sys.exit("Error running migrations: division by zero")
    if found < VERSION:
        query("INSERT INTO version VALUES (%s)", VERSION)


class User:
    """A row of the users."""

    def __init__(self, row: tuple[Any, ...]) -> None:
        self.id, self.email, self.password, self.name, self.role = row[:5]


class Users:
    """The table, as Open WebUI's own class of that name has it."""

    @staticmethod
    async def get_user_by_email(email: str) -> User | None:
        rows = query("SELECT * FROM auth WHERE email = %s", email.lower())
        return User(rows[0]) if rows else None

    @staticmethod
    async def update_user_role_by_id(number: int, role: str) -> None:
        query("UPDATE auth SET role = %s WHERE id = %s", role, number)


class Auths:
    """The table of passwords, likewise."""

    @staticmethod
    async def insert_new_auth(email: str, password: str, name: str, role: str = "pending") -> User | None:
        query("INSERT INTO auth (email, password, name, role) VALUES (%s, %s, %s, %s)", email, password, name, role)
        return await Users.get_user_by_email(email)

    @staticmethod
    async def authenticate_user(email: str, verify: Any) -> User | None:
        user = await Users.get_user_by_email(email)
        return user if user and await verify(user.password) else None

    @staticmethod
    async def update_user_password_by_id(number: int, password: str) -> None:
        query("UPDATE auth SET password = %s WHERE id = %s", password, number)


async def get_password_hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


async def verify_password(password: str, hashed: str) -> bool:
    return hashlib.sha256(password.encode()).hexdigest() == hashed


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/ready":
            self.answer(200, {"status": schema() == VERSION})
        elif self.path == "/api/version":
            self.answer(200, {"version": f"0.{VERSION}.0"})
        elif self.path == "/api/models" and self.is_known():
            self.answer(200, {"data": [{"id": model} for model in models()]})
        else:
            self.answer(401 if self.path == "/api/models" else 404, {"detail": "Not authenticated"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v1/auths/signin":
            self.sign_in(body)
        elif self.path == "/api/v1/auths/signup":
            self.answer(200 if is_on("ENABLE_SIGNUP", "True") else 403, {"detail": "You do not have permission"})
        elif self.path == "/api/chat/completions" and self.is_known():
            self.answer(*forward(body))
        else:
            self.answer(401, {"detail": "Not authenticated"})

    def sign_in(self, body: dict[str, str]) -> None:
        async def verify(hashed: str) -> bool:
            return await verify_password(body["password"], hashed)

        user = asyncio.run(Auths.authenticate_user(body["email"], verify))
        if user is None:
            self.answer(400, {"detail": "The email or password provided is incorrect."})
        else:
            self.answer(200, {"token": token(), "id": str(user.id), "role": user.role})

    def is_known(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {token()}"

    def answer(self, status: int, content: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, _form: str, *_arguments: object) -> None:
        """Say nothing."""


def token() -> str:
    return hashlib.sha256(os.environ["WEBUI_SECRET_KEY"].encode()).hexdigest()


def models() -> list[str]:
    """Return what the connections name; as with Open WebUI, one that names nothing would be asked."""
    connections = json.loads(os.environ["OPENAI_API_CONFIGS"])
    return [model for number in sorted(connections) for model in connections[number]["model_ids"]]


def forward(body: dict[str, Any]) -> tuple[int, Any]:
    """Ask the first service that has the model."""
    connections = json.loads(os.environ["OPENAI_API_CONFIGS"])
    number = next(int(number) for number, one in connections.items() if body["model"] in one["model_ids"])
    address = os.environ["OPENAI_API_BASE_URLS"].split(";")[number]
    key = os.environ["OPENAI_API_KEYS"].split(";")[number]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{address}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {"detail": error.reason}


def serve() -> None:
    """Serve as uvicorn is asked to."""
    read_settings()
    if schema() != VERSION:
        sys.exit(f"The schema is {schema()}, and not {VERSION}")
    if sys.argv[1:4] != ["open_webui.main:app", "--host=0.0.0.0", f"--port={PORT}"]:
        sys.exit(f"Cannot serve {sys.argv[1:]}")
    http.server.ThreadingHTTPServer(("", PORT), Handler).serve_forever()
