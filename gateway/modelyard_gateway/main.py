# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program: builds the gateway from its settings, serves it, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from .app import Gateway
from .audit import AuditLog
from .credential import Porter
from .edge import Edge
from .engine import DockerEngine
from .errors import GatewayError
from .exchange import ExchangeError, Peer, exchange
from .files import read_bytes, read_those_there
from .fleet import Fleet
from .inflight import Endpoint, read_connections
from .keys import parse_keys
from .metrics import Metrics
from .reload import WatchedFile
from .services import Call, ServiceConfig, parse_services
from .settings import Settings, read_settings
from .sleep_record import SleepRecord

LOG = logging.getLogger("modelyard_gateway")
_LOOK_SECONDS = 1.0
_AUDIT_DELAY_SECONDS = 0.05
_END_SECONDS = 5


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; return the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read anew
    if len(arguments) != 1:
        LOG.error("Cannot start the gateway: its one argument is missing; give the path of its settings.")
        return 2
    try:
        program = Program(read_settings(arguments[0]))
    except GatewayError as error:
        LOG.error("%s", error)
        return 1
    return asyncio.run(program.serve())


class Program:
    """Everything that one gateway consists of.

    :raises GatewayError: one of its files is missing or wrong. It does not start then: the gate stays closed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._metrics = settings, Metrics()
        self._record = SleepRecord(settings.state)
        self._record.load()
        first, *others = settings.keys
        self._porter = Porter(parse_keys(read_bytes(first), first, read_those_there(others)))
        self._engine, self._edge = DockerEngine(settings.engine), Edge(settings.edge)
        # One thread of its own: name look-ups of services that do not come up fill the loop's threads.
        self._has_died = False
        self._reading = ThreadPoolExecutor(1, "connections")
        self._fleet = Fleet(self._engine, self._record, probe, self._read, self._metrics, settings.timing)
        self._files = [
            WatchedFile("keys", first, self._use_keys, tuple(others)),
            WatchedFile("services", settings.services, self._use_services),
        ]

    def _use_keys(self, content: bytes, path: str) -> None:
        self._porter.use(parse_keys(content, path, read_those_there(self._settings.keys[1:])))

    def _use_services(self, content: bytes, path: str) -> None:
        self._fleet.use(parse_services(content, path))

    async def _read(self) -> Counter[Endpoint]:
        return await asyncio.get_running_loop().run_in_executor(self._reading, read_connections)

    async def serve(self) -> int:
        """Serve until a signal ends it."""
        loop = asyncio.get_running_loop()
        try:
            for file in self._files:
                file.load()
        except GatewayError as error:
            LOG.error("%s", error)
            return 1
        audit = AuditLog(_write_out, lambda flush: loop.call_later(_AUDIT_DELAY_SECONDS, flush))
        parts = (self._porter, self._fleet, self._metrics, audit)
        server = _Server(self._config(Gateway(*parts, check_files=self._check_files, edge=self._edge)))
        loop.add_signal_handler(signal.SIGHUP, lambda: self._look(anyway=True))
        for ending in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(ending, self._end, server)
        looking = [asyncio.create_task(one) for one in (self._look_always(), self._edge.look_always())]
        self._fleet.start(lambda: self._die(server))
        try:
            await server.serve()
        finally:
            for task in looking:
                task.cancel()
            await self._fleet.close()
            audit.flush()
            self._reading.shutdown(wait=False)
        return 0 if server.started and not self._has_died else 1

    def _config(self, app: Gateway) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            host=self._settings.host,
            port=self._settings.port,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            # The gate keeps connections to the gateway: opening one costs more than the question.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_END_SECONDS,
        )

    def _look(self, *, anyway: bool = False) -> None:
        for file in self._files:
            file.look(self._metrics, anyway=anyway)

    def _check_files(self) -> list[str]:
        self._look()
        return [file.refusal for file in self._files if file.refusal]

    def _end(self, server: uvicorn.Server) -> None:
        # Who waits is told so first: the server waits for them.
        self._fleet.refuse()
        server.should_exit = True

    def _die(self, server: uvicorn.Server) -> None:
        self._has_died = True
        self._end(server)

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._look()


class _Server(uvicorn.Server):
    """A server that leaves signals alone: uvicorn raises them again when it ends, before the rest could end too."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def probe(service: ServiceConfig, call: Call) -> bool:
    """Whether a service answers a call with the status that means success.

    By its name, as the gate does: that it can be dialled by it is part of being ready.
    """
    try:
        answer = await exchange(
            Peer(service.address, service.port),
            call.method,
            call.path,
            timeout_seconds=call.timeout_seconds,
            body=call.body.encode(),
            content_type=call.content_type,
        )
    except ExchangeError:
        return False
    return answer.status == call.status


def _write_out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
