"""What all services of one scheduler share: the store, the authority, the events, and who waits for work."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..protocol.dcp.address import Address
from .authorisation import Authority
from .claims import Peers
from .events import EventHub
from .outcomes import News
from .refusal import Refused
from .settings import SchedulerSettings
from .store.writer import Store

ACTIVE_S = 60.0
"""A worker that asked for work this recently counts when slices are shared out."""
MOST_WORKERS = 50_000
"""Workers that are remembered; the one that was silent longest is forgotten first."""


class Peer(Protocol):
    """The other end of a connection, who has proven to own ``owner``."""

    @property
    def owner(self) -> Address: ...

    @property
    def dcpsid(self) -> str: ...

    @property
    def closed(self) -> asyncio.Event: ...

    async def request(self, operation: str, data: Any = None, *, timeout: float | None = 120.0) -> Any: ...

    def on_close(self, callback: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a peer. ``vouched`` are the addresses whose owners signed for this very request."""

    peer: Peer
    data: Any
    vouched: frozenset[str] = frozenset()

    def speaks_for(self, address: str) -> bool:
        return address == self.peer.owner or address in self.vouched


Operation = Callable[[Call], Awaitable[Any]]


class Form(BaseModel):
    """The data of a request. Types are taken as they are on the wire; what is not named is ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


F = TypeVar("F", bound=Form)


def read(form: type[F], data: Any) -> F:
    """Check the data of a request. Raises Refused EINVAL with what is wrong, in one sentence."""
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100] or "data"
        raise Refused("EINVAL", f"The request does not make sense: {place}: {first['msg'][:200]}.") from None


class WorkSignal:
    """Wakes those who wait for work. Take a ticket, look for work, and only then wait on the ticket."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ticket(self) -> asyncio.Event:
        return self._event

    def announce(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()


@dataclass
class Workers:
    """When each worker was heard of last, and how many cores it had to offer."""

    started: float
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict)

    def heard(self, worker: str, now: float, cores: float | None = None) -> None:
        before = self._seen.pop(worker, (now, 0.0))
        self._seen[worker] = (now, before[1] if cores is None else cores)
        while len(self._seen) > MOST_WORKERS:
            del self._seen[next(iter(self._seen))]

    def last_heard(self, worker: str) -> float:
        """After a restart everybody gets the time to come back: nobody was silent before we listened."""
        return self._seen.get(worker, (self.started, 0.0))[0]

    def active(self, now: float) -> Peers:
        names: list[str] = []
        cores = 0.0
        for name, (seen, offered) in reversed(self._seen.items()):
            if now - seen > ACTIVE_S:
                break
            if offered > 0:
                names.append(name)
                cores += offered
        return Peers(frozenset(names), cores)


@dataclass
class Core:
    """One scheduler, as its services see it."""

    settings: SchedulerSettings
    store: Store
    authority: Authority
    address: Address
    events: EventHub
    workers: Workers
    work: WorkSignal = field(default_factory=WorkSignal)
    leases_changed: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    now: Callable[[], float] = time.time

    def tell(self, news: News) -> None:
        """Let everybody know what a transaction has changed."""
        self.events.publish(news)
        if news.returned:
            self.work.announce()


Operations = Mapping[str, Operation]
