"""An http server that drops who connects and then asks for nothing: aiohttp waits for ever for a first request.

Anybody could else use up all sockets of the process with connections that cost him nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from loguru import logger

FIRST_REQUEST_S = 20.0
"""How long the head of the first request of a connection may take."""


class ImpatientRunner(web.AppRunner):
    """As AppRunner, for sites whose connections must say soon what they want."""

    __slots__ = ("_first_request_s", "_silent")

    def __init__(self, app: web.Application, *, first_request_s: float | None = None, **options: Any) -> None:
        super().__init__(app, logger=_complaints(), **options)
        self._first_request_s = FIRST_REQUEST_S if first_request_s is None else first_request_s
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        app.middlewares.append(self._heard)

    @property
    def server(self) -> web.Server | None:
        """What makes the protocol of each new connection (all that a site wants of a server)."""
        server = super().server
        return None if server is None else cast(web.Server, self._watching(server))

    def _watching(self, server: web.Server) -> Callable[[], asyncio.BaseProtocol]:
        def connected() -> asyncio.BaseProtocol:
            protocol = server()
            loop = asyncio.get_running_loop()
            self._silent[protocol] = loop.call_later(self._first_request_s, self._still_silent, protocol)
            return protocol

        return connected

    def _still_silent(self, protocol: web.RequestHandler) -> None:
        del self._silent[protocol]
        protocol.force_close()

    @web.middleware
    async def _heard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return cast(web.StreamResponse, await handler(request))


class _Complaints(logging.Handler):
    """What aiohttp says: a request that is no http is its sender's fault, and worth no traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            logger.debug("{}: {}", record.getMessage(), " ".join(str(error).split())[:200])
        else:
            logger.opt(exception=error).log(record.levelname, "{}", record.getMessage())


def _complaints() -> logging.Logger:
    own = logging.getLogger("dcp_worker.http")
    if not own.handlers:
        own.propagate = False
        own.setLevel(logging.WARNING)
        own.addHandler(_Complaints())
    return own
