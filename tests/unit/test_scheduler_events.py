"""Telling watchers: joined, in order, and never more than a fixed amount for one that does not listen."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

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

    async def request(self, operation: str, data: Any, *, timeout: float | None) -> Any:
        assert (operation, timeout) == ("event", None)
        await self.gate.wait()
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
