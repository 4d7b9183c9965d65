"""A session on its sockets: runs the state machine of ``connection``, in either role.

It outlives its channel: when that is lost the session waits for the next one, and repeats what was not
acknowledged.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from loguru import logger

from ...errors import DcpError
from . import connection as machine
from .address import Address
from .channel import Channel
from .connection import Role, State
from .envelope import Opened
from .instructions import Ended, Established, Instruction, Send, Serve, Settle
from .outgoing import OutgoingRequest
from .request import OperationError, Request
from .signer import Signer

_ACK_TIMEOUT_S = 120.0  # silence after which a socket is taken for dead
_MAX_ASKED = 128  # requests of ours that wait for answers; peers refuse when there are too many
_CLOSE_TIMEOUT_S = 7.0  # how long the peer may take to say goodbye


class ConnectionLost(DcpError):
    """The session is over; whether an unanswered request was done is unknown. Connect again and ask."""

    code = "ECONNLOST"


class RequestTimeout(DcpError):
    """No answer came in time; whether the request was done is unknown."""

    code = "ETIMEDOUT"


class RequestRefused(DcpError):
    """The peer answered with failure. ``payload`` is its answer."""

    code = "EREFUSED"

    def __init__(self, message: str, *, code: str | None = None, payload: Any = None) -> None:
        super().__init__(message, code=code)
        self.payload = payload


def new_id() -> str:
    """21 random characters, as ids, tokens, nonces and stamps on this wire have."""
    return secrets.token_urlsafe(16)[:21].translate(_ALPHANUMERIC)


_ALPHANUMERIC = str.maketrans("-_", "ab")


class Session:
    """One DCP session and the channel that it has at the moment, if any."""

    def __init__(
        self,
        role: Role,
        signer: Signer,
        serve: Callable[[Request], Awaitable[Any]],
        *,
        max_in_flight: int = 256,
    ) -> None:
        """``serve`` answers the peer's requests, each in a task of its own; OperationError means failure."""
        self._signer = signer
        self._serve = serve
        self.machine = machine.Connection(role, signer.address, new_id, max_in_flight=max_in_flight)
        self.channel: Channel | None = None
        self.closed = asyncio.Event()
        self.established = asyncio.Event()
        self.end: tuple[str, str] | None = None  # code and reason, once it is over
        self._on_close: list[Callable[[], None]] = []
        self._on_established: list[Callable[[], None]] = []
        self._flushing = False
        self._room = asyncio.Semaphore(_MAX_ASKED)
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ack_timer: asyncio.TimerHandle | None = None
        self._awaited: str | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> Address | None:
        return self.machine.peer

    @property
    def dcpsid(self) -> str | None:
        return self.machine.dcpsid

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call back once when the session is over; at once if it is already."""
        if self.closed.is_set():
            callback()
        else:
            self._on_close.append(callback)

    def on_established(self, callback: Callable[[], None]) -> None:
        """Call back once when there is a session, before any of its requests is served."""
        self._on_established.append(callback)

    def attach(self, channel: Channel) -> None:
        """Go on over this channel; the one before is dropped."""
        if self.channel is not None:
            self.detach(self.channel)
        self.channel = channel
        self._apply(self.machine.opened(time.time()))

    def detach(self, channel: Channel) -> None:
        """This channel is gone."""
        channel.finish()
        if self.channel is channel:
            self.channel = None
            self._apply(self.machine.lost())

    def turn_away(self, channel: Channel, envelope: Opened) -> None:
        """A peer resumes a session that does not exist: ask it to close that, and drop its socket."""
        self.machine.adopt(envelope)
        self.attach(channel)
        self._apply(self.machine.close("ENOSESSION", time.time()))

    def receive(self, envelope: Opened) -> None:
        """Take a verified message."""
        self._apply(self.machine.received(envelope, time.time()))

    async def request(
        self,
        operation: str,
        data: Any = None,
        *,
        allow: Sequence[Any] = (),
        authorise: Sequence[Signer] = (),
        timeout: float | None = None,
    ) -> Any:
        """Send a request and wait for its answer, through lost sockets if need be. Seconds.

        ``allow``: addresses, or entries ``{resource, guardian, accessor}``, that the peer may use for us;
        ``authorise``: who signs for them. Addresses in ``authorise`` need not be repeated in ``allow``.
        """
        named = {entry.get("resource") if isinstance(entry, dict) else entry for entry in allow}
        resources = [*allow, *(signer.address for signer in authorise if signer.address not in named)]
        prepared = self.machine.prepare(
            operation, data, time.time(), allow=[self._entry(one) for one in resources]
        )
        if authorise:
            message = prepared.payload_text.encode()
            auth = {str(signer.address): (await signer.sign(message)).to_wire() for signer in authorise}
            prepared = replace(prepared, auth=auth)
        try:
            async with asyncio.timeout(timeout), self._room:
                return await self._ask(prepared)
        except TimeoutError:
            raise RequestTimeout(f"no answer to {operation} came within {timeout} seconds") from None

    async def _ask(self, prepared: OutgoingRequest) -> Any:
        if self.machine.state is not State.ESTABLISHED:
            raise self._lost()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[prepared.id] = future
        try:
            self.machine.submit(prepared)
            self._flush_soon()
            return await future
        finally:
            if self._waiting.pop(prepared.id, None) is not None and not self.closed.is_set():
                self.machine.forget(prepared.id)

    async def close(self, reason: str = "EPIPE") -> None:
        """Say goodbye, wait a few seconds for the peer's, and be closed in any case."""
        self._apply(self.machine.close(reason, time.time()))
        if self.channel is None:
            self.abort("EPIPE", "closed while there was no transport", graceful=True)
        await self.closed.wait()

    def abort(self, code: str, reason: str, *, graceful: bool = False) -> None:
        """End the session now; what is not graceful is logged as a warning."""
        self._apply(self.machine.abort(code, reason, graceful=graceful))

    def _entry(self, allowed: Any) -> Any:
        if isinstance(allowed, str):
            return {"resource": allowed, "guardian": self.machine.peer, "accessor": self._signer.address}
        return allowed

    def _lost(self) -> ConnectionLost:
        code, reason = self.end or ("ECONNLOST", "there is no session")
        return ConnectionLost(f"the connection is over: {reason}", code=code)

    def _apply(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send(body):
                    if self.channel is not None:
                        self.channel.put(body)
                case Settle(name, success, payload):
                    self._settle(name, success, payload)
                case Serve(request):
                    task = asyncio.create_task(self._answer(request))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case Established():
                    self.established.set()
                    for callback in self._on_established:
                        callback()
                    self._on_established.clear()
                case Ended():
                    self._ended(instruction)
        self._set_timers()

    def _settle(self, name: str, success: bool, payload: Any) -> None:
        future = self._waiting.pop(name, None)
        if future is None or future.done():
            return
        if success:
            future.set_result(payload)
            return
        details = payload if isinstance(payload, dict) else {"message": payload}
        message, code = details.get("message"), details.get("code")
        text = message if isinstance(message, str) and message else "the peer refused without saying why"
        future.set_exception(
            RequestRefused(text, code=code if isinstance(code, str) else None, payload=payload)
        )

    async def _answer(self, request: Request) -> None:
        success, payload = True, None
        try:
            payload = await self._serve(request)
        except OperationError as error:
            success, payload = False, self._error(str(error), error.code) | error.details
        except DcpError as error:
            success, payload = False, self._error(str(error), error.code)
        except Exception:
            logger.exception("the operation {} failed", request.operation)
            success, payload = (
                False,
                self._error(f"the operation {request.operation} failed inside", "EINTERNAL"),
            )
        try:
            self.machine.respond(request.id, success, payload)
        except DcpError as error:
            logger.error("the answer to {} cannot be sent: {}", request.operation, error)
            failure = self._error(f"the answer cannot be sent: {error}", error.code)
            self.machine.respond(request.id, False, failure)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Send what is queued after everybody who is ready now has had a turn: their messages go together."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._apply(self.machine.flush(time.time()))

    def _error(self, message: str, code: str) -> dict[str, Any]:
        return {"name": "Error", "message": message, "code": code, "origin": self._signer.address}

    def _ended(self, ended: Ended) -> None:
        self.end = ended.code, ended.reason
        log = logger.bind(peer=self.peer, dcpsid=self.dcpsid)
        (log.debug if ended.graceful else log.warning)("session ended: {} ({})", ended.reason, ended.code)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._lost())
        self._waiting.clear()
        if self.channel is not None:
            self.channel.finish()
        self.closed.set()
        for callback in self._on_close:
            callback()
        self._on_close.clear()

    def _set_timers(self) -> None:
        loop = asyncio.get_running_loop()
        awaited = self.machine.waits_for_ack
        if awaited != self._awaited:
            self._awaited = awaited
            if self._ack_timer is not None:
                self._ack_timer.cancel()
            self._ack_timer = loop.call_later(_ACK_TIMEOUT_S, self._deaf) if awaited else None
        if self.machine.state is State.CLOSING and self._close_timer is None:
            self._close_timer = loop.call_later(
                _CLOSE_TIMEOUT_S, self.abort, "EPIPE", "the peer said no goodbye"
            )
        elif self.closed.is_set() and self._close_timer is not None:
            self._close_timer.cancel()

    def _deaf(self) -> None:
        if self.channel is not None:
            logger.warning("no acknowledgement within {} s; the socket is dropped", _ACK_TIMEOUT_S)
            self.detach(self.channel)
