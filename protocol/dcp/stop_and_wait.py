"""One message at a time each way: acknowledgements, nonces, repetitions and batches, whatever messages mean.

Pure: what happens comes in as calls, and the bodies that are to be signed and sent come back.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import DcpError
from . import js_json
from .instructions import Send
from .outgoing import Ack, OnDeck, Outgoing, may_batch, print_head

MAX_BATCH = 20
"""Messages in one batch."""

_MAX_REPETITIONS = 32  # of one message, before the peer is taken for broken
_MAX_TEXT = 200  # characters in an id, token or nonce


class Violation(DcpError):
    """The peer has broken a rule that the session cannot go on without."""

    code = "EINVAL"


class StopAndWait:
    """The two directions of one session: what we may send next, and what the peer may."""

    def __init__(self, role: str, new_id: Callable[[], str]) -> None:
        self.queue: deque[Outgoing] = deque()
        self.online = False
        self.delivered = 0  # messages that were acknowledged
        self._letter = role[0]
        self._new_id = new_id
        self._count = 0
        self._repetitions = 0
        self.reset()

    def reset(self) -> None:
        """Begin from nothing, as two peers do who have not met."""
        self.queue.clear()
        self.on_deck: OnDeck | None = None  # our message that is not acknowledged
        self._nonce: str | None = None  # for our next message
        self._first = True  # our first message has no nonce
        self._expected: str | None = None  # the nonce of the peer's next message
        self._trusting = False
        self._last_ack: Ack | None = None  # ours
        self._last_token: str | None = None  # of ours, acknowledged
        self._last_id: str | None = None  # of the peer's last message

    def adopt(self, nonce: str, token: str) -> None:
        """Go on in the middle, knowing only the peer's last acknowledgement; trust its own nonces."""
        self._nonce, self._last_token, self._first, self._trusting = nonce, token, False, True

    def name(self) -> str:
        """A new id for a message."""
        self._count += 1
        return f"{self._letter}-{self._count}-{self._new_id()}"

    # -- our messages ------------------------------------------------------------------------------

    def pump(self, dcpsid: str | None, time: float) -> list[Send]:
        """Put the next message on deck, or a batch, if the deck is free and there is a nonce."""
        if self.on_deck is not None or not self.queue or (self._nonce is None and not self._first):
            return []
        members = [self.queue.popleft()]
        if dcpsid is not None and not self._first and may_batch(members[0]):
            while self.queue and len(members) < MAX_BATCH and may_batch(self.queue[0]):
                members.append(self.queue.popleft())
        session = "" if dcpsid is None else f'"dcpsid":{js_json.dumps(dcpsid)},'
        tail = f'{session}"time":{js_json.number(round(time, 3))}'
        if len(members) == 1:
            head = print_head(members[0], batched=False, tail=tail)
        else:
            inner = ",".join(print_head(member, batched=True, tail=tail) + "}" for member in members)
            head = f'{{"id":"{self.name()}","type":"batch","payload":[{inner}],"auth":{{}},{tail}'
        token = f"AT{self.name().replace('-', '', 1)}"
        self.on_deck = OnDeck(
            f'{head},"ackToken":"{token}","nonce":{js_json.dumps(self._nonce)}}}', token, False
        )
        self._nonce, self._first = None, False
        return self.repeat()

    def repeat(self) -> list[Send]:
        """Send what is on deck, unless it went out on this transport already."""
        if self.on_deck is None or self.on_deck.sent or not self.online:
            return []
        self.on_deck.sent = True
        return [Send(self.on_deck.body)]

    def acknowledged(self, body: Mapping[str, Any], dcpsid: str | None) -> None:
        """The peer acknowledges; the deck is free then."""
        token, nonce, session = body.get("token"), body.get("nonce"), body.get("dcpsid")
        if not is_text(token) or not is_text(nonce):
            raise Violation("an acknowledgement has no token or no nonce")
        if self.on_deck is not None and token == self.on_deck.token:
            if session is not None and session != dcpsid:
                raise Violation("an acknowledgement belongs to another session", code="EDCPSID")
            self.on_deck, self._last_token, self._nonce = None, str(token), str(nonce)
            self.delivered += 1
        elif token != self._last_token:
            raise Violation("an acknowledgement names a message that is not waiting for one")

    # -- the peer's messages -----------------------------------------------------------------------

    def accept(self, body: Mapping[str, Any], dcpsid: str | None) -> tuple[list[Send], bool]:
        """Acknowledge a message; True when it is new, False when it is a repetition of the last one."""
        name, token = body.get("id"), body.get("ackToken")
        if not is_text(name) or not is_text(token):
            raise Violation("a message has no id or no ackToken")
        if name == self._last_id:
            self._repetitions += 1
            if self._repetitions > _MAX_REPETITIONS:
                raise Violation("the peer repeats one message without end", code="EFLOOD")
            return self.last_ack(None), False
        if dcpsid is not None and body.get("dcpsid") != dcpsid:
            raise Violation("a message belongs to another session", code="EDCPSID")
        if body.get("nonce") != self._expected and not self._trusting:
            raise Violation(
                "a message has not the nonce of its predecessor's acknowledgement", code="DCPC-1026"
            )
        self._last_id, self._repetitions = str(name), 0
        self._expected = f"NN{self.name().replace('-', '', 1)}"
        self._last_ack = Ack(str(token), self._expected, str(name), dcpsid)
        return self.last_ack(None), True

    def last_ack(self, dcpsid: str | None) -> list[Send]:
        """Our last acknowledgement once more; on a new transport it must name the session."""
        if self._last_ack is None:
            return []
        return [Send((self._last_ack if dcpsid is None else replace(self._last_ack, dcpsid=dcpsid)).body())]

    # -- the transport -----------------------------------------------------------------------------

    def opened(self) -> None:
        """There is a new transport."""
        self.online, self._repetitions = True, 0

    def lost(self) -> None:
        """The transport is gone, and maybe with it what was sent last."""
        self.online = False
        if self.on_deck is not None:
            self.on_deck.sent = False


def is_text(value: object) -> bool:
    """Could this be an id, a token or a nonce?"""
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT
