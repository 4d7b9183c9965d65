"""What travels in one socket.io ``message`` event, and how a long message is cut and put together again.

A frame starts with ``{`` (a whole message), ``E`` (extended: four hex digits of header length, a letter, the
header, the body), ``A`` (a transport acknowledgement, unused) or ``T`` (debug text). Lengths are counted as
JavaScript counts them, in UTF-16 code units. Pure: no sockets here.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ...errors import DcpError
from . import js_json

FRAGMENT_SIZE = 300_000
"""UTF-16 code units that we accept in one frame, and the most that we send."""

_MIN_PEER_FRAGMENT = 1000  # a peer that announces less would make us cut a megabyte into too many pieces
_PEER_FRAGMENT = 1_000_000  # what a peer takes before it has announced itself
_MAX_HEADER = 4096
_MAX_OPEN_MESSAGES = 8  # fragmented messages in flight at once
_MAX_PENDING = 64  # whole messages that wait behind an incomplete one
_SURROGATES = re.compile("[\ud800-\udfff]")


class TransportError(DcpError):
    """A frame that breaks the rules of the transport, or goes beyond its limits."""

    code = "ETRANSPORT"


@dataclass(slots=True)
class _Assembly:
    """A message of which some fragments have come."""

    total: int
    parts: dict[int, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.parts) == self.total

    def text(self) -> str:
        parts = [self.parts[seq] for seq in range(self.total)]
        return _join(parts)


class Transport:
    """Cuts messages into frames and puts frames together to messages, for the life of one socket."""

    def __init__(self, *, max_message: int, fragment_size: int = FRAGMENT_SIZE) -> None:
        """``max_message`` bounds one incoming message, and all incomplete ones together, in characters."""
        self._max_message = max_message
        self._fragment_size = fragment_size
        self._peer_fragment = _PEER_FRAGMENT
        self._sent = 0
        self._pending: deque[str | _Assembly] = deque()  # in the order in which the messages began
        self._open: dict[Any, _Assembly] = {}
        self._held = 0  # characters in incomplete and waiting messages

    def announcement(self) -> str:
        """The first frame that either side sends."""
        return "E0000P" + js_json.dumps(
            {
                "canOoo": False,
                "canAck": False,
                "wantsConcat": True,
                "wantsAck": False,
                "rxMaxFragmentSize": self._fragment_size,
                "rxMaxFragmentCount": 0,
                "pingInterval": 10100,
                "hasAnnounced": True,
            }
        )

    def outgoing(self, message: str) -> list[str]:
        """The frames of one message, to be sent in this order."""
        self._sent += 1
        size = min(self._peer_fragment, FRAGMENT_SIZE)
        pieces = _cut(message, size)
        if len(pieces) == 1:
            return [message]
        frames = []
        for seq, piece in enumerate(pieces):
            header = f'{{"msgId":{self._sent},"seq":{seq},"total":{len(pieces)}}}'
            frames.append(f"E{len(header):04x}C{header}{piece}")
        return frames

    def incoming(self, frame: object) -> list[str]:
        """Take one frame; give back the messages that are complete now, in the order in which they began."""
        if not isinstance(frame, str) or frame[:1] in ("A", "T", ""):
            return []
        if frame[0] == "{":
            if len(frame) > self._max_message:
                raise TransportError(
                    f"a message of {len(frame)} characters is over the limit of {self._max_message}"
                )
            if not self._pending:
                return [frame]
            self._hold(len(frame))
            self._pending.append(frame)
            if len(self._pending) > _MAX_PENDING:
                raise TransportError(f"more than {_MAX_PENDING} messages wait behind an incomplete one")
            return []
        if frame[0] != "E":
            raise TransportError(f"a frame that starts with {frame[0]!r} has no meaning")
        return self._extended(frame)

    def _extended(self, frame: str) -> list[str]:
        try:
            header_end = 6 + int(frame[1:5], 16)
        except ValueError:
            raise TransportError(
                "the length of an extended frame's header is no hexadecimal number"
            ) from None
        if header_end > 6 + _MAX_HEADER:
            raise TransportError("the header of an extended frame is too long")
        kind, header, body = frame[5:6], frame[6:header_end], frame[header_end:]
        if kind == "P":
            self._announced(header or body)
        elif kind == "C":
            return self._fragment(header, body)
        elif kind == "O":
            return [body]
        return []  # unknown kinds are for newer peers; the reference ignores them, too

    def _announced(self, text: str) -> None:
        peer = _json_object(text[:_MAX_HEADER], "announcement")
        size = peer.get("rxMaxFragmentSize")
        if type(size) is int and size > 0:
            self._peer_fragment = max(size, _MIN_PEER_FRAGMENT)

    def _fragment(self, header_text: str, body: str) -> list[str]:
        header = _json_object(header_text, "fragment header")
        message, seq, total = header.get("msgId"), header.get("seq"), header.get("total")
        if type(message) not in (int, str) or type(seq) is not int or type(total) is not int:
            raise TransportError("a fragment's header needs msgId, seq and total")
        if not 0 <= seq < total or total > 2 + self._max_message // _MIN_PEER_FRAGMENT:
            raise TransportError(f"fragment {seq} of {total} makes no sense or is over the limit")
        assembly = self._open.get(message)
        if assembly is None:
            if len(self._open) >= _MAX_OPEN_MESSAGES:
                raise TransportError(f"more than {_MAX_OPEN_MESSAGES} fragmented messages at once")
            assembly = self._open[message] = _Assembly(total)
            self._pending.append(assembly)
        if assembly.total != total or seq in assembly.parts:
            raise TransportError(
                f"fragment {seq} of message {str(message)[:40]} came twice or changed its total"
            )
        self._hold(len(body))
        assembly.parts[seq] = body
        if not assembly.complete:
            return []
        del self._open[message]
        return self._ready()

    def _ready(self) -> list[str]:
        ready = []
        while self._pending:
            first = self._pending[0]
            if isinstance(first, _Assembly):
                if not first.complete:
                    break
                first = first.text()
            self._pending.popleft()
            ready.append(first)
        self._held = 0 if not self._pending else self._held - sum(map(len, ready))
        return ready

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._max_message:
            raise TransportError(f"messages in flight are over the limit of {self._max_message} characters")


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        value = js_json.loads(text)
    except js_json.JsJsonError as error:
        raise TransportError(f"a transport {what} is {error}") from None
    if not isinstance(value, dict):
        raise TransportError(f"a transport {what} is no object")
    return value


def _cut(text: str, size: int) -> list[str]:
    """Cut into pieces of at most ``size`` UTF-16 code units, never inside a surrogate pair."""
    if len(text) * 2 <= size:
        return [text]
    if text.isascii():
        return [text[start : start + size] for start in range(0, len(text), size)] or [text]
    units = text.encode("utf-16-le", "surrogatepass")
    pieces = []
    start = 0
    while start < len(units):
        end = start + 2 * size
        if end < len(units) and 0xDC <= units[end + 1] <= 0xDF:  # the second half of a pair would come next
            end -= 2
        pieces.append(units[start:end].decode("utf-16-le", "surrogatepass"))
        start = end
    return pieces


def _join(parts: list[str]) -> str:
    text = "".join(parts)
    if any(_SURROGATES.match(part[-1:]) for part in parts):
        # JavaScript peers cut pairs in half; beside each other the halves are one character again.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text
