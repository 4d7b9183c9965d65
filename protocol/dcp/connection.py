"""One DCP session as a state machine, in either role: events in, instructions out; no sockets, clock or keys.

Each side sends one message at a time and waits for its acknowledgement, which carries the single-use nonce of
the next message. Acknowledgements go out before a message is processed. After a lost transport both sides
repeat their last acknowledgement and what was not acknowledged; a message with the id of the previous one is
a repetition (``stop_and_wait``).
"""

from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from . import js_json
from .address import Address
from .envelope import Opened
from .instructions import Ended, Established, Instruction, Serve, Settle
from .outgoing import Outgoing, OutgoingRequest, OutgoingResponse, prepare
from .request import MalformedRequest, Request, read_request
from .stop_and_wait import MAX_BATCH, StopAndWait, Violation, is_text
from .validity import StampMemory, refusal

VERSION = "5.3.0"
"""The version of the connection protocol that we speak; peers of 5.2.0 and later 5.x understand it."""

_COMPATIBLE = "^5.2.0"
_TTL_S = 120


class Role(StrEnum):
    INITIATOR = "initiator"
    TARGET = "target"


class State(StrEnum):
    CONNECTING = "connecting"  # no session yet
    ESTABLISHED = "established"  # a session, with or without a transport
    CLOSING = "closing"  # one side has asked to close; the last messages are on their way
    CLOSED = "closed"


class Connection:
    """The state of one session. Each event returns the instructions that it causes, in order.

    ``now`` is always this machine's time in seconds since 1970.
    """

    def __init__(
        self, role: Role, own: Address, new_id: Callable[[], str], *, max_in_flight: int = 256
    ) -> None:
        """``new_id`` makes 21 random characters; ``max_in_flight`` bounds the peer's unanswered requests."""
        self.role = role
        self.own = own
        self.state = State.CONNECTING
        self.peer: Address | None = None
        self.dcpsid: str | None = None
        self.clock_offset = 0.0  # seconds that the peer's clock is ahead; only an initiator learns it
        self._new_id = new_id
        self._max_in_flight = max_in_flight
        self._line = StopAndWait(role, new_id)
        self._ours: set[str] = set()  # our requests that wait for a response
        self._serving: set[str] = set()
        self._stamps = StampMemory()
        self._sid: str | None = None
        self._connect_id: str | None = None
        self._closing_id: str | None = None
        self._goodbye = ("EPIPE", "the connection closed")

    # -- what the application wants ----------------------------------------------------------------

    @property
    def waits_for_ack(self) -> str | None:
        """The token of the acknowledgement that the transport should have brought by now, for a timer."""
        on_deck = self._line.on_deck
        return on_deck.token if on_deck is not None and on_deck.sent else None

    @property
    def delivered(self) -> int:
        """How many of our messages the peer has acknowledged."""
        return self._line.delivered

    def prepare(self, operation: str, data: Any, now: float, *, allow: Any = ()) -> OutgoingRequest:
        """Print a request; ``dataclasses.replace(auth=…)`` adds signatures over its ``payload_text``."""
        time = now + self.clock_offset
        name, stamp = self._line.name(), self._new_id()
        return prepare(name, operation, data, allow=allow, stamp=stamp, ttl=_TTL_S, time=time)

    def submit(self, request: OutgoingRequest) -> None:
        """Queue a request until ``flush``; ``Settle`` with its id follows, or ``Ended``."""
        if self.state is not State.ESTABLISHED:
            raise ValueError(f"no request can be sent while {self.state}")
        self._ours.add(request.id)
        self._line.queue.append(request)

    def forget(self, request_id: str) -> None:
        """Nobody waits for this request any more; if it has not been sent yet, it is not sent."""
        self._ours.discard(request_id)
        self._keep(lambda message: message.id != request_id)

    def respond(self, request_id: str, success: bool, payload: Any) -> None:
        """Queue the answer to a request that was given out with ``Serve``, until ``flush``."""
        if request_id not in self._serving or self.state is not State.ESTABLISHED:
            return
        response = OutgoingResponse(request_id, success, js_json.dumps(payload))
        self._serving.discard(request_id)
        self._line.queue.append(response)

    def flush(self, now: float) -> list[Instruction]:
        """Send what is queued, as far as the peer lets us; what was queued together may go as one batch."""
        return [] if self.state is State.CLOSED else self._pump(now)

    def close(self, reason: str, now: float) -> list[Instruction]:
        """Say goodbye to the peer; ``Ended`` follows when it has answered."""
        if self.state is State.CONNECTING:
            return self._end("EPIPE", "closed before there was a session", graceful=True)
        if self.state is not State.ESTABLISHED:
            return []
        self.state = State.CLOSING
        request = self.prepare("close", reason, now)
        self._closing_id = request.id
        self._keep(lambda message: isinstance(message, OutgoingResponse))
        return self._put(request, now)

    def abort(self, code: str, reason: str, *, graceful: bool = False) -> list[Instruction]:
        """End now, without a word to the peer."""
        return self._end(code, reason, graceful=graceful)

    def adopt(self, envelope: Opened) -> None:
        """Take on a session that we know nothing of, only to close it.

        The acknowledgement that a peer repeats when it resumes holds the nonce that this takes.
        """
        body = envelope.body
        nonce, token, dcpsid = body.get("nonce"), body.get("token"), body.get("dcpsid")
        if body.get("type") != "ack" or not (is_text(nonce) and is_text(token) and is_text(dcpsid)):
            raise MalformedRequest(
                "a session that is unknown here was resumed without its last acknowledgement"
            )
        self.peer, self.dcpsid, self.state = envelope.owner, str(dcpsid), State.ESTABLISHED
        self._line.adopt(str(nonce), str(token))

    # -- what the transport says -------------------------------------------------------------------

    def opened(self, now: float) -> list[Instruction]:
        """A new transport is there: an initiator begins or resumes the session, a target repeats itself."""
        self._line.opened()
        if self.dcpsid is not None:
            # An acknowledgement of the handshake names no session, but the first word on a transport must.
            out: list[Instruction] = [*self._line.last_ack(self.dcpsid)]
            if self.role is Role.TARGET:
                return out  # the peer's first word may acknowledge what is on deck: wait for it
            if self._line.on_deck is None and not self._line.queue and self.state is State.ESTABLISHED:
                self._line.queue.append(self.prepare("keepalive", None, now))
            return [*out, *self._line.repeat(), *self._pump(now)]
        if self.role is Role.TARGET or self.state is not State.CONNECTING:
            return []
        # A connect that was never answered is begun anew: the peer may have forgotten it.
        self._line.reset()
        self._sid = self._new_id()
        request = self.prepare("connect", {"version": VERSION, "sid": self._sid}, now)
        self._connect_id = request.id
        return self._put(request, now)

    def lost(self) -> list[Instruction]:
        """The transport is gone. A session waits for the next one; without a session a target is over."""
        self._line.lost()
        if self.state is State.CLOSING:
            return self._end(*self._goodbye, graceful=True)
        if self.role is Role.TARGET and self.dcpsid is None:
            return self._end("ECONNRESET", "the peer left before there was a session")
        return []

    def received(self, envelope: Opened, now: float) -> list[Instruction]:
        """Take a verified envelope."""
        if self.state is State.CLOSED:
            return []
        out: list[Instruction] = []
        try:
            if self.peer is None:
                self.peer = envelope.owner
            if envelope.owner != self.peer:
                raise Violation(f"a message is signed by {envelope.owner}, not by {self.peer}")
            if envelope.body.get("type") == "ack":
                self._line.acknowledged(envelope.body, self.dcpsid)
                out += [*self._pump(now), *self._leave()]
            else:
                sends, new = self._line.accept(envelope.body, self.dcpsid)
                out += sends
                if new:
                    out += self._message(envelope.body, envelope.body_text, now)
        except (Violation, MalformedRequest) as error:
            return out + self._end(error.code, str(error))
        return [*out, *self._line.repeat()]

    # -- inside ------------------------------------------------------------------------------------

    def _message(self, body: Mapping[str, Any], text: str, now: float) -> list[Instruction]:
        if len(self._serving) + len(self._line.queue) > 4 * self._max_in_flight:
            raise Violation("the peer sends requests and takes no answers", code="EFLOOD")
        if body.get("type") != "batch":
            return self._dispatch(body, text, now)
        members = body.get("payload")
        if self.dcpsid is None or not isinstance(members, list) or not 0 < len(members) <= 2 * MAX_BATCH:
            raise MalformedRequest(f"a batch must be a list of at most {MAX_BATCH} messages within a session")
        out: list[Instruction] = []
        for member in members:
            if not isinstance(member, Mapping) or member.get("type") == "batch":
                raise MalformedRequest("a member of a batch is no message")
            if self.state is State.CLOSED:
                break
            out += self._dispatch(member, "", now)
        return out

    def _dispatch(self, body: Mapping[str, Any], text: str, now: float) -> list[Instruction]:
        kind = body.get("type")
        if kind == "request":
            return self._requested(read_request(body, text), now)
        if kind == "response":
            return self._answered(body, now)
        if kind == "notification" and self.dcpsid is not None:
            return []  # nothing in this protocol needs one
        raise MalformedRequest(f"a message of the type {str(kind)[:40]!r} makes no sense here")

    def _requested(self, request: Request, now: float) -> list[Instruction]:
        operation = request.operation
        if self.dcpsid is None:
            if self.role is Role.TARGET and operation == "connect":
                return self._accept(request, now)
            raise MalformedRequest(f"the operation {operation} came before there was a session")
        if operation == "connect":
            raise MalformedRequest("a second connect came within the session")
        if operation == "close":
            return self._asked_to_close(request, now)
        if self.state is not State.ESTABLISHED:
            return []
        if operation == "keepalive":
            return self._answer(request.id, True, {"success": True}, now)
        if request.id in self._serving:
            raise MalformedRequest("two requests have the same id")
        refused = refusal(request.validity, self._stamps, now + self.clock_offset)
        if refused is None and len(self._serving) >= self._max_in_flight:
            refused = (
                "EBUSY",
                f"{self._max_in_flight} requests of this connection wait for their answers already",
            )
        if refused is not None:
            code, message = refused
            error = {"name": "Error", "message": message, "code": code, "origin": self.own}
            return self._answer(request.id, False, error, now)
        self._serving.add(request.id)
        return [Serve(request)]

    def _accept(self, request: Request, now: float) -> list[Instruction]:
        data = request.data if isinstance(request.data, Mapping) else {}
        sid, version = data.get("sid"), data.get("version")
        if not isinstance(sid, str) or not 16 <= len(sid) <= 64:
            raise MalformedRequest("the connect request has no usable sid")
        refused = refusal(request.validity, self._stamps, now)
        if refused is not None:
            raise MalformedRequest(f"the connect request is refused: {refused[1]}")
        self.dcpsid = sid + self._new_id()
        if not _is_compatible(version):
            self.state = State.CLOSING
            self._goodbye = "EVERSION", f"the peer speaks version {str(version)[:30]}, not {_COMPATIBLE}"
            error = {"message": _COMPATIBLE, "code": "EVERSION"}
            return self._answer(request.id, False, error, now) + self._leave()
        self.state = State.ESTABLISHED
        answer = self._answer(request.id, True, {"version": VERSION, "operation": "connect"}, now)
        return [*answer, Established(self.dcpsid)]

    def _answered(self, body: Mapping[str, Any], now: float) -> list[Instruction]:
        name, success = body.get("id"), body.get("success")
        if type(success) is not bool or not isinstance(name, str):
            raise MalformedRequest("a response has no id or no success")
        if name == self._connect_id:
            return self._welcomed(body, success, now)
        if name == self._closing_id:
            return self._end("EPIPE", "the connection closed", graceful=True)
        if name not in self._ours:
            return []  # we gave up waiting for it, or it was a keepalive
        self._ours.discard(name)
        return [Settle(name, success, body.get("payload"))]

    def _welcomed(self, body: Mapping[str, Any], success: bool, now: float) -> list[Instruction]:
        payload, dcpsid, time = body.get("payload"), body.get("dcpsid"), body.get("time")
        self._connect_id = None
        if not success:
            wanted = payload.get("message") if isinstance(payload, Mapping) else payload
            raise Violation(
                f"the server wants protocol {str(wanted)[:100]}; we speak {VERSION}", code="EVERSION"
            )
        if not is_text(dcpsid) or not str(dcpsid).startswith(str(self._sid)):
            raise Violation("the server's session does not begin with what we sent", code="EDCPSID")
        if type(time) not in (int, float) or not time:
            raise Violation("the server's answer to connect has no time")
        self.clock_offset = time - now
        self.dcpsid = str(dcpsid)
        self.state = State.ESTABLISHED
        return [Established(self.dcpsid), *self._pump(now)]

    def _asked_to_close(self, request: Request, now: float) -> list[Instruction]:
        """The peer says goodbye: answer once the deck is free, and do not wait for its acknowledgement."""
        reason = request.data if isinstance(request.data, str) else "no reason given"
        self._goodbye = "ECONNRESET", f"the peer closed the session ({reason[:100]})"
        self.state, self._closing_id = State.CLOSING, None
        self._line.queue.clear()
        return self._answer(request.id, True, "goodbye", now) + self._leave()

    def _leave(self) -> list[Instruction]:
        if self.state is not State.CLOSING or self._closing_id is not None or self._line.queue:
            return []
        return self._end(*self._goodbye, graceful=True)

    def _answer(self, name: str, success: bool, payload: Any, now: float) -> list[Instruction]:
        return self._put(OutgoingResponse(name, success, js_json.dumps(payload)), now)

    def _put(self, message: Outgoing, now: float) -> list[Instruction]:
        self._line.queue.append(message)
        return self._pump(now)

    def _pump(self, now: float) -> list[Instruction]:
        return [*self._line.pump(self.dcpsid, now + self.clock_offset)]

    def _keep(self, wanted: Callable[[Outgoing], bool]) -> None:
        self._line.queue = deque(filter(wanted, self._line.queue))

    def _end(self, code: str, reason: str, *, graceful: bool = False) -> list[Instruction]:
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        self._line.reset()
        self._ours.clear()
        self._serving.clear()
        return [Ended(code, reason, graceful)]


def _is_compatible(version: object) -> bool:
    """Does a peer's version satisfy ``^5.2.0``?"""
    if not isinstance(version, str) or len(version) > 30:
        return False
    numbers = version.split(".")
    return len(numbers) == 3 and numbers[0] == "5" and numbers[1].isdecimal() and int(numbers[1]) >= 2
