"""What a deployer makes of the scheduler's events and answers, without a scheduler."""

import asyncio
import threading
from typing import Any

import pytest

from dcp_worker.client.collection import Collection
from dcp_worker.client.errors import SliceError
from dcp_worker.client.events import ConsoleMessage, CustomEvent, JobStatus, Notice, Results
from dcp_worker.client.feed import Feed
from dcp_worker.client.follow import Follower, console_text
from dcp_worker.protocol.dcp import kvin
from dcp_worker.protocol.dcp.values import body_of, node_of, node_to_uri


class Followed:
    """A follower of a job, and what it told."""

    def __init__(self, total: int | None = None) -> None:
        self.told: list[Any] = []
        self.collection = Collection(total)
        self.follower = Follower("J1", self.collection, self.told.append)
        self._events = 0

    def event(self, name: str, **fields: Any) -> None:
        self._events += 1
        self.follower.on_event({"eventId": f"e{self._events}", "data": {"eventName": name, **fields}})


def run(first: int, *values: Any) -> dict[str, Any]:
    return {"first": first, "count": len(values), "values": body_of(map(node_of, values))}


def test_a_result_that_cannot_be_read_fails_its_slice_alone() -> None:
    """Workers are strangers: one bad result costs neither the job nor the results beside it."""
    job = Followed(4)

    job.event("results", runs=[{"first": 1, "count": 3, "values": '[1,{"ctr":99,"arg":{}},{"raw":[3]}]'}])
    job.event("result", sliceNumber=4, result={"result": "data:application/x-kvin,nonsense"})

    assert job.collection.complete
    assert sorted(job.collection.errors) == [2, 4]
    assert [job.collection.results()[index] for index in (0, 2)] == [1, [3]]
    assert "cannot be read" in job.collection.errors[2].message


def test_results_in_bulk_are_told_decoded_and_once() -> None:
    """Every kind of value arrives as itself; what was told before is not told again."""
    job = Followed(5)

    job.event("results", runs=[run(2, b"\x00\xff", {"a": [1, None]})])
    job.event("results", runs=[run(1, 1.5, b"again", "again", "ü")], failures=[])

    assert job.told == [
        Results(2, [b"\x00\xff", {"a": [1, None]}]),
        Results(1, [1.5]),
        Results(4, ["ü"]),
    ]
    assert job.collection.missing() == [(5, 1)]


def test_failures_are_told_with_the_error_of_javascript() -> None:
    """The thrown error keeps name and message."""
    job = Followed(2)
    error = kvin.JsError("x is undefined", name="TypeError")

    job.event("results", runs=[], failures=[{"slice": 2, "error": body_of([node_of(error)])[1:-1]}])

    [failure] = job.told
    assert isinstance(failure, SliceError)
    assert str(failure) == "slice 2: TypeError: x is undefined"
    assert job.collection.errors == {2: failure}


def test_results_one_by_one_are_the_same() -> None:
    """Without bulk operations results come as URIs, and a thrown error as the slice's result."""
    job = Followed(3)

    job.event("result", sliceNumber=1, result={"result": node_to_uri(node_of([1, "%2F ü"]))})
    job.event("result", sliceNumber=3, result={"result": node_to_uri(node_of(kvin.JsError("no")))})

    assert job.told[0] == Results(1, [[1, "%2F ü"]])
    assert job.told[1].slice == 3
    assert job.collection.missing() == [(2, 1)]


def test_a_repeated_event_is_taken_once() -> None:
    """After a reconnect the scheduler may send an event again."""
    job = Followed()
    event = {"eventId": "same", "data": {"eventName": "console", "level": "log", "message": "hi"}}

    job.follower.on_event(event)
    job.follower.on_event(event)

    assert job.told == [ConsoleMessage(0, "log", "hi", 1)]


def test_the_end_gives_the_total() -> None:
    """A stop event ends the job, and tells how many slices there were when nobody knew."""
    job = Followed()
    job.event("stop", runStatus="finished", sliceCount=7)

    assert job.follower.ended
    assert job.follower.cancelled is None
    assert job.collection.missing() == [(1, 7)]


def test_a_cancelled_job_says_why() -> None:
    """Reason and code of the scheduler reach the program."""
    job = Followed(3)
    job.event("stop", runStatus="cancelled", reason="no money", code="ENOFUNDS")

    assert job.follower.ended
    assert job.follower.cancelled is not None
    assert job.follower.cancelled.code == "ENOFUNDS"
    assert "no money" in str(job.follower.cancelled)


def test_a_status_without_a_reason_is_not_the_end() -> None:
    """The reason comes with the stop event behind it; a status that has one says it as well."""
    job = Followed(3)
    job.event("status", runStatus="cancelled", total=3, distributed=0, computed=0)
    assert not job.follower.ended
    job.event(
        "status", runStatus="cancelled", total=3, distributed=0, computed=0, reason="no", code="EASSIGN"
    )
    assert job.follower.cancelled is not None
    assert (job.follower.cancelled.reason, job.follower.cancelled.code) == ("no", "EASSIGN")


def test_what_workers_say_about_a_job_is_a_notice() -> None:
    """An error that is no result of a slice reaches the program, with its code."""
    job = Followed(3)
    job.event("error", message="SyntaxError: x", code="EASSIGN", sliceNumber=0)

    [notice] = job.told
    assert isinstance(notice, Notice)
    assert (notice.kind, notice.message, notice.payload["code"]) == ("error", "SyntaxError: x", "EASSIGN")


def test_status_console_custom_and_notices() -> None:
    """Each kind of event becomes its record, with payloads as workers send them."""
    job = Followed(3)
    job.event("status", runStatus="running", total=3, distributed=2, computed=1)
    job.event("console", payload={"level": "warn", "message": kvin.serialize(["a", 1, {"b": 2}])}, slice=2)
    job.event("custom", customEvent="heat", value=kvin.marshal({"degrees": 3}), sliceNumber=1)
    job.event("nofunds", message="the account is empty")

    assert job.told[0] == JobStatus("running", 3, 2, 1)
    assert job.told[1] == ConsoleMessage(2, "warn", "a 1 {'b': 2}", 1)
    assert job.told[2] == CustomEvent(1, "heat", {"degrees": 3})
    assert isinstance(job.told[3], Notice)
    assert job.told[3].message == "the account is empty"


def one_run(**fields: Any) -> dict[str, Any]:
    return {"eventName": "results", "runs": [{"first": 1, "count": 1, "values": "[1]"} | fields]}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        one_run(first=0),
        one_run(count=9),
        one_run(first=9),
        one_run(first=1.0),
        one_run(first=True),
        one_run(values="[1"),
        one_run(values=[1]),
        {"eventName": "results", "runs": 5},
        {"eventName": "results", "failures": [{"slice": 1, "error": "{"}]},
        {"eventName": "result", "sliceNumber": "1", "result": {}},
        {"eventName": "tell", "x": 1},
        {"eventName": None},
        {"eventName": "stop", "runStatus": "finished", "sliceCount": 99},
    ],
)
def test_an_event_that_makes_no_sense_is_dropped(data: object) -> None:
    """A broken or hostile event neither ends the job nor adds outcomes."""
    job = Followed(3)

    job.follower.on_event({"eventId": "x", "data": data})
    job.follower.on_event(data)

    assert job.told == []
    assert len(job.collection) == 0


def test_what_a_console_message_looks_like() -> None:
    """KVIN text is decoded, plain text stays, nonsense is shown as it is, and nothing is endless."""
    assert console_text(kvin.serialize(["x", 1])) == "x 1"
    assert console_text("plain") == "plain"
    assert console_text('{"_serializeVerId":"v9"') == '{"_serializeVerId":"v9"'
    assert len(console_text("x" * 100_000)) == 10_000


def test_a_feed_wakes_threads_and_coroutines() -> None:
    """Items put on another thread reach a reader that blocks and one that awaits, in order."""
    feed: Feed[int] = Feed()
    threading.Thread(target=lambda: [feed.put(number) for number in range(100)]).start()
    assert [feed.get(10) for _ in range(50)] == list(range(50))

    async def read() -> list[int]:
        return [await asyncio.wait_for(feed.aget(), 10) for _ in range(100)]

    threading.Thread(target=lambda: [feed.put(number) for number in range(100, 150)]).start()
    assert asyncio.run(read()) == list(range(50, 150))
