"""Telling watchers: joined, in order, and never more than a fixed amount for one that does not listen."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dcp_worker.protocol.dcp.session import RequestRefused
from dcp_worker.scheduler.early import KEPT_BYTES, KEPT_EVENTS, KEPT_IN_ALL, KEPT_S, EarlyEvent, EarlyEvents
from dcp_worker.scheduler.events import EventHub
from dcp_worker.scheduler.outcomes import Failure, News
from dcp_worker.scheduler.store.jobs import Status
from dcp_worker.tests.unit.test_scheduler_planning import JOB


class Watcher:
    """Takes events only while its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken: list[dict[str, Any]] = []
        self.close: list[Callable[[], None]] = []
        self.refuses = 0
        self.refused: list[str] = []

    async def request(self, operation: str, data: Any, *, timeout: float | None) -> Any:
        assert (operation, timeout) == ("event", None)
        await self.gate.wait()
        if self.refuses:
            self.refuses -= 1
            self.refused.append(data["event"]["eventId"])
            raise RequestRefused("No subscription registered for token")
        self.taken.append(data["event"]["data"])
        return "success"

    def on_close(self, callback: Callable[[], None]) -> None:
        self.close.append(callback)


async def settled(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_results_that_come_together_travel_together() -> None:
    """Ten deliveries within a moment are one event, in order; the end comes behind it."""

    async def run() -> list[dict[str, Any]]:
        hub, watcher = EventHub(1 << 20), Watcher()
        hub.subscribe(watcher, JOB.id, "results")
        hub.subscribe(watcher, JOB.id, "stop")
        for first in range(1, 101, 10):
            hub.publish(News(JOB, results=[(first, first + 9, "[" + ",".join("7" * 10) + "]")]))
        hub.publish(News(replace(JOB, status=Status.FINISHED), ended=True))
        await settled(lambda: len(watcher.taken) == 2)
        return watcher.taken

    results, stop = asyncio.run(run())

    assert [run["first"] for run in results["runs"]] == list(range(1, 101, 10))
    assert stop == {"eventName": "stop", "runStatus": "finished", "sliceCount": JOB.total}


def test_a_slow_watcher_is_told_what_to_fetch() -> None:
    """What does not fit is dropped and named; memory does not grow; the end is told nevertheless."""

    async def run() -> tuple[list[dict[str, Any]], int]:
        hub, watcher = EventHub(10_000), Watcher()
        hub.subscribe(watcher, JOB.id, "results")
        hub.subscribe(watcher, JOB.id, "stop")
        watcher.gate.clear()
        body = "[" + '"' + "x" * 996 + '"]'
        for number in range(1, 10_001):
            hub.publish(News(JOB, results=[(number, number, body)]))
        waiting = sum(outbox.size for outbox in hub._outboxes.values())
        hub.publish(News(replace(JOB, status=Status.FINISHED), ended=True))
        watcher.gate.set()
        await settled(lambda: watcher.taken and watcher.taken[-1]["eventName"] == "stop")
        return watcher.taken, waiting

    taken, waiting = asyncio.run(run())

    assert waiting <= 10_000
    assert len(taken[0]["runs"]) == 10
    assert taken[0]["missed"] == [[11, 9990]]


def test_one_slice_watchers_get_what_fits_and_fetch_the_rest() -> None:
    """Single results are bounded too; status events replace each other."""

    async def run() -> list[dict[str, Any]]:
        hub, watcher = EventHub(5000), Watcher()
        hub.subscribe(watcher, JOB.id, "result")
        hub.subscribe(watcher, JOB.id, "status")
        watcher.gate.clear()
        for number in range(1, 1001):
            hub.publish(News(replace(JOB, done=number), results=[(number, number, "[1]")]))
        assert sum(outbox.size for outbox in hub._outboxes.values()) < 6000
        watcher.gate.set()
        await settled(lambda: any(event["eventName"] == "status" for event in watcher.taken))
        return watcher.taken

    taken = asyncio.run(run())

    numbers = [event["sliceNumber"] for event in taken if event["eventName"] == "result"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 10 <= len(numbers) < 30
    status = [event for event in taken if event["eventName"] == "status"]
    assert [event["computed"] for event in status] == [1000]


def test_a_stop_event_waits_for_a_deployer_that_is_still_busy() -> None:
    """A one-slice deployer hears of the end once it has been quiet, and only once although told twice."""

    async def run() -> float:
        hub, watcher = EventHub(5000), Watcher()
        token = hub.subscribe(watcher, JOB.id, "stop")
        loop = asyncio.get_running_loop()
        hub.deploying(JOB.id)
        busy_until = loop.time()
        ended = News(replace(JOB, status=Status.FINISHED), ended=True)
        hub.publish(ended)
        hub.catch_up(watcher, token, ended)
        await settled(lambda: watcher.taken)
        waited = loop.time() - busy_until
        hub.unsubscribe(watcher, token)
        assert len(watcher.taken) == 1
        return waited

    assert asyncio.run(run()) >= 0.3


def test_who_is_gone_is_forgotten() -> None:
    """Neither subscriptions nor events are kept for a closed connection; failures reach those who are there."""

    async def run() -> None:
        hub, gone, here = EventHub(5000), Watcher(), Watcher()
        for watcher in (gone, here):
            hub.subscribe(watcher, JOB.id, "results")
        gone.gate.clear()
        hub.publish(News(JOB, failures=[Failure(3, '"boom"')]))
        gone.close[0]()
        assert hub.subscriptions == 1
        await settled(lambda: here.taken)
        assert here.taken[0]["failures"] == [{"slice": 3, "error": '"boom"'}]
        assert gone.taken == []

    asyncio.run(run())


def test_what_is_told_before_somebody_listens_is_not_lost() -> None:
    """A deployer who subscribes a moment late gets what workers said by then, in order, and then the rest."""

    async def run(*labels: str) -> list[int]:
        hub, watcher = EventHub(1 << 20), Watcher()
        for number in range(3):
            hub.forward(JOB.id, "console", {"n": number}, 10)
        tokens = [hub.subscribe(watcher, JOB.id, label) for label in labels]
        hub.forward(JOB.id, "console", {"n": 3}, 10)
        for token in tokens:
            hub.catch_up(watcher, token, News(JOB))
        hub.forward(JOB.id, "console", {"n": 4}, 10)
        await settled(lambda: len(watcher.taken) == 5)
        hub.forward(JOB.id, "console", {"n": 5}, 10)
        await settled(lambda: len(watcher.taken) == 6)
        assert {event["eventName"] for event in watcher.taken} == {"console"}
        return [event["n"] for event in watcher.taken]

    assert asyncio.run(run("console")) == [0, 1, 2, 3, 4, 5]
    assert asyncio.run(run("results", "console")) == [0, 1, 2, 3, 4, 5]


def test_an_event_that_comes_before_its_token_is_told_again() -> None:
    """npm clients refuse tokens that they do not know yet: the event comes again, once, with the same id."""

    async def run() -> None:
        hub, watcher = EventHub(1 << 20), Watcher()
        watcher.refuses = 1
        hub.catch_up(watcher, hub.subscribe(watcher, JOB.id, "error"), News(JOB))
        hub.forward(JOB.id, "error", {"message": "bad"}, 10)
        await settled(lambda: watcher.taken)
        assert watcher.taken == [{"eventName": "error", "message": "bad"}]
        assert len(watcher.refused) == 1
        watcher.refuses = 1000
        hub.forward(JOB.id, "error", {"message": "worse"}, 10)
        await settled(lambda: len(watcher.refused) == 4 and not hub._outboxes[watcher].size)
        assert len(set(watcher.refused[1:])) == 1

    asyncio.run(run())


def test_what_a_work_function_throws_is_an_error_event_for_one_slice_clients() -> None:
    """They hear it as ``error``, whenever they subscribe; bulk clients have it with the results."""

    async def run() -> None:
        hub, late, bulk = EventHub(1 << 20), Watcher(), Watcher()
        node = '{"ctr":8,"ps":{"name":"TypeError","message":"boom","stack":"at x"}}'
        thrown = [Failure(7, node), Failure(8, '"text"'), Failure(9, '{"no":"node"}')]
        hub.publish(News(JOB, failures=thrown, thrown=thrown))
        hub.catch_up(late, hub.subscribe(late, JOB.id, "error"), News(JOB))
        await settled(lambda: len(late.taken) == 3)
        assert [event["sliceNumber"] for event in late.taken] == [7, 8, 9]
        assert late.taken[1]["message"] == "text"
        tokens = [hub.subscribe(bulk, JOB.id, label) for label in ("error", "results")]
        for token in tokens:
            hub.catch_up(bulk, token, News(JOB))
        hub.publish(News(JOB, failures=thrown[:1], thrown=thrown[:1]))
        await settled(lambda: bulk.taken and len(late.taken) == 4)
        assert [event["eventName"] for event in bulk.taken] == ["results"]

    asyncio.run(run())


def test_early_events_are_bounded() -> None:
    """In number, size, and age, and for all jobs together; the newest are kept."""

    def event(number: int, size: int, at: float) -> EarlyEvent:
        return EarlyEvent("console", {"n": number}, size, at)

    early = EarlyEvents()
    for number in range(KEPT_EVENTS + 5):
        early.add("many", "console", event(number, 1, 0.0))
    for number in range(10):
        early.add("large", "console", event(number, KEPT_BYTES // 4, 0.0))
    assert [one.fields["n"] for one in early.take("many", "console", 1.0)][:: KEPT_EVENTS - 1] == [
        5,
        KEPT_EVENTS + 4,
    ]
    assert [one.fields["n"] for one in early.take("large", "console", 1.0)] == [7, 8, 9]
    early.add("old", "console", event(1, 1, 0.0))
    assert early.take("old", "console", KEPT_S + 1) == []
    for job in range(1000):
        early.add(str(job), "console", event(1, KEPT_BYTES // 2, 0.0))
    assert early.size <= KEPT_IN_ALL
    assert early.holds("999", "console")
    assert not early.holds("0", "console")
    early.add("later", "custom", event(1, 1, KEPT_S + 1))
    assert early.size < 1000
    assert not early.holds("999", "console")
