"""How socket.io packets are read and written: fast, and with hostile ones made harmless."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import engineio.payload  # type: ignore[import-untyped]
import socketio.packet  # type: ignore[import-untyped]
from loguru import logger

from . import js_json
from .transport import FRAGMENT_SIZE

if TYPE_CHECKING:
    from aiohttp import web

PACKET_LIMIT = 16 * FRAGMENT_SIZE
"""Bytes of the largest packet: one fragment in which each character takes three bytes, escaped twice over."""

_BODY_S = 60.0  # a peer that cannot send a packet in this time is as good as gone

MALFORMED = "malformed"
"""The event that a packet becomes that cannot be read."""

# A long-polling peer puts what has gathered in one request; the library's limit of 16 is soon reached by
# fragments and acknowledgements. Their bytes are bounded by PACKET_LIMIT anyway.
engineio.payload.Payload.max_decode_packets = 512


class SocketJson:
    """The json module that the socket.io library shall use."""

    @staticmethod
    def dumps(value: Any, **_options: Any) -> str:
        return js_json.dumps(value)

    @staticmethod
    def loads(text: str, **_options: Any) -> Any:
        try:
            return js_json.loads(text)
        except js_json.JsJsonError as error:
            raise ValueError(str(error)) from None


class Packet(socketio.packet.Packet):  # type: ignore[misc]
    """A packet that turns into a ``malformed`` event where the library's would raise and go on listening."""

    def decode(self, encoded_packet: Any) -> int:
        try:
            attachments: int = super().decode(encoded_packet)
        except Exception as error:
            self.packet_type = socketio.packet.EVENT
            self.namespace, self.id = "/", None
            self.data = [MALFORMED, str(error)[:200]]
            return 0
        if self.packet_type == socketio.packet.EVENT and not (
            isinstance(self.data, list) and self.data and isinstance(self.data[0], str)
        ):
            self.data = [MALFORMED, "an event without a name"]
        return attachments


class _Forward(logging.Handler):
    """One line for each complaint of the libraries, without the tracebacks that bad input would cause."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.debug("{}: {}", record.name, record.getMessage()[:300])


def library_logger() -> logging.Logger:
    """The logger for the libraries: quiet but for errors."""
    quiet = logging.getLogger("dcp_worker.socketio")
    if not quiet.handlers:
        quiet.setLevel(logging.ERROR)
        quiet.propagate = False
        quiet.addHandler(_Forward())
    return quiet


class WholeBody:
    """A request whose body is read whole: the library asks once, and aiohttp gives what has come so far."""

    def __init__(self, request: "web.Request") -> None:
        self._request = request
        self.content = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    async def read(self, length: int) -> bytes:
        async with asyncio.timeout(_BODY_S):
            return await self._request.content.readexactly(length)
