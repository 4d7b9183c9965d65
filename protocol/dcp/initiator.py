"""The client's side of DCP connections: connects, keeps the session through lost sockets, asks, answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import socketio  # type: ignore[import-untyped]
from loguru import logger
from yarl import URL

from ...errors import DcpError
from .address import Address
from .channel import MAX_MESSAGE, Channel
from .connection import Role
from .packets import MALFORMED, PACKET_LIMIT, Packet, SocketJson, library_logger
from .request import OperationError, Request
from .session import ConnectionLost, RequestRefused, RequestTimeout, Session
from .signer import Signer

__all__ = ["Connection", "ConnectionFailed", "ConnectionLost", "RequestRefused", "RequestTimeout"]

OnRequest = Callable[[str, Any], Awaitable[Any]]
"""Answers a request of the server, given its operation and data; the value is sent back."""

_LONGEST_WAIT_S = 30.0
_LARGE = 64 * 1024  # characters of a frame
_DRAIN_TIMEOUT_S = 120.0


class ConnectionFailed(DcpError):
    """The server could not be reached, or there was no session with it."""

    code = "ECONNFAILED"
    exit_status = 3


class Connection:
    """One DCP connection to one service. Make a new session by ``connect``, also after it has been lost."""

    def __init__(
        self,
        url: str,
        signer: Signer,
        *,
        dialect: int = 5,
        on_request: OnRequest | None = None,
        peer_address: Address | None = None,
        resume_timeout: float = 600.0,
        transports: Sequence[str] = ("websocket", "polling"),
        max_message: int = MAX_MESSAGE,
    ) -> None:
        """``url`` is the service's location and ends with a slash; ``dialect`` 4 is for 4.x schedulers.

        With ``peer_address`` only a server that signs as this address is accepted. ``resume_timeout`` seconds
        after its socket was lost, a session that could not be resumed is given up.
        """
        self.url = url
        try:
            location = URL(url)
        except ValueError as error:
            raise ConnectionFailed(f"{url:.200} is no location of a service: {error}") from None
        if not location.host or location.scheme not in ("http", "https") or not location.path.endswith("/"):
            raise ConnectionFailed(f"{url} is no location of a service: it must be http(s)://host/path/")
        self._origin = str(location.origin())
        self._path = (location.path + ("dcp5/socketio" if dialect >= 5 else "")).strip("/")
        self._signer = signer
        self._on_request = on_request
        self._expected_peer = peer_address
        self._resume_timeout = resume_timeout
        self._transports = list(transports)
        self._max_message = max_message
        self._session: Session | None = None
        self._connecting = asyncio.Lock()
        self._resuming: asyncio.Task[None] | None = None
        self._attempts = 0
        self._delivered = 0  # messages of the session when its socket was opened

    @property
    def dcpsid(self) -> str | None:
        """The id of the current session; another one after the next ``connect``."""
        return self._session.dcpsid if self._session is not None else None

    @property
    def peer_address(self) -> Address | None:
        """Who signs at the other end."""
        return self._session.peer if self._session is not None else None

    @property
    def connected(self) -> bool:
        """Is there a session? Its socket may be lost and about to be replaced."""
        return (
            self._session is not None
            and self._session.established.is_set()
            and not self._session.closed.is_set()
        )

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call back once when the current session is over."""
        if self._session is None:
            raise ConnectionLost("there is no session yet; connect first")
        self._session.on_close(callback)

    async def connect(self, timeout: float = 30.0) -> None:
        """Make a session, or return at once when there is one. One attempt, of this many seconds."""
        async with self._connecting:
            if self.connected:
                return
            session = Session(Role.INITIATOR, self._signer, self._serve)
            session.machine.peer = self._expected_peer
            try:
                async with asyncio.timeout(timeout):
                    await self._open_socket(session)
                    await _first(session.established.wait(), session.closed.wait())
            except TimeoutError:
                session.abort("ETIMEDOUT", "the server did not complete the handshake")
                raise ConnectionFailed(f"{self.url} did not answer within {timeout:g} seconds") from None
            except BaseException:
                session.abort("ECONNFAILED", "connecting was given up")
                raise
            if session.closed.is_set():
                code, reason = session.end or ("ECONNFAILED", "unknown reason")
                raise ConnectionFailed(f"there is no session with {self.url}: {reason}", code=code)
            self._session = session

    async def request(
        self,
        operation: str,
        data: Any = None,
        *,
        allow: Sequence[Any] = (),
        authorise: Sequence[Signer] = (),
        timeout: float | None = 120.0,
    ) -> Any:
        """Ask the server and wait for the payload of its answer; see ``Session.request``."""
        if self._session is None:
            raise ConnectionLost(f"there is no connection to {self.url}; connect first")
        return await self._session.request(operation, data, allow=allow, authorise=authorise, timeout=timeout)

    async def close(self, reason: str = "EPIPE") -> None:
        """End the session in order; harmless when there is none."""
        if self._session is not None:
            await self._session.close(reason)
        if self._resuming is not None:
            self._resuming.cancel()

    async def __aenter__(self) -> "Connection":
        await self.connect()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def _serve(self, request: Request) -> Any:
        if self._on_request is None:
            raise OperationError(f"nobody here serves {request.operation}", code="ENOSYS")
        return await self._on_request(request.operation, request.data)

    async def _open_socket(self, session: Session) -> None:
        failure: Exception | None = None
        import aiohttp

        for transport in self._transports:
            http = aiohttp.ClientSession()
            sio = socketio.AsyncClient(
                reconnection=False,
                handle_sigint=False,
                json=SocketJson,
                serializer=Packet,
                logger=library_logger(),
                engineio_logger=library_logger(),
                http_session=http,
                websocket_extra_options={"max_msg_size": PACKET_LIMIT},
            )
            try:
                await self._connect_socket(sio, transport, session)
                return
            except (socketio.exceptions.ConnectionError, OSError, ValueError) as error:
                failure = error
                await http.close()
            except BaseException:
                await http.close()
                raise
        raise ConnectionFailed(
            f"{self.url} cannot be reached: {failure}; is it running, and is the address right?"
        )

    async def _connect_socket(self, sio: Any, transport: str, session: Session) -> None:
        channel: Channel | None = None
        ready = asyncio.Event()  # the server may speak before the library has told us that we are connected

        async def send(frame: str) -> None:
            await sio.eio.send("2" + SocketJson.dumps(["message", frame]))
            if len(frame) > _LARGE:
                # In long polling the library would put all that waits in one request, more than servers take.
                await asyncio.wait_for(sio.eio.queue.join(), _DRAIN_TIMEOUT_S)

        async def close() -> None:
            try:
                await sio.disconnect()
            finally:
                await sio.eio.http.close()

        async def received(frame: object = None, *_rest: Any) -> None:
            await ready.wait()
            if channel is None or channel.closing:
                return
            try:
                await channel.receive(frame, session.receive)
            except DcpError as error:
                logger.warning("the server at {} sent what makes no sense: {}", self.url, error)
                session.abort(error.code, str(error))

        async def malformed(reason: object = None, *_rest: Any) -> None:
            session.abort("EPACKET", f"a packet of the server is malformed: {str(reason)[:200]}")

        async def disconnected(*_reason: Any) -> None:
            if channel is not None:
                session.detach(channel)
                self._socket_lost(session)

        sio.on("message", received)
        sio.on(MALFORMED, malformed)
        sio.on("disconnect", disconnected)
        await sio.connect(
            self._origin, transports=[transport], socketio_path=self._path, headers=_HEADERS, wait_timeout=20
        )
        channel = Channel(self._signer, send, close, max_message=self._max_message)
        self._delivered = session.machine.delivered
        session.attach(channel)
        ready.set()

    def _socket_lost(self, session: Session) -> None:
        if session is not self._session or session.closed.is_set() or session.channel is not None:
            return
        if self._resuming is None or self._resuming.done():
            self._resuming = asyncio.create_task(self._resume(session))

    async def _resume(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._resume_timeout
        if session.machine.delivered > self._delivered:
            self._attempts = 0  # the lost socket was a good one: try at once
        while not session.closed.is_set() and session.channel is None:
            wait = min(_LONGEST_WAIT_S, 0.5 * (2**self._attempts - 1)) * random.uniform(0.5, 1)
            if loop.time() + wait > deadline:
                session.abort(
                    "ETIMEDOUT", f"{self.url} did not come back within {self._resume_timeout:g} seconds"
                )
                return
            await asyncio.sleep(wait)
            self._attempts = min(self._attempts + 1, 10)
            try:
                async with asyncio.timeout(_LONGEST_WAIT_S):
                    await self._open_socket(session)
                logger.debug("the session with {} goes on over a new socket", self.url)
            except (ConnectionFailed, TimeoutError) as error:
                logger.debug("no new socket yet: {}", error)


_HEADERS = {"X-DCP": "python dcp-worker"}


async def _first(*waits: Any) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
