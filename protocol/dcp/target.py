"""The server's side of DCP connections: any number of services on one aiohttp application.

Each service has a path. A 5.x peer finds it at ``<path>dcp5/socketio/``, a 4.x peer at ``<path>`` itself;
both speak socket.io over WebSocket or long polling. A session survives the loss of its socket for a while.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import socketio  # type: ignore[import-untyped]
from aiohttp import web
from loguru import logger

from ...errors import DcpError
from .address import Address
from .channel import MAX_MESSAGE, Channel
from .connection import Role
from .envelope import Opened
from .packets import MALFORMED, PACKET_LIMIT, Packet, SocketJson, WholeBody, library_logger
from .request import OperationError, Request, verify_allow
from .session import ConnectionLost, Session
from .signer import Signer

__all__ = ["ConnectionServer", "Handler", "OperationError", "Peer", "Request", "verify_allow"]

_HANDSHAKE_S = 30.0  # a socket that has no session by then is dropped
_FLUSH_S = 2.0  # how long our last words to a peer may take


class Peer:
    """Whoever is at the other end of a session: what a handler sees of it."""

    def __init__(self, session: Session, service: str) -> None:
        self._session = session
        self.service = service

    @property
    def owner(self) -> Address:
        """The address that signs everything on this session."""
        owner = self._session.peer
        if owner is None:
            raise ConnectionLost("the peer has not said who it is yet")
        return owner

    @property
    def dcpsid(self) -> str:
        """The session's id."""
        return self._session.dcpsid or ""

    @property
    def closed(self) -> asyncio.Event:
        """Set when the session is over for good. A handler that waits long should watch it."""
        return self._session.closed

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call back once, in the loop's thread, when the session is over."""
        self._session.on_close(callback)

    async def request(self, operation: str, data: Any = None, *, timeout: float | None = 120.0) -> Any:
        """Ask the peer; raises RequestRefused, RequestTimeout or ConnectionLost."""
        return await self._session.request(operation, data, timeout=timeout)


Handler = Callable[[Peer, Request], Awaitable[Any]]
"""Answers one request: returns the payload, or raises OperationError. It runs on when the peer goes away."""


@dataclass(slots=True)
class _Service:
    path: str
    handler: Handler


@dataclass(slots=True, eq=False)
class _Line:
    """One socket."""

    service: _Service
    channel: Channel
    remote: str
    session: Session | None = None
    timer: asyncio.TimerHandle | None = None


class ConnectionServer:
    """Serves DCP connections. Attach services to an application, then run it as usual."""

    def __init__(
        self,
        signer: Signer,
        *,
        max_message: int = MAX_MESSAGE,
        max_connections: int = 4096,
        max_in_flight: int = 256,
        linger_s: float = 600.0,
        origins: Sequence[str] = (),
    ) -> None:
        """``max_message`` in characters; ``linger_s``: how long a session waits for its peer to come back.

        ``origins``: web origins whose pages may connect from a browser, ``*`` for all. Programs send none and
        are not asked; a page that no origin allows must not deploy at the expense of whoever looks at it.
        """
        self.signer = signer
        self._max_message = max_message
        self._max_connections = max_connections
        self._max_in_flight = max_in_flight
        self._linger_s = linger_s
        self._closing = False
        self._services: dict[str, _Service] = {}
        self._lines: dict[str, _Line] = {}
        self._websockets: dict[str, asyncio.Transport] = {}  # of those that began with long polling
        self._silences: dict[int, asyncio.TimerHandle] = {}  # by the id of a WebSocket's request
        self._sessions: dict[str, Session] = {}
        self._service_of: dict[Session, _Service] = {}
        self._lingering: dict[Session, asyncio.TimerHandle] = {}  # oldest first
        self._sio = socketio.AsyncServer(
            async_mode="aiohttp",
            async_handlers=False,  # events of one socket are taken in order; requests become tasks further on
            cors_allowed_origins="*" if "*" in origins else list(origins) or None,
            ping_interval=10.1,
            ping_timeout=60.01,
            max_http_buffer_size=PACKET_LIMIT,
            json=SocketJson,
            serializer=Packet,
            logger=library_logger(),
            engineio_logger=library_logger(),
        )
        self._sio.on("connect", self._connected)
        self._sio.on("message", self._message)
        self._sio.on(MALFORMED, self._malformed)
        self._sio.on("disconnect", self._disconnected)

    def attach(self, app: web.Application, path: str, handler: Handler) -> None:
        """Serve a service at a path that begins and ends with a slash, such as ``/job-submit/``."""
        if not path.startswith("/") or not path.endswith("/") or len(path) < 3:
            raise ValueError(f"the path of a service must look like /name/, not {path!r}")
        if not self._services:
            app.on_shutdown.append(self._shutdown)
        service = _Service(path, handler)
        for endpoint in (f"{path}dcp5/socketio/", path):
            self._services[endpoint] = service
            for method in ("GET", "POST", "OPTIONS"):
                app.router.add_route(method, endpoint, self._handle)

    @property
    def connections(self) -> int:
        """How many sockets are open now."""
        return len(self._lines)

    async def close(self, timeout: float = 2.0) -> None:
        """Say goodbye to all peers, for at most so many seconds, and drop all sockets; then take no more.

        Call it before the application's clean-up, which leaves sockets open but deaf.
        """
        self._closing = True
        goodbyes = [asyncio.create_task(session.close("ESHUTDOWN")) for session in self._sessions.values()]
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=timeout)
        for session in list(self._sessions.values()):
            session.abort("ESHUTDOWN", "the peer said no goodbye in time", graceful=True)
        for line in list(self._lines.values()):
            line.channel.finish()

    async def _shutdown(self, _app: web.Application) -> None:
        await self.close(timeout=0)
        await self._sio.shutdown()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        sockets = len(self._sio.eio.sockets)
        if "sid" not in request.query and sockets >= self._max_connections and request.method == "GET":
            logger.warning("a connection from {} was refused: {} are open", request.remote, sockets)
            return web.Response(status=503, text="too many connections")
        if self._closing and "sid" not in request.query:
            return web.Response(status=503, text="shutting down")
        whole = WholeBody(request) if request.method == "POST" else request
        upgraded, socket = request.query.get("sid"), _websocket_of(request)
        if socket is None:
            try:
                return cast(web.StreamResponse, await self._sio.handle_request(whole))
            except KeyError:  # the library's way of saying that the socket has just been closed
                return web.Response(status=400, text="this connection is closed")
        if upgraded is None:
            timer = asyncio.get_running_loop().call_later(_HANDSHAKE_S, self._silent, request)
            self._silences[id(request)] = timer
        else:
            self._websockets[upgraded] = socket
        try:
            return cast(web.StreamResponse, await self._sio.handle_request(whole))
        finally:
            self._spoke(request)
            self._websockets.pop(upgraded or "", None)

    # -- sockets -----------------------------------------------------------------------------------

    async def _connected(self, sid: str, environ: dict[str, Any], _auth: Any = None) -> bool:
        request: web.Request = environ["aiohttp.request"]
        self._spoke(request)
        service = self._services.get(request.path)
        if service is None:
            return False
        eio_sid = self._sio.manager.eio_sid_from_sid(sid, "/")

        async def send(frame: str) -> None:
            # What AsyncServer.emit would do, without its tasks and rooms: there is one receiver.
            await self._sio.eio.send(eio_sid, "2" + SocketJson.dumps(["message", frame]))

        async def close() -> None:
            with suppress(TimeoutError):  # a peer that does not read
                async with asyncio.timeout(_FLUSH_S):
                    await self._sio.disconnect(sid)
                    await self._sio.eio.disconnect(eio_sid)
            socket = self._websockets.get(eio_sid) or _websocket_of(request)
            if socket is not None:
                socket.close()
                asyncio.get_running_loop().call_later(_FLUSH_S, socket.abort)

        channel = Channel(self.signer, send, close, max_message=self._max_message)
        line = _Line(service, channel, request.remote or "?")
        line.timer = asyncio.get_running_loop().call_later(_HANDSHAKE_S, self._hesitant, line)
        self._lines[sid] = line
        return True

    async def _message(self, sid: str, frame: object = None, *_rest: Any) -> None:
        line = self._lines.get(sid)
        if line is None or line.channel.closing:
            return
        try:
            await line.channel.receive(frame, lambda envelope: self._deliver(line, envelope))
        except DcpError as error:
            self._drop(line, error.code, str(error))

    async def _malformed(self, sid: str, reason: object = None, *_rest: Any) -> None:
        line = self._lines.get(sid)
        if line is not None:
            self._drop(line, "EPACKET", f"a packet is malformed: {str(reason)[:200]}")

    def _drop(self, line: _Line, code: str, reason: str) -> None:
        logger.warning("connection from {} to {} is dropped: {}", line.remote, line.service.path, reason)
        if line.session is not None and line.session.channel is line.channel:
            line.session.abort(code, reason)
        line.channel.finish()

    async def _disconnected(self, sid: str, *_reason: Any) -> None:
        line = self._lines.pop(sid, None)
        if line is None:
            return
        if line.timer is not None:
            line.timer.cancel()
        line.channel.finish()
        if line.session is not None:
            line.session.detach(line.channel)
            self._linger(line)

    def _silent(self, request: web.Request) -> None:
        """On this WebSocket nobody has spoken socket.io."""
        logger.warning("connection from {} is dropped: silent for {} s", request.remote, _HANDSHAKE_S)
        if request.transport is not None:
            request.transport.abort()

    def _spoke(self, request: web.Request) -> None:
        timer = self._silences.pop(id(request), None)
        if timer is not None:
            timer.cancel()

    def _hesitant(self, line: _Line) -> None:
        if line.session is None or line.session.dcpsid is None:
            logger.warning("connection from {} is dropped: no session after {} s", line.remote, _HANDSHAKE_S)
            line.channel.finish()

    # -- sessions ----------------------------------------------------------------------------------

    def _deliver(self, line: _Line, envelope: Opened) -> None:
        dcpsid = envelope.body.get("dcpsid")
        if line.session is None and isinstance(dcpsid, str):
            session = self._sessions.get(dcpsid)
            if (
                session is None
                or session.peer != envelope.owner
                or self._service_of[session] is not line.service
            ):
                self._refuse(line, envelope)
                return
            self._stop_lingering(session)
            logger.debug("session {} of {} goes on over a new socket", dcpsid, envelope.owner)
            line.session = session
            session.attach(line.channel)
        elif line.session is None:
            line.session = self._new_session(line)
            line.session.attach(line.channel)
        line.session.receive(envelope)

    def _new_session(self, line: _Line) -> Session:
        service = line.service

        async def serve(request: Request) -> Any:
            return await service.handler(peer, request)

        def established() -> None:
            self._sessions[peer.dcpsid] = session
            self._service_of[session] = service
            session.on_close(lambda: self._forget(session))

        session = Session(Role.TARGET, self.signer, serve, max_in_flight=self._max_in_flight)
        session.on_established(established)
        peer = Peer(session, service.path)
        return session

    def _refuse(self, line: _Line, envelope: Opened) -> None:
        """The peer resumes a session that we do not have: tell it so, in the words that it understands."""
        logger.info("{} at {} resumes a session that is unknown here", envelope.owner, line.remote)
        line.session = Session(Role.TARGET, self.signer, _serve_nothing)
        line.session.turn_away(line.channel, envelope)

    def _linger(self, line: _Line) -> None:
        session = line.session
        if session is None or session.closed.is_set() or session.channel is not None:
            return
        logger.info("{} at {} lost its socket; the session waits for it", session.peer, line.remote)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._linger_s, session.abort, "ETIMEDOUT", "the peer did not come back")
        self._lingering[session] = timer
        if len(self._lingering) > self._max_connections:
            oldest = next(iter(self._lingering))
            oldest.abort("ETIMEDOUT", "too many sessions wait for their peers to come back")

    def _stop_lingering(self, session: Session) -> None:
        timer = self._lingering.pop(session, None)
        if timer is not None:
            timer.cancel()

    def _forget(self, session: Session) -> None:
        self._stop_lingering(session)
        self._sessions.pop(session.dcpsid or "", None)
        self._service_of.pop(session, None)


def _websocket_of(request: web.Request) -> asyncio.Transport | None:
    is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
    return request.transport if is_websocket else None


async def _serve_nothing(_request: Request) -> Any:
    raise OperationError("there is no session", code="ENOSESSION")
