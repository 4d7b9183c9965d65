"""Telling those who watch a job what has happened, without ever keeping more for a slow one than a fixed
amount.

Each peer has one outbox. Results of a job that nobody has been told of yet are joined into one event; what
does not fit is dropped, and the subscriber fetches it (``missed`` says which slices). Events about the state
of a job are small and never dropped.
"""

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any

from ..errors import DcpError
from ..protocol.dcp.values import node_to_uri, nodes_of
from .early import EarlyEvent, EarlyEvents
from .event_fields import add_missed, error_fields, status_fields, stop_fields
from .outbox import Outbox, Subscription, Watcher
from .outcomes import News
from .store.jobs import Job, Status

SETTLE_S = 0.3
"""npm dcp-client does not hear a stop event before it has finished deploying, which it tells nobody. Its stop
events wait until it has been quiet about the job for this long; those of bulk clients, who look, do not."""
STOP_REPEATS_S = (3.0, 10.0, 30.0)
"""When a stop event is sent again to one-slice clients that still listen: it may have come too early."""
SUBSCRIBED_S = 0.05
"""npm dcp-client refuses events with a token that it has not been told, and does not know one yet that comes in
the same message as the event. What it has subscribed to is told this much later than its token."""
MOST_ACTIVE = 10_000
MOST_SUBSCRIPTIONS = 100_000
"""Of one peer. It is there to bound memory, nobody needs as many."""


class EventHub:
    """Subscriptions to jobs and what they are told. Lives on one event loop."""

    def __init__(self, buffer_bytes: int) -> None:
        self._limit = buffer_bytes
        self._outboxes: dict[Watcher, Outbox] = {}
        self._watched: dict[str, dict[str, dict[str, Watcher]]] = {}  # job -> label -> token -> who
        self._active: dict[str, float] = {}  # job -> when its deployer was heard of, for the newest jobs
        self._early = EarlyEvents()
        self._tokens = count(1)

    # -- Who watches what ------------------------------------------------------------------------------------

    def subscribe(self, watcher: Watcher, job: str, label: str) -> str:
        """A token; events of this kind about this job are sent with it until it is given back."""
        outbox = self._outboxes.get(watcher)
        if outbox is None:
            outbox = self._outboxes[watcher] = Outbox(watcher)
            watcher.on_close(lambda: self.forget(watcher))
        if len(outbox.subscriptions) >= MOST_SUBSCRIPTIONS:
            raise DcpError(
                "That are too many subscriptions on one connection; unsubscribe from some.", code="EBUSY"
            )
        token = f"ev{next(self._tokens)}"
        outbox.subscriptions[token] = Subscription(job, label)
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
        outbox.close()
        del self._outboxes[watcher]

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
        for failure in news.thrown:
            if not self._of(job.id, "results") or self._of(job.id, "error"):
                fields = error_fields(failure)
                self.forward(job.id, "error", fields, len(failure.error), thrown=True)
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
                self._stop(watcher, token, stop_fields(job))

    def forward(
        self, job: str, event: str, fields: Mapping[str, Any], size: int, *, thrown: bool = False
    ) -> None:
        """Pass on what a worker emitted; it is dropped for those who are behind.

        While nobody listens, it waits a moment: its deployer may be about to. ``thrown`` is about a slice
        whose failure bulk clients hear of with the results.
        """
        label = event.lower()
        one = EarlyEvent(event, fields, size, asyncio.get_running_loop().time(), thrown)
        ready = [
            (token, watcher)
            for token, watcher in self._of(job, label)
            if self._outboxes[watcher].subscriptions[token].ready
        ]
        if not ready or self._early.holds(job, label):
            self._early.add(job, label, one)
        else:
            self._emit(ready, one)

    def _emit(self, watchers: list[tuple[str, Watcher]], one: EarlyEvent) -> None:
        for token, watcher in watchers:
            outbox = self._outboxes[watcher]
            if outbox.size + one.size <= self._limit and not (one.thrown and outbox.bulk):
                self._outboxes[watcher].put(token, one.name, dict(one.fields), one.size)

    def _release(self, watcher: Watcher, token: str) -> None:
        """The watcher knows its token by now: tell it what has waited, and from now on all the rest."""
        outbox = self._outboxes.get(watcher)
        subscription = outbox.subscriptions.get(token) if outbox else None
        if subscription is None:
            return
        subscription.ready = True
        job, label = subscription.job, subscription.label
        for one in self._early.take(job, label, asyncio.get_running_loop().time()):
            self._emit([(token, watcher)], one)

    def catch_up(self, watcher: Watcher, token: str, news: News) -> None:
        """Tell a new subscriber, right before it hears its token, what came before it: results, one by one,
        what workers said, and that the job is over.
        """
        job = news.job
        outbox = self._outboxes.get(watcher)
        subscription = outbox.subscriptions.get(token) if outbox else None
        if subscription is None:
            return
        if subscription.label == "stop" and job.status is not Status.RUNNING:
            self._stop(watcher, token, stop_fields(job))
        if subscription.label == "result":
            self._result_each([(token, watcher)], news)
        if outbox is not None and outbox.bulk:
            self._release(watcher, token)
        else:
            asyncio.get_running_loop().call_later(SUBSCRIBED_S, self._release, watcher, token)

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
        if outbox.bulk:
            self._outboxes[watcher].put(token, "stop", fields)
            return
        loop = asyncio.get_running_loop()
        quiet_at = self._active.get(subscription.job, 0.0) + SETTLE_S
        loop.call_at(max(quiet_at, loop.time()), self._stop_again, watcher, token, fields)

    def _stop_again(self, watcher: Watcher, token: str, fields: dict[str, Any]) -> None:
        outbox = self._outboxes.get(watcher)
        subscription = outbox.subscriptions.get(token) if outbox else None
        if subscription is None:
            return
        self._outboxes[watcher].put(token, "stop", fields)
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
            growing[token] = self._outboxes[watcher].put(token, "status", status_fields(job))

    def _results(self, watcher: Watcher, token: str, news: News) -> None:
        outbox = self._outboxes[watcher]
        event = outbox.growing.get(token)
        if event is None:
            event = outbox.growing[token] = self._outboxes[watcher].put(
                token, "results", {"runs": [], "failures": []}
            )
        size = sum(len(body) for _, _, body in news.results) + sum(len(f.error) for f in news.failures)
        if outbox.size + size > self._limit:
            slices = [(first, last - first + 1) for first, last, _ in news.results]
            add_missed(event.fields, slices + [(failure.slice, 1) for failure in news.failures])
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
            self._outboxes[watcher].put(token, "result", fields, len(uri) + 200)
