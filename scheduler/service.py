"""A scheduler as a whole: its services on one port, its store, its key; started and stopped."""

import asyncio
from contextlib import ExitStack, suppress
from typing import Any

from aiohttp import web
from loguru import logger

from ..errors import DcpError
from ..protocol.dcp.signer import LocalSigner
from ..protocol.dcp.target import ConnectionServer, Handler, Peer, Request, verify_allow
from . import (
    bank_teller,
    compute_groups,
    event_router,
    job_submit,
    package_manager,
    pheme,
    result_submitter,
    task_distributor,
)
from .authorisation import Authority
from .core import Call, Core, Operations, Workers
from .data_dir import DirectoryLock, load_or_create_key, prepare
from .events import EventHub
from .impatience import ImpatientRunner
from .leases import keep_leases
from .listening import inherited_socket
from .refusal import Refused
from .settings import SchedulerSettings
from .store.database import sqlite_url
from .store.writer import Store

SERVICES = {
    "jobSubmit": ("/job-submit/", job_submit.operations),
    "taskDistributor": ("/task-distributor/", task_distributor.operations),
    "resultSubmitter": ("/result-submitter/", result_submitter.operations),
    "eventRouter": ("/event-router/", event_router.operations),
    "computeGroups": ("/compute-groups/", compute_groups.operations),
    "pheme": ("/pheme/", pheme.operations),
    "bankTeller": ("/bank-teller/", bank_teller.operations),
    "packageManager": ("/package-manager/", package_manager.operations),
}
"""The services by their names on the wire: where each is, and what it can do."""

STOP_S = 1.0
"""How long sockets may take to close once their sessions have been ended."""


class ListenError(DcpError):
    """The address to listen on cannot be had."""

    code = "ELISTEN"


class Scheduler:
    """One scheduler in this event loop. ``start`` returns the URL that clients use; ``stop`` leaves nothing
    behind.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings
        self.url = ""
        self._resources = ExitStack()
        self._runner: web.AppRunner | None = None
        self._leases: asyncio.Task[None] | None = None
        self._core: Core | None = None
        self._connections: ConnectionServer | None = None

    async def start(self) -> str:
        """Serve. Raises a DcpError that tells why directory, database or port cannot be had."""
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> str:
        settings = self.settings
        prepare(settings.data_dir)
        self._resources.callback(DirectoryLock(settings.data_dir).release)
        key = load_or_create_key(settings.key_file or settings.data_dir / "identity.key")
        store = Store(
            settings.database_url or sqlite_url(settings.data_dir / "scheduler.sqlite"), settings.synchronous
        )
        self._resources.callback(store.close)
        core = self._core = Core(
            settings=settings,
            store=store,
            authority=Authority(key.secret_bytes(), key.address),
            address=key.address,
            events=EventHub(settings.event_buffer_bytes),
            workers=Workers(0.0),
        )
        core.workers.started = core.now()
        self._connections = ConnectionServer(LocalSigner(key), origins=settings.origins)
        app = web.Application()
        for path, operations in SERVICES.values():
            self._connections.attach(app, path, _handler(core, operations(core)))
        app.router.add_get("/health", self._health)
        app.router.add_get("/etc/dcp-config.kvin", self._config)
        self._runner = ImpatientRunner(app, access_log=None, shutdown_timeout=STOP_S)
        await self._runner.setup()
        inherited = inherited_socket()
        site: web.BaseSite = (
            web.TCPSite(self._runner, settings.host, settings.port)
            if inherited is None
            else web.SockSite(self._runner, inherited)
        )
        try:
            await site.start()
        except OSError as error:
            raise ListenError(
                f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
                "Stop what uses it, or choose another with --listen (port 0 means any)."
            ) from error
        host, port = self._runner.addresses[0][:2]
        self.url = settings.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        self._leases = asyncio.create_task(keep_leases(core))
        logger.info("scheduler {} serves at {}", key.address, self.url)
        return self.url

    async def stop(self) -> None:
        """End all connections, write what is queued, and let go of the directory. May be called twice."""
        if self._core is not None:
            self._core.stopping.set()
            self._core.events.close()
        if self._leases is not None:
            self._leases.cancel()
            with suppress(asyncio.CancelledError):
                await self._leases
        if self._connections is not None:
            await self._connections.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._leases = self._runner = None
        await asyncio.to_thread(self._resources.close)

    async def _health(self, _request: web.Request) -> web.Response:
        assert self._core is not None
        await self._core.store.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        return web.json_response({"status": "ok", "address": self._core.address})

    async def _config(self, request: web.Request) -> web.Response:
        from ..protocol.dcp import bootstrap

        try:
            here = self.settings.public_url or f"{request.url.origin()}/"
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"The Host header is no host: {error}") from None
        text = bootstrap.config_document(
            here,
            {name: path for name, (path, _) in SERVICES.items()},
            request.query.get("ver", ""),
        )
        return web.Response(text=text, content_type="application/x-kvin")


def _handler(core: Core, operations: Operations) -> Handler:
    """Dispatch the requests of one service by the name of their operation."""

    async def handle(peer: Peer, request: Request) -> Any:
        operation = operations.get(request.operation)
        if operation is None:
            raise Refused("ENOOP", f"This service has no operation {request.operation!r}.")
        vouched = verify_allow(request, guardian=core.address, accessor=peer.owner) if request.allow else ()
        return await operation(Call(peer, request.data, frozenset(map(str, vouched))))

    return handle
