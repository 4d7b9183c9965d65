"""Throw-away DCP servers and clients on loopback, and a tcp relay that can be cut, for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from dcp_worker.protocol.dcp.initiator import Connection
from dcp_worker.protocol.dcp.signature import PrivateKey
from dcp_worker.protocol.dcp.signer import LocalSigner
from dcp_worker.protocol.dcp.target import ConnectionServer, Handler


def new_signer() -> LocalSigner:
    """A signer with a fresh key."""
    return LocalSigner(PrivateKey.generate())


class WireServer:
    """A running ConnectionServer; ``url(path)`` is where a service is."""

    def __init__(self, server: ConnectionServer, port: int) -> None:
        self.server = server
        self.port = port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@asynccontextmanager
async def serving(
    services: dict[str, Handler], *, signer: Any = None, routes: Any = None, **options: Any
) -> AsyncIterator[WireServer]:
    """Serve handlers at their paths on a free port of loopback; options go to ConnectionServer.

    ``routes`` are plain http handlers beside them, by path.
    """
    server = ConnectionServer(signer or new_signer(), **options)
    app = web.Application()
    for path, route in (routes or {}).items():
        app.router.add_get(path, route)
    for path, handler in services.items():
        server.attach(app, path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield WireServer(server, runner.addresses[0][1])
    finally:
        await server.close()
        await runner.cleanup()


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Connection]:
    """A connection with a fresh key, closed at the end."""
    connection = Connection(url, options.pop("signer", None) or new_signer(), **options)
    await connection.connect()
    try:
        yield connection
    finally:
        await connection.close()


class Relay:
    """Forwards tcp to a port; ``cut`` drops all connections, ``refuse`` also keeps new ones out."""

    def __init__(self, target: int) -> None:
        self.target = target  # may change: new connections go there
        self.port = 0
        self.accepted = 0
        self.bytes_until_cut: int | None = (
            None  # cut when so many more have been forwarded, both ways together
        )
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self, refusing: bool = True) -> None:
        self._refusing = refusing
        if refusing:
            self.cut()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.bytes_until_cut is not None:
                    self.bytes_until_cut -= len(data)
                    if self.bytes_until_cut <= 0:
                        self.bytes_until_cut = None
                        self.cut()
                        return
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def relaying(target: int) -> AsyncIterator[Relay]:
    """A relay in front of a port of loopback."""
    relay = Relay(target)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.cut()


async def until(condition: Any, timeout: float = 20.0) -> None:
    """Wait for a condition that some task will make true."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)
