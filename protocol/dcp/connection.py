"""One DCP session as a state machine, in either role: events in, instructions out; no sockets, clock or keys.

Each side sends one message at a time and waits for its acknowledgement, which carries the single-use nonce of
the next message. Acknowledgements go out before a message is processed. After a lost transport both sides
repeat their last acknowledgement and what was not acknowledged; a message with the id of the previous one is
a repetition.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from . import js_json
from .address import Address
from .envelope import Opened
from .instructions import Ended, Established, Instruction, Send, Serve, Settle
from .outgoing import Ack, OnDeck, Outgoing, OutgoingRequest, OutgoingResponse, may_batch, prepare, print_head
from .request import MalformedRequest, Request, read_request
from .validity import StampMemory, refusal

VERSION = "5.3.0"
"""The version of the connection protocol that we speak; peers of 5.2.0 and later 5.x understand it."""

_COMPATIBLE = "^5.2.0"
_MAX_BATCH = 20  # messages
_MAX_REPETITIONS = 32  # of one message, before the peer is taken for broken
_MAX_TEXT = 200  # characters in an id, token or nonce
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
        self._count = 0
        self._online = False
        self._queue: deque[Outgoing] = deque()
        self._on_deck: OnDeck | None = None
        self._nonce: str | None = None  # for our next message
        self._first = True  # our first message has no nonce
        self._expected_nonce: str | None = None  # in the peer's next message
        self._last_ack: Ack | None = None
        self._last_token: str | None = None  # of ours, acknowledged
        self._last_id: str | None = None  # of the peer's last message
        self._repetitions = 0
        self._ours: set[str] = set()  # our requests that wait for a response
        self._serving: set[str] = set()
        self._stamps = StampMemory()
        self._connect: OutgoingRequest | None = None
        self._closing_id: str | None = None
        self._adopted = False
        self._goodbye = ("EPIPE", "the connection closed")

    # -- what the application wants ----------------------------------------------------------------

    @property
    def waits_for_ack(self) -> str | None:
        """The token of the acknowledgement that the transport should have brought by now, for a timer."""
        return self._on_deck.token if self._on_deck is not None and self._on_deck.sent else None

    def prepare(self, operation: str, data: Any, now: float, *, allow: Any = ()) -> OutgoingRequest:
        """Print a request; ``dataclasses.replace(auth=…)`` adds signatures over its ``payload_text``."""
        self._count += 1
        name = f"{self.role[0]}-{self._count}-{self._new_id()}"
        return prepare(
            name,
            operation,
            data,
            allow=allow,
            stamp=self._new_id(),
            ttl=_TTL_S,
            time=now + self.clock_offset,
        )

    def submit(self, request: OutgoingRequest, now: float) -> list[Instruction]:
        """Queue a request; ``Settle`` with its id follows, or ``Ended``."""
        if self.state is not State.ESTABLISHED:
            raise ValueError(f"no request can be sent while {self.state}")
        self._ours.add(request.id)
        self._queue.append(request)
        return self._pump(now)

    def forget(self, request_id: str) -> None:
        """Nobody waits for this request any more; if it has not been sent yet, it is not sent."""
        self._ours.discard(request_id)
        self._queue = deque(message for message in self._queue if message.id != request_id)

    def respond(self, request_id: str, success: bool, payload: Any, now: float) -> list[Instruction]:
        """Answer a request that was given out with ``Serve``."""
        if request_id not in self._serving or self.state in (State.CLOSING, State.CLOSED):
            return []
        text = js_json.dumps(payload)
        self._serving.discard(request_id)
        self._queue.append(OutgoingResponse(request_id, success, text))
        return self._pump(now)

    def close(self, reason: str, now: float) -> list[Instruction]:
        """Say goodbye to the peer; ``Ended`` follows when it has answered."""
        if self.state is State.CONNECTING:
            return self._end("EPIPE", "closed before there was a session", graceful=True)
        if self.state is not State.ESTABLISHED:
            return []
        self.state = State.CLOSING
        request = self.prepare("close", reason, now)
        self._closing_id = request.id
        self._ours.add(request.id)
        self._queue = deque(message for message in self._queue if isinstance(message, OutgoingResponse))
        self._queue.append(request)
        return self._pump(now)

    def abort(self, code: str, reason: str) -> list[Instruction]:
        """End now, without a word to the peer."""
        return self._end(code, reason)

    # -- what the transport says -------------------------------------------------------------------

    def opened(self, now: float) -> list[Instruction]:
        """A new transport is there: an initiator begins or resumes the session, a target repeats itself."""
        self._online, self._repetitions = True, 0
        if self.dcpsid is not None:
            return self._resume(now)
        if self.role is Role.TARGET:
            return []
        # A connect that was never answered is begun anew: the peer may have forgotten it.
        self._nonce, self._first, self._on_deck, self._last_token = None, True, None, None
        self._expected_nonce, self._last_ack, self._last_id = None, None, None
        self._connect = self.prepare("connect", {"version": VERSION, "sid": self._new_id()}, now)
        self._queue = deque([self._connect])
        return self._pump(now)

    def _resume(self, now: float) -> list[Instruction]:
        out: list[Instruction] = []
        if self._last_ack is not None:
            # Those of the handshake name no session, but the first word on a new transport must.
            out.append(Send(replace(self._last_ack, dcpsid=self.dcpsid).body()))
        if self.role is Role.TARGET:
            return out  # the peer's first word may acknowledge what is on deck: wait for it
        if self._on_deck is None and not self._queue and self.state is State.ESTABLISHED:
            self._queue.append(self.prepare("keepalive", None, now))
        return out + self._repeat() + self._pump(now)

    def adopt(self, envelope: Opened) -> None:
        """Take on a session that we know nothing of, only to close it.

        The acknowledgement that a peer repeats when it resumes holds the nonce that this takes.
        """
        body = envelope.body
        nonce, token, dcpsid = body.get("nonce"), body.get("token"), body.get("dcpsid")
        if body.get("type") != "ack" or not (_is_text(nonce) and _is_text(token) and _is_text(dcpsid)):
            raise MalformedRequest(
                "a session that is unknown here was resumed without its last acknowledgement"
            )
        self.peer, self.dcpsid, self.state = envelope.owner, str(dcpsid), State.ESTABLISHED
        self._nonce, self._last_token, self._first, self._adopted = str(nonce), str(token), False, True

    def lost(self) -> list[Instruction]:
        """The transport is gone. A session waits for the next one; without a session a target is over."""
        self._online = False
        if self._on_deck is not None:
            self._on_deck.sent = False
        if self.state is State.CLOSING:
            return self._end(*self._goodbye, graceful=True)
        if self.role is Role.TARGET and self.dcpsid is None:
            return self._end("ECONNRESET", "the peer left before there was a session")
        return []

    def received(self, envelope: Opened, now: float) -> list[Instruction]:
        """Take a verified envelope."""
        if self.state is State.CLOSED:
            return []
        out = self._received(envelope, now)
        return out + self._repeat()

    # -- inside ------------------------------------------------------------------------------------

    def _received(self, envelope: Opened, now: float) -> list[Instruction]:
        if self.peer is None:
            self.peer = envelope.owner
        if envelope.owner != self.peer:
            return self._end(
                "EINVAL", f"a message on this connection is signed by {envelope.owner}, not {self.peer}"
            )
        body = envelope.body
        if body.get("type") == "ack":
            return self._acknowledged(body, now)
        name, token = body.get("id"), body.get("ackToken")
        if not _is_text(name) or not _is_text(token):
            return self._end("EINVAL", "a message has no id or no ackToken")
        if name == self._last_id:
            self._repetitions += 1
            if self._repetitions > _MAX_REPETITIONS:
                return self._end("EFLOOD", "the peer repeats one message without end")
            return [] if self._last_ack is None else [Send(self._last_ack.body())]
        if self.dcpsid is not None and body.get("dcpsid") != self.dcpsid:
            return self._end("EDCPSID", "a message belongs to another session")
        if body.get("nonce") != self._expected_nonce and not self._adopted:
            return self._end(
                "DCPC-1026", "a message has not the nonce that its predecessor's acknowledgement gave"
            )
        return self._message(body, str(name), str(token), envelope.body_text, now)

    def _message(
        self, body: Mapping[str, Any], name: str, token: str, text: str, now: float
    ) -> list[Instruction]:
        self._last_id, self._repetitions = name, 0
        self._count += 1
        self._expected_nonce = f"NN{self.role[0]}{self._count}-{self._new_id()}"
        self._last_ack = Ack(token, self._expected_nonce, name, self.dcpsid)
        out: list[Instruction] = [Send(self._last_ack.body())]
        if len(self._serving) + len(self._queue) > 4 * self._max_in_flight:
            return out + self._end("EFLOOD", "the peer sends requests and takes no answers")
        try:
            if body.get("type") != "batch":
                return out + self._dispatch(body, text, now)
            members = body.get("payload")
            if self.dcpsid is None or not isinstance(members, list) or not 0 < len(members) <= 2 * _MAX_BATCH:
                raise MalformedRequest(
                    f"a batch must be a list of at most {_MAX_BATCH} messages within a session"
                )
            for member in members:
                if not isinstance(member, Mapping) or member.get("type") == "batch":
                    raise MalformedRequest("a member of a batch is no message")
                out += self._dispatch(member, "", now)
        except MalformedRequest as error:
            out += self._end("EINVAL", str(error))
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
        refused = refusal(request.validity, self._stamps, now + self.clock_offset)
        if refused is None and len(self._serving) >= self._max_in_flight:
            refused = (
                "EBUSY",
                f"more than {self._max_in_flight} requests of this connection wait for their answers",
            )
        if refused is None and request.id in self._serving:
            raise MalformedRequest("two requests have the same id")
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
            refusal_text = {"message": _COMPATIBLE, "code": "EVERSION"}
            return self._answer(request.id, False, refusal_text, now) + self._leave()
        self.state = State.ESTABLISHED
        answer = self._answer(request.id, True, {"version": VERSION, "operation": "connect"}, now)
        return [*answer, Established(self.dcpsid)]

    def _answered(self, body: Mapping[str, Any], now: float) -> list[Instruction]:
        name, success = str(body.get("id")), body.get("success")
        if type(success) is not bool:
            raise MalformedRequest("a response has no success")
        if self._connect is not None and name == self._connect.id:
            return self._welcomed(body, success, now)
        if name == self._closing_id:
            return self._end("EPIPE", "the connection closed", graceful=True)
        if name not in self._ours:
            return []  # we gave up waiting for it, or it was a keepalive
        self._ours.discard(name)
        return [Settle(name, success, body.get("payload"))]

    def _welcomed(self, body: Mapping[str, Any], success: bool, now: float) -> list[Instruction]:
        payload, dcpsid, time = body.get("payload"), body.get("dcpsid"), body.get("time")
        sent = js_json.loads(self._connect.data_text or "{}") if self._connect is not None else {}
        self._connect = None
        if not success:
            wanted = payload.get("message") if isinstance(payload, Mapping) else payload
            return self._end("EVERSION", f"the server wants protocol {str(wanted)[:100]}; we speak {VERSION}")
        if not isinstance(dcpsid, str) or len(dcpsid) > _MAX_TEXT or not dcpsid.startswith(sent["sid"]):
            return self._end("EDCPSID", "the server's session does not begin with what we sent")
        if type(time) not in (int, float) or not time:
            return self._end("EINVAL", "the server's answer to connect has no time")
        self.clock_offset = time - now
        self.dcpsid = dcpsid
        self.state = State.ESTABLISHED
        return [Established(dcpsid), *self._pump(now)]

    def _asked_to_close(self, request: Request, now: float) -> list[Instruction]:
        """The peer says goodbye: answer once the deck is free, and do not wait for its acknowledgement."""
        reason = request.data if isinstance(request.data, str) else "no reason given"
        self._goodbye = "ECONNRESET", f"the peer closed the session ({reason[:100]})"
        self.state, self._closing_id = State.CLOSING, None
        self._queue = deque([OutgoingResponse(request.id, True, '"goodbye"')])
        return self._pump(now) + self._leave()

    def _leave(self) -> list[Instruction]:
        if self.state is not State.CLOSING or self._closing_id is not None or self._queue:
            return []
        return self._end(*self._goodbye, graceful=True)

    def _answer(self, name: str, success: bool, payload: Any, now: float) -> list[Instruction]:
        self._queue.append(OutgoingResponse(name, success, js_json.dumps(payload)))
        return self._pump(now)

    def _acknowledged(self, body: Mapping[str, Any], now: float) -> list[Instruction]:
        token, nonce, dcpsid = body.get("token"), body.get("nonce"), body.get("dcpsid")
        if not _is_text(token) or not _is_text(nonce):
            return self._end("EINVAL", "an acknowledgement has no token or no nonce")
        if self._on_deck is None or token != self._on_deck.token:
            if token != self._last_token:
                return self._end("EINVAL", "an acknowledgement names a message that is not waiting for one")
            return []
        if dcpsid is not None and dcpsid != self.dcpsid:
            return self._end("EDCPSID", "an acknowledgement belongs to another session")
        self._on_deck, self._last_token, self._nonce = None, str(token), str(nonce)
        return self._pump(now) + self._leave()

    def _pump(self, now: float) -> list[Instruction]:
        """Put the next message on deck, if the deck is free and there is a nonce for it."""
        if self._on_deck is not None or not self._queue or (self._nonce is None and not self._first):
            return []
        if self.dcpsid is None and self._queue[0] is not self._connect:
            return []
        first = self._queue.popleft()
        members = [first]
        if self.dcpsid is not None and not self._first and may_batch(first):
            while self._queue and len(members) < _MAX_BATCH and may_batch(self._queue[0]):
                members.append(self._queue.popleft())
        dcpsid = "" if self.dcpsid is None else f'"dcpsid":{js_json.dumps(self.dcpsid)},'
        tail = f'{dcpsid}"time":{js_json.number(round(now + self.clock_offset, 3))}'
        if len(members) == 1:
            head = print_head(first, batched=False, tail=tail)
        else:
            self._count += 1
            inner = ",".join(print_head(member, batched=True, tail=tail) + "}" for member in members)
            name = f"{self.role[0]}-{self._count}-{self._new_id()}"
            head = f'{{"id":"{name}","type":"batch","payload":[{inner}],"auth":{{}},{tail}'
        self._count += 1
        token = f"AT{self.role[0]}{self._count}-{self._new_id()}"
        body = f'{head},"ackToken":"{token}","nonce":{js_json.dumps(self._nonce)}}}'
        self._nonce, self._first = None, False
        self._on_deck = OnDeck(body, token, sent=False)
        return self._repeat()

    def _repeat(self) -> list[Instruction]:
        """Send what is on deck, unless it went out on this transport already."""
        if self._on_deck is None or self._on_deck.sent or not self._online:
            return []
        self._on_deck.sent = True
        return [Send(self._on_deck.body)]

    def _end(self, code: str, reason: str, *, graceful: bool = False) -> list[Instruction]:
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        self._queue.clear()
        self._ours.clear()
        self._serving.clear()
        self._on_deck = None
        return [Ended(code, reason, graceful)]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT


def _is_compatible(version: object) -> bool:
    """Does a peer's version satisfy ``^5.2.0``?"""
    if not isinstance(version, str) or len(version) > 30:
        return False
    numbers = version.split(".")
    return len(numbers) == 3 and numbers[0] == "5" and numbers[1].isdecimal() and int(numbers[1]) >= 2
