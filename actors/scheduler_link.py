"""The link to the scheduler: DCP connections on an event loop of their own, in one thread.

Actors ask with ``request`` and the like and go on; what comes of it arrives in their mailbox as ``Answer`` or
``NoAnswer`` with their ticket. Connections are opened when they are first needed, and again after they were
lost. The link signs nothing itself: it asks the wallet.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from loguru import logger

from ..errors import DcpError
from ..protocol.dcp import js_json
from ..protocol.dcp.address import Address as DcpAddress
from ..protocol.dcp.bootstrap import SchedulerConfig, fetch_config
from ..protocol.dcp.data_uri import encode_data_uri
from ..protocol.dcp.envelope import seal
from ..protocol.dcp.initiator import Connection, RequestRefused
from ..protocol.dcp.signature import Signature
from ..protocol.messages import Signed, SignRequest
from ..protocol.switchboard import Address, Switchboard
from .local_messages import Answer, LinkState, NoAnswer, WorkFetched
from .tasks import read_work

MAX_FETCH_BYTES = 64 * 1024 * 1024
_RETRY_MAX_S = 30.0
_WALLET = Address(b"", "wallet")

Build = Callable[[str], Awaitable[Any]]
"""Makes the data of a request once the session id of its connection is known."""


class LinkError(DcpError):
    """The scheduler cannot be reached, or something may not be fetched."""

    code = "ELINK"


class WalletSigner:
    """Signs by asking the wallet actor."""

    def __init__(self, switchboard: Switchboard, address: DcpAddress, key: str = "identity") -> None:
        self._switchboard = switchboard
        self._key = key
        self.address = address

    async def sign(self, message: bytes) -> Signature:
        """Sign a message of any length."""
        future = self._switchboard.ask(_WALLET, SignRequest(self._key), message)
        answer = (await asyncio.wrap_future(future)).message
        if not isinstance(answer, Signed):
            raise LinkError(f"the wallet does not sign: {getattr(answer, 'reason', answer)}")
        return Signature(answer.r, answer.s, answer.v)


class SchedulerLink:
    """Requests to one scheduler's services: taskDistributor, resultSubmitter, eventRouter."""

    def __init__(
        self, switchboard: Switchboard, url: str, signer: WalletSigner, *, tell: tuple[str, ...]
    ) -> None:
        """``tell`` names the actors that hear whether the scheduler is there."""
        self._switchboard = switchboard
        self._url = url
        self._signer = signer
        self._tell = tell
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="scheduler-link", daemon=True)
        self._config: SchedulerConfig | None = None
        self._connections: dict[str, Connection] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers = 0
        self._closing = False

    # -- any thread --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; it looks for the scheduler until it finds it."""
        self._thread.start()
        self._spawn(self._find())

    def request(
        self, service: str, operation: str, data: Any, *, to: str, ticket: Any, timeout: float = 120.0
    ) -> None:
        """Send a request; ``Answer`` or ``NoAnswer`` with the ticket goes to the actor ``to``, if any."""

        async def build(_dcpsid: str) -> Any:
            return data

        self.request_built(service, operation, build, to=to, ticket=ticket, timeout=timeout)

    def request_built(
        self, service: str, operation: str, build: Build, *, to: str, ticket: Any, timeout: float = 120.0
    ) -> None:
        """As ``request``, for data that depends on the session."""

        async def run() -> None:
            answer = await self._ask(service, operation, build, ticket, timeout)
            if to:
                self._deliver(to, answer)
            elif isinstance(answer, NoAnswer):
                logger.debug("{} was not answered: {}", operation, answer.message)

        self._spawn(run())

    def request_work(self, operation: str, build: Build, *, to: str, ticket: Any, timeout: float) -> None:
        """Ask for work, and load what it needs; ``WorkFetched`` or ``NoAnswer`` goes to the actor ``to``."""

        async def run() -> None:
            answer = await self._ask("taskDistributor", operation, build, ticket, timeout)
            self._deliver(to, await self._read(answer) if isinstance(answer, Answer) else answer)

        self._spawn(run())

    async def seal(self, body: Any) -> str:
        """The signed text of a message of its own (only from ``Build`` functions)."""
        return await seal(js_json.dumps(body), self._signer)

    def close(self, timeout: float = 3.0) -> None:
        """Close the connections and end the thread."""
        if not self._thread.is_alive():
            return
        future = asyncio.run_coroutine_threadsafe(self._close(timeout), self._loop)
        try:
            future.result(timeout + 1.0)
        except (TimeoutError, DcpError):
            logger.debug("the connections to the scheduler did not close in time")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2.0)

    # -- the link's thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        def start() -> None:
            if self._closing:
                work.close()
                return
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._ended)

        self._loop.call_soon_threadsafe(start)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._switchboard.on_failure is not None:
            error = task.exception()
            assert error is not None
            logger.opt(exception=error).error("the link to the scheduler failed")
            self._switchboard.on_failure("scheduler-link", error)

    async def _find(self) -> None:
        """Fetch the scheduler's configuration, however long it takes."""
        tries = 0
        while self._config is None:
            try:
                self._config = await fetch_config(self._url)
            except (DcpError, OSError) as error:
                tries += 1
                rest = min(_RETRY_MAX_S, 0.5 * 2.0 ** min(tries, 10)) * random.uniform(0.5, 1.0)
                if tries == 1 or tries % 10 == 0:
                    logger.warning("the scheduler {} does not answer ({}); trying on", self._url, error)
                self._announce(LinkState(False, False, str(error)))
                await asyncio.sleep(rest)
        logger.info("found the scheduler {}", self._url)
        self._announce(LinkState(True, self._config.bulk >= 1, ""))

    async def _ask(
        self, service: str, operation: str, build: Build, ticket: Any, timeout: float
    ) -> Answer | NoAnswer:
        try:
            connection = await self._connection(service)
            data = await build(connection.dcpsid or "")
            return Answer(ticket, await connection.request(operation, data, timeout=timeout))
        except RequestRefused as error:
            return NoAnswer(ticket, error.code, str(error), True)
        except (DcpError, OSError, TimeoutError) as error:
            return NoAnswer(
                ticket, getattr(error, "code", "ECONNECTION"), str(error) or type(error).__name__, False
            )

    async def _read(self, answer: Answer) -> WorkFetched | NoAnswer:
        self._answers += 1
        try:
            return await read_work(answer.payload, self._answers, self._fetch)
        except DcpError as error:
            return NoAnswer(answer.ticket, error.code, str(error), True)

    async def _connection(self, service: str) -> Connection:
        if self._config is None:
            raise LinkError(f"the scheduler {self._url} has not answered yet")
        lock = self._locks.setdefault(service, asyncio.Lock())
        async with lock:
            connection = self._connections.get(service)
            if connection is None:
                location = self._config.services.get(service)
                if location is None:
                    raise LinkError(f"the scheduler {self._url} does not say where its {service} is")
                connection = Connection(location, self._signer)
                self._connections[service] = connection
            await connection.connect()
            return connection

    async def _fetch(self, uri: str) -> str:
        """A job's artifact at an address; only from the scheduler's own origin."""
        import aiohttp

        if _origin(uri) != _origin(self._url):
            raise LinkError(
                f"only {_origin(self._url)} may be fetched from, not {uri:.200}", code="EPERM_ORIGIN"
            )
        try:
            limit = aiohttp.ClientTimeout(total=60)
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(uri, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise LinkError(f"{uri:.200} answered with status {response.status}", code="EFETCH")
                body = b""
                while len(body) <= MAX_FETCH_BYTES and (more := await response.content.read(1 << 20)):
                    body += more
                if len(body) > MAX_FETCH_BYTES:
                    raise LinkError(f"{uri:.200} is larger than {MAX_FETCH_BYTES} bytes", code="EFETCH")
                return encode_data_uri(body, response.content_type, "utf-8")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LinkError(f"cannot fetch {uri:.200}: {error}", code="EFETCH") from error

    async def _close(self, timeout: float) -> None:
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        if self._connections:
            closing = [asyncio.ensure_future(one.close()) for one in self._connections.values()]
            await asyncio.wait(closing, timeout=timeout)

    def _deliver(self, to: str, message: Any) -> None:
        self._switchboard.tell(Address(b"", to), message, sender="")

    def _announce(self, state: LinkState) -> None:
        for actor in self._tell:
            self._deliver(actor, state)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{parts.hostname}:{port}"
