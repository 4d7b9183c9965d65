"""What goes out in one session, printed once: requests, responses and acknowledgements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from . import js_json

_MAX_BATCH_MEMBER = 64 * 1024  # characters; larger messages go alone, to be printed once and not twice


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request of ours, printed once; ``payload_text`` is what the signatures in ``auth`` are over."""

    id: str
    operation: str
    data_text: str | None
    tail_text: str  # the allow list and validity
    auth: Mapping[str, Any]

    @property
    def payload_text(self) -> str:
        data = "" if self.data_text is None else f',"data":{self.data_text}'
        return f'{{"operation":{js_json.dumps(self.operation)}{data},{self.tail_text}}}'

    @property
    def batched_payload_text(self) -> str:
        """Inside a batch the data is a string of JSON."""
        data = "" if self.data_text is None else f',"jsonData":{js_json.dumps(self.data_text)}'
        return f'{{"operation":{js_json.dumps(self.operation)}{data},{self.tail_text}}}'

    @property
    def size(self) -> int:
        return len(self.data_text or "") + len(self.tail_text)


def prepare(
    request_id: str, operation: str, data: Any, *, allow: Sequence[Any], stamp: str, ttl: float, time: float
) -> OutgoingRequest:
    """Print a request. ``data`` None is left out; ``time`` is the server's clock in seconds."""
    validity = {"stamp": stamp, "ttl": ttl, "time": round(time, 3)}
    tail = f'"allow":{js_json.dumps(list(allow))},"validity":{js_json.dumps(validity)}'
    return OutgoingRequest(request_id, operation, None if data is None else js_json.dumps(data), tail, {})


@dataclass(frozen=True, slots=True)
class OutgoingResponse:
    """The answer to a request of the peer."""

    id: str
    success: bool
    payload_text: str

    auth: ClassVar[Mapping[str, Any]] = {}

    @property
    def size(self) -> int:
        return len(self.payload_text)


Outgoing = OutgoingRequest | OutgoingResponse


@dataclass(frozen=True, slots=True)
class Ack:
    """Acknowledges a message by its token and hands out the nonce of the next one."""

    token: str
    nonce: str
    message: str
    dcpsid: str | None  # none in the handshake

    def body(self) -> str:
        session = "" if self.dcpsid is None else f'"dcpsid":{js_json.dumps(self.dcpsid)},'
        rest = js_json.dumps({"token": self.token, "nonce": self.nonce, "messageId": self.message})
        return f'{{"type":"ack",{session}{rest[1:]}'


@dataclass(slots=True)
class OnDeck:
    """The one message that is not acknowledged yet."""

    body: str
    token: str
    sent: bool  # on the current transport


def may_batch(message: Outgoing) -> bool:
    """Signatures do not travel in batches, and large messages go faster alone."""
    return not message.auth and message.size <= _MAX_BATCH_MEMBER


def print_head(message: Outgoing, *, batched: bool, tail: str) -> str:
    """A message's body without its closing brace; ``tail`` is what follows the signatures."""
    if isinstance(message, OutgoingResponse):
        success = "true" if message.success else "false"
        kind = f'"response","success":{success},"payload":{message.payload_text}'
    else:
        kind = f'"request","payload":{message.batched_payload_text if batched else message.payload_text}'
    return f'{{"id":{js_json.dumps(message.id)},"type":{kind},"auth":{js_json.dumps(message.auth)},{tail}'
