"""Telling those who watch a job what has happened, without ever keeping more for a slow one than a fixed
amount.

Each peer has one outbox. Results of a job that nobody has been told of yet are joined into one event; what
does not fit is dropped, and the subscriber fetches it (``missed`` says which slices). Events about the state
of a job are small and never dropped.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from loguru import logger

from ..errors import DcpError
from ..protocol.dcp.values import node_to_uri, nodes_of
from .outcomes import News
from .store.intervals import Span, union
from .store.jobs import Job, Status

SETTLE_S = 0.3
"""npm dcp-client does not hear a stop event before it has finished deploying, which it tells nobody. Its stop
events wait until it has been quiet about the job for this long; those of bulk clients, who look, do not."""
STOP_REPEATS_S = (3.0, 10.0, 30.0)
"""When a stop event is sent again to one-slice clients that still listen: it may have come too early."""
COALESCE_S = 0.003
"""What arrives within this time after the first event travels together with it."""
STEADY_S = 0.1
"""How often a steady stream of events is sent to one peer. The first of it goes at once, and so does the end of a job:
each message costs both sides milliseconds, which then lack for computing when they share a box with the sandboxes."""
IN_FLIGHT = 40
"""Events under way to one peer at once; the connection packs as many into one message."""
MOST_MISSED = 1000
"""Stretches of dropped results that are named; beyond them the subscriber learns only that there are more."""
MOST_ACTIVE = 10_000
MOST_SUBSCRIPTIONS = 100_000
"""Of one peer. It is there to bound memory, nobody needs as many."""


class Watcher(Protocol):
    """The other end of a connection, as far as events need it."""

    async def request(self, operation: str, data: Any, *, timeout: float | None) -> Any: ...

    def on_close(self, callback: Callable[[], None]) -> None: ...


@dataclass(slots=True)
class _Event:
    """An event that waits to be sent. ``fields`` of one with results grows until then."""

    token: str
    name: str
    fields: dict[str, Any]
    size: int


@dataclass(slots=True)
class _Subscription:
    job: str
    label: str
    stops_sent: int = 0


@dataclass(slots=True)
class _Outbox:
    waiting: deque[_Event] = field(default_factory=deque)
    size: int = 0
    sender: asyncio.Task[None] | None = None
    sent_at: float = -1.0  # on the loop's clock
    urgent: asyncio.Event = field(default_factory=asyncio.Event)  # something does not wait for the beat
    growing: dict[str, _Event] = field(default_factory=dict)  # by token: waits, and takes in what follows
    subscriptions: dict[str, _Subscription] = field(default_factory=dict)


class EventHub:
    """Subscriptions to jobs and what they are told. Lives on one event loop."""

    def __init__(self, buffer_bytes: int) -> None:
        self._limit = buffer_bytes
        self._outboxes: dict[Watcher, _Outbox] = {}
        self._watched: dict[str, dict[str, dict[str, Watcher]]] = {}  # job -> label -> token -> who
        self._active: dict[str, float] = {}  # job -> when its deployer was heard of, for the newest jobs
        self._tokens = count(1)
        self._event_ids = count(1)

    # -- Who watches what ------------------------------------------------------------------------------------

    def subscribe(self, watcher: Watcher, job: str, label: str) -> str:
        """A token; events of this kind about this job are sent with it until it is given back."""
        outbox = self._outboxes.get(watcher)
        if outbox is None:
            outbox = self._outboxes[watcher] = _Outbox()
            watcher.on_close(lambda: self.forget(watcher))
        if len(outbox.subscriptions) >= MOST_SUBSCRIPTIONS:
            raise DcpError(
                "That are too many subscriptions on one connection; unsubscribe from some.", code="EBUSY"
            )
        token = f"ev{next(self._tokens)}"
        outbox.subscriptions[token] = _Subscription(job, label)
        self._watched.setdefault(job, {}).setdefault(label, {})[token] = watcher
        return token

    def unsubscribe(self, watcher: Watcher, token: str) -> bool:
        """Forget a subscription; whether there was one."""
        outbox = self._outboxes.get(watcher)
        subscription = outbox.subscriptions.pop(token, None) if outbox else None
        if subscription is None:
            return False
        labels = self._watched.get(subscription.job, {})
        tokens = labels.get(subscription.label, {})
        tokens.pop(token, None)
        if not tokens:
            labels.pop(subscription.label, None)
        if not labels:
            self._watched.pop(subscription.job, None)
        return True

    def forget(self, watcher: Watcher) -> None:
        """The connection is gone, and with it all that it watched."""
        outbox = self._outboxes.get(watcher)
        if outbox is None:
            return
        for token in list(outbox.subscriptions):
            self.unsubscribe(watcher, token)
        outbox.waiting.clear()
        outbox.growing.clear()
        del self._outboxes[watcher]
        if outbox.sender is not None and outbox.sender is not asyncio.current_task():
            outbox.sender.cancel()

    def close(self) -> None:
        for watcher in list(self._outboxes):
            self.forget(watcher)

    @property
    def subscriptions(self) -> int:
        return sum(len(outbox.subscriptions) for outbox in self._outboxes.values())

    # -- What they are told ----------------------------------------------------------------------------------

    def publish(self, news: News) -> None:
        """Tell the watchers of a job what a transaction has changed."""
        job = news.job
        if job.id not in self._watched:
            return
        if news.results or news.failures:
            for token, watcher in self._of(job.id, "results"):
                self._results(watcher, token, news)
            one_by_one = self._of(job.id, "result")
            if one_by_one:
                self._result_each(one_by_one, news)
        for token, watcher in self._of(job.id, "status"):
            self._status(watcher, token, job)
        if news.ended:
            for token, watcher in self._of(job.id, "stop"):
                self._stop(watcher, token, stop_fields(job, news.stop_reason, news.stop_code))

    def forward(self, job: str, event: str, fields: Mapping[str, Any], size: int) -> None:
        """Pass on what a worker emitted; it is dropped for those who are behind."""
        for token, watcher in self._of(job, event.lower()):
            if self._outboxes[watcher].size + size <= self._limit:
                self._put(watcher, token, event, dict(fields), size)

    def catch_up(self, watcher: Watcher, token: str, news: News) -> None:
        """Tell a new subscriber what came before it: results, one by one, and that the job is over."""
        job = news.job
        outbox = self._outboxes.get(watcher)
        subscription = outbox.subscriptions.get(token) if outbox else None
        if subscription is None:
            return
        if subscription.label == "stop" and job.status is not Status.RUNNING:
            self._stop(watcher, token, stop_fields(job, "", ""))
        if subscription.label == "result":
            self._result_each([(token, watcher)], news)

    def deploying(self, job: str) -> None:
        """The job's deployer is at work on it."""
        self._active.pop(job, None)
        self._active[job] = asyncio.get_running_loop().time()
        if len(self._active) > MOST_ACTIVE:
            del self._active[next(iter(self._active))]

    def _stop(self, watcher: Watcher, token: str, fields: dict[str, Any]) -> None:
        outbox = self._outboxes[watcher]
        subscription = outbox.subscriptions[token]
        if subscription.stops_sent:
            return
        subscription.stops_sent = 1
        if any(one.label == "results" for one in outbox.subscriptions.values()):
            self._put(watcher, token, "stop", fields)
            return
        loop = asyncio.get_running_loop()
        quiet_at = self._active.get(subscription.job, 0.0) + SETTLE_S
        loop.call_at(max(quiet_at, loop.time()), self._stop_again, watcher, token, fields)

    def _stop_again(self, watcher: Watcher, token: str, fields: dict[str, Any]) -> None:
        outbox = self._outboxes.get(watcher)
        subscription = outbox.subscriptions.get(token) if outbox else None
        if subscription is None:
            return
        self._put(watcher, token, "stop", fields)
        if subscription.stops_sent <= len(STOP_REPEATS_S):
            delay = STOP_REPEATS_S[subscription.stops_sent - 1]
            subscription.stops_sent += 1
            asyncio.get_running_loop().call_later(delay, self._stop_again, watcher, token, fields)

    def _of(self, job: str, label: str) -> list[tuple[str, Watcher]]:
        return list(self._watched.get(job, {}).get(label, {}).items())

    def _status(self, watcher: Watcher, token: str, job: Job) -> None:
        growing = self._outboxes[watcher].growing
        if token in growing:
            growing[token].fields = status_fields(job)
        else:
            growing[token] = self._put(watcher, token, "status", status_fields(job))

    def _results(self, watcher: Watcher, token: str, news: News) -> None:
        outbox = self._outboxes[watcher]
        event = outbox.growing.get(token)
        if event is None:
            event = outbox.growing[token] = self._put(watcher, token, "results", {"runs": [], "failures": []})
        size = sum(len(body) for _, _, body in news.results) + sum(len(f.error) for f in news.failures)
        if outbox.size + size > self._limit:
            spans = [(first, last) for first, last, _ in news.results]
            _add_missed(event.fields, spans + [(failure.slice, failure.slice) for failure in news.failures])
            return
        event.fields["runs"] += [
            {"first": first, "count": last - first + 1, "values": body} for first, last, body in news.results
        ]
        event.fields["failures"] += [
            {"slice": failure.slice, "error": failure.error} for failure in news.failures
        ]
        event.size += size
        outbox.size += size

    def _result_each(self, watchers: list[tuple[str, Watcher]], news: News) -> None:
        for first, last, body in news.results:
            ready = [pair for pair in watchers if self._outboxes[pair[1]].size + len(body) <= self._limit]
            if not ready:
                continue  # they fetch what they did not get
            for number, node in enumerate(nodes_of(body, expected=last - first + 1), first):
                self._result(ready, number, node_to_uri(node))
        for failure in news.failures:
            ready = [
                pair for pair in watchers if self._outboxes[pair[1]].size + len(failure.error) <= self._limit
            ]
            self._result(ready, failure.slice, node_to_uri(nodes_of(f"[{failure.error}]", expected=1)[0]))

    def _result(self, watchers: list[tuple[str, Watcher]], number: int, uri: str) -> None:
        for token, watcher in watchers:
            fields = {"sliceNumber": number, "result": {"result": uri}}
            self._put(watcher, token, "result", fields, len(uri) + 200)

    # -- Sending ---------------------------------------------------------------------------------------------

    def _put(self, watcher: Watcher, token: str, name: str, fields: dict[str, Any], size: int = 0) -> _Event:
        outbox = self._outboxes[watcher]
        event = _Event(token, name, fields, size)
        outbox.waiting.append(event)
        outbox.size += size
        if name == "stop" or len(outbox.waiting) >= IN_FLIGHT:
            outbox.urgent.set()
        if outbox.sender is None:
            outbox.sender = asyncio.get_running_loop().create_task(self._send(watcher, outbox))
        return event

    async def _send(self, watcher: Watcher, outbox: _Outbox) -> None:
        loop = asyncio.get_running_loop()
        try:
            while outbox.waiting:
                if len(outbox.waiting) < IN_FLIGHT:
                    rest = max(COALESCE_S, outbox.sent_at + STEADY_S - loop.time())
                    with suppress(TimeoutError):
                        await asyncio.wait_for(outbox.urgent.wait(), rest)
                outbox.urgent.clear()
                outbox.sent_at = loop.time()
                batch = [outbox.waiting.popleft() for _ in range(min(IN_FLIGHT, len(outbox.waiting)))]
                for event in batch:
                    outbox.growing.pop(event.token, None)
                # No timeout: the peer may be on its way back, and while it is not, nothing more is sent.
                answers = await asyncio.gather(
                    *(
                        watcher.request("event", self._message(event), timeout=None)
                        for event in batch
                        if event.token in outbox.subscriptions
                    ),
                    return_exceptions=True,
                )
                outbox.size -= sum(event.size for event in batch)
                for answer in answers:
                    if isinstance(answer, BaseException):
                        logger.debug("an event was not taken: {}", answer)
        finally:
            outbox.sender = None

    def _message(self, event: _Event) -> dict[str, Any]:
        data = {"eventName": event.name, **event.fields}
        return {"token": event.token, "event": {"eventId": f"event-{next(self._event_ids)}", "data": data}}


def status_fields(job: Job) -> dict[str, Any]:
    return {
        "runStatus": job.status.value,
        "total": job.total,
        "distributed": job.total - job.pending,
        "computed": job.done + job.failed,
    }


def stop_fields(job: Job, reason: str, code: str) -> dict[str, Any]:
    """The fields of a stop event."""
    if job.status is Status.FINISHED:
        return {"runStatus": job.status.value, "sliceCount": job.total}
    return {
        "runStatus": job.status.value,
        "sliceCount": job.total,
        "reason": reason or "The job was cancelled.",
        "code": code or "ECANCELLED",
    }


def _add_missed(fields: dict[str, Any], spans: list[Span]) -> None:
    missed = [(first, first + length - 1) for first, length in fields.get("missed", [])]
    merged = union(missed + spans)[:MOST_MISSED]
    fields["missed"] = [[first, last - first + 1] for first, last in merged]
