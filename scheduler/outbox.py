"""What one watcher is to be told: bounded, joined to few messages, sent in order."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from secrets import token_hex
from typing import Any, Protocol

from loguru import logger

from ..protocol.dcp.session import RequestRefused

COALESCE_S = 0.003
"""What arrives within this time after the first event travels together with it."""
STEADY_S = 0.1
"""How often a steady stream of events is sent to one peer. The first of it goes at once, and so does the end of a job:
each message costs both sides milliseconds, which then lack for computing when they share a box with the sandboxes."""
IN_FLIGHT = 40
"""Events under way to one peer at once; the connection packs as many into one message."""
RETRY_S = 0.1
"""When an event that was refused is sent again, behind the tokens that were under way."""
MOST_TRIES = 3

_LIFE = token_hex(4)  # watchers drop ids that they have seen, and may live longer than this process
_event_ids = count(1)


class Watcher(Protocol):
    """The other end of a connection, as far as events need it."""

    async def request(self, operation: str, data: Any, *, timeout: float | None) -> Any: ...

    def on_close(self, callback: Callable[[], None]) -> None: ...


@dataclass(slots=True)
class Event:
    """An event that waits to be sent. ``fields`` of one with results grows until then."""

    token: str
    name: str
    fields: dict[str, Any]
    size: int  # characters, about
    id: str
    tries: int = 0


@dataclass(slots=True)
class Subscription:
    """What one token stands for."""

    job: str
    label: str
    ready: bool = False  # the watcher knows its token
    stops_sent: int = 0


class Outbox:
    """The subscriptions and events of one watcher. Lives on one event loop."""

    def __init__(self, watcher: Watcher) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.growing: dict[str, Event] = {}  # by token: waits, and takes in what follows
        self.size = 0  # of all that waits or is under way
        self._watcher = watcher
        self._waiting: deque[Event] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._sent_at = -1.0  # on the loop's clock
        self._urgent = asyncio.Event()  # something does not wait for the beat

    @property
    def bulk(self) -> bool:
        """Whether the watcher speaks the bulk operations; it takes events as they come, tokens or not."""
        return any(one.label == "results" for one in self.subscriptions.values())

    def put(self, token: str, name: str, fields: dict[str, Any], size: int = 0) -> Event:
        """Send an event soon, behind those that wait."""
        event = Event(token, name, fields, size, f"event-{_LIFE}-{next(_event_ids)}")
        self._waiting.append(event)
        self.size += size
        if name == "stop" or len(self._waiting) >= IN_FLIGHT:
            self._urgent.set()
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())
        return event

    def close(self) -> None:
        """The watcher is gone."""
        self._waiting.clear()
        self.growing.clear()
        if self._sender is not None and self._sender is not asyncio.current_task():
            self._sender.cancel()

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = await self._next_batch()
                # No timeout: the peer may be on its way back, and while it is not, nothing more is sent.
                answers = await asyncio.gather(
                    *(self._watcher.request("event", _message(event), timeout=None) for event in batch),
                    return_exceptions=True,
                )
                again = _refused(batch, answers)
                self._waiting.extendleft(reversed(again))
                self.size -= sum(event.size for event in batch) - sum(event.size for event in again)
                if again:
                    await asyncio.sleep(RETRY_S)
        finally:
            self._sender = None

    async def _next_batch(self) -> list[Event]:
        loop = asyncio.get_running_loop()
        if len(self._waiting) < IN_FLIGHT:
            rest = max(COALESCE_S, self._sent_at + STEADY_S - loop.time())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), rest)
        self._urgent.clear()
        self._sent_at = loop.time()
        batch: list[Event] = []
        for _ in range(min(IN_FLIGHT, len(self._waiting))):
            event = self._waiting.popleft()
            self.growing.pop(event.token, None)
            if event.token in self.subscriptions:
                batch.append(event)
            else:
                self.size -= event.size
        return batch


def _message(event: Event) -> dict[str, Any]:
    data = {"eventName": event.name, **event.fields}
    return {"token": event.token, "event": {"eventId": event.id, "data": data}}


def _refused(batch: list[Event], answers: list[Any]) -> list[Event]:
    """The events that may be wanted a little later. Each has its own id, so none is taken twice."""
    again: list[Event] = []
    for event, answer in zip(batch, answers, strict=True):
        if isinstance(answer, BaseException):
            logger.debug("event {} was not taken: {}", event.id, answer)
            event.tries += 1
            if isinstance(answer, RequestRefused) and event.tries < MOST_TRIES:
                again.append(event)
    return again
