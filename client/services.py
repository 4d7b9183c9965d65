"""The client's connections to the services of one scheduler, opened when first needed and again when lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..errors import DcpError
from .errors import ClientError, SchedulerGone
from .identity import Identity

if TYPE_CHECKING:
    from ..protocol.dcp.bootstrap import SchedulerConfig
    from ..protocol.dcp.initiator import Connection
    from ..protocol.dcp.signer import Signer

OnRequest = Callable[[str, Any], Awaitable[Any]]
OnLost = Callable[[str], None]

PATIENCE_S = 600.0  # how long a scheduler that was there may be away
LONGEST_WAIT_S = 15.0  # between two attempts to reach it
REQUEST_S = 300.0  # an answer takes at most this long
MAX_MESSAGE = 256 * 1024 * 1024  # characters; a fetch may bring many results at once


class Services:
    """Calls operations of services, as one identity.

    ``on_request`` answers what the scheduler asks (events); ``on_lost`` hears the name of a service whose
    session is over, and with it all that was subscribed there."""

    def __init__(
        self, config: "SchedulerConfig", identity: Identity, on_request: OnRequest, on_lost: OnLost
    ) -> None:
        self.config = config
        self.identity = identity
        self._on_request = on_request
        self._on_lost = on_lost
        self._connections: dict[str, Connection] = {}
        self._reached: set[str] = set()
        self.closing = False

    @classmethod
    async def open(cls, url: str, identity: Identity, on_request: OnRequest, on_lost: OnLost) -> "Services":
        """Read the scheduler's configuration; connections come when they are needed."""
        from ..protocol.dcp.bootstrap import fetch_config

        return cls(await fetch_config(url), identity, on_request, on_lost)

    async def connection(self, service: str) -> "Connection":
        """The connection to a service, with a session. Raises ConnectionFailed, SchedulerGone."""
        from ..protocol.dcp.initiator import Connection, ConnectionFailed

        connection = self._connections.get(service)
        if connection is None:
            connection = Connection(
                self._location(service),
                self.identity.owner,
                on_request=self._on_request,
                max_message=MAX_MESSAGE,
            )
            self._connections[service] = connection
        if connection.connected:
            return connection
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        attempt = 0
        while True:
            try:
                await connection.connect()
            except ConnectionFailed as error:
                if service not in self._reached:
                    raise  # it was never there: a wrong address is told at once
                wait = min(LONGEST_WAIT_S, 0.2 * 2**attempt) * random.uniform(0.5, 1)
                if self.closing or asyncio.get_running_loop().time() + wait > deadline:
                    raise SchedulerGone(
                        f"The scheduler is gone: {error} The job goes on without us."
                    ) from None
                logger.debug("{} is away: {}", service, error)
                await asyncio.sleep(wait)
                attempt = min(attempt + 1, 10)
            else:
                if service not in self._reached:
                    self._reached.add(service)
                connection.on_close(lambda: self._lost(service))
                return connection

    async def call(
        self,
        service: str,
        operation: str,
        data: Any,
        *,
        authorise: "Sequence[Signer]" = (),
        repeat: bool = True,
    ) -> Any:
        """Ask a service for something, and again on a new connection when the answer was lost with the old
        one.

        With ``repeat=False`` ConnectionLost is raised instead, because asking twice would do it twice.
        """
        from ..protocol.dcp.initiator import ConnectionLost

        while True:
            connection = await self.connection(service)
            try:
                return await connection.request(operation, data, authorise=authorise, timeout=REQUEST_S)
            except ConnectionLost:
                if not repeat or self.closing:
                    raise

    async def warm(self, *services: str) -> None:
        """Open connections ahead; what fails will fail again, and be told, when it is needed."""
        await asyncio.gather(*(self.connection(name) for name in services), return_exceptions=True)

    async def close(self) -> None:
        """Say goodbye on all connections."""
        self.closing = True
        connections, self._connections = list(self._connections.values()), {}
        results = await asyncio.gather(*(one.close() for one in connections), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, DcpError):
                logger.debug("A goodbye failed: {!r}", result)

    def _location(self, service: str) -> str:
        try:
            return self.config.services[service]
        except KeyError:
            raise ClientError(f"The scheduler has no service {service!r}.", code="ENOSERVICE") from None

    def _lost(self, service: str) -> None:
        if not self.closing:
            self._on_lost(service)
