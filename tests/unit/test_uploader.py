"""The ResultUploader commits before it speaks, keeps nothing twice, and sends until it is acknowledged."""

import json
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any, TypeVar

import pytest

from dcp_worker.actors.local_messages import Answer, DeliverNow, LinkState, NoAnswer, OutboxBlocked
from dcp_worker.actors.outbox import Outbox
from dcp_worker.actors.requests import WorkerFacts
from dcp_worker.actors.uploader import ResultUploader
from dcp_worker.protocol.messages import (
    DrainOutbox,
    Metrics,
    OutboxStatus,
    OutcomesAcknowledged,
    OutcomesCommitted,
    Results,
    SliceFailed,
    TaskAccepted,
    TaskClosed,
)
from dcp_worker.protocol.switchboard import Address, Switchboard

Message = TypeVar("Message")
UPLOADER = Address(b"", "uploader")
AUTHORISATION = b'{"owner":"0x1","auth":{"workerId":"w"}}'


class Neighbours:
    """The supervisor and the link, which only write down what they hear."""

    def __init__(self, folder: Path) -> None:
        self.board = Switchboard("supervisor")
        self.heard: Queue[Any] = Queue()
        self.asked: Queue[tuple[str, dict[str, Any], Any]] = Queue()
        self.board.register("supervisor", lambda delivery: self.heard.put(delivery.message))
        self.board.start()
        self.outbox = Outbox(folder / "outbox.db", durable=False)
        facts = WorkerFacts("w", "0x" + "1" * 40)
        self.actor = ResultUploader.start(self.board, "uploader", outbox=self.outbox, link=self, facts=facts)

    def request(self, service: str, operation: str, data: Any, *, to: str, ticket: Any) -> None:
        assert (service, to) == ("resultSubmitter", "uploader")
        self.asked.put((operation, data, ticket))

    def tell(self, message: Any, *bodies: bytes) -> None:
        self.board.tell(UPLOADER, message, *bodies)

    def results(self, first: int, count: int, task: str = "t1", run: int = 7) -> None:
        body = json.dumps(list(range(first, first + count)), separators=(",", ":")).encode()
        cost = Metrics(count, 2.0 * count, 1.0 * count, 0.0, 10 * count, 20 * count)
        self.tell(Results("h", "s", run, task, "j", first, count, cost), body)

    def wait(self, kind: type[Message]) -> Message:
        while True:
            message = self.heard.get(timeout=10)
            if isinstance(message, kind):
                return message

    def sent(self) -> tuple[str, dict[str, Any], Any]:
        return self.asked.get(timeout=10)

    def stop(self) -> None:
        self.actor.stop()
        self.board.stop()
        self.outbox.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Neighbours]:
    neighbours = Neighbours(tmp_path)
    neighbours.tell(TaskAccepted("t1", "j"), AUTHORISATION, b"v9")
    yield neighbours
    neighbours.stop()


def taken(*counts: int) -> dict[str, Any]:
    return {
        "success": True,
        "batches": [{"accepted": n, "payment": str(n * 100), "metrics": {}} for n in counts],
    }


def test_committed_then_submitted_then_deleted(lab: Neighbours) -> None:
    """Neighbouring runs travel as one, and leave the outbox with the acknowledgement."""
    lab.results(1, 3)
    committed = lab.wait(OutcomesCommitted)
    assert (committed.run, committed.first, committed.count, committed.failed) == (7, 1, 3, False)
    assert lab.outbox.slices == 3
    lab.results(4, 2)
    lab.wait(OutcomesCommitted)
    lab.tell(LinkState(True, True, ""))

    operation, data, ticket = lab.sent()
    (batch,) = data["batches"]
    (run,) = batch["runs"]
    assert (operation, run["first"], run["count"], run["values"]) == ("results@1", 1, 5, "[1,2,3,4,5]")
    assert run["metrics"]["wallTime"] == 10.0
    assert batch["authorizationMessage"] == json.loads(AUTHORISATION)
    assert lab.outbox.slices == 5

    lab.tell(Answer(ticket, taken(5)))
    acknowledged = lab.wait(OutcomesAcknowledged)
    assert (acknowledged.count, acknowledged.payment) == (5, 500)
    while lab.wait(OutboxStatus).slices:
        pass
    assert lab.outbox.slices == 0


def test_an_outcome_that_came_before_is_not_kept_again(lab: Neighbours) -> None:
    """The supervisor hears that the slices are finished each time; the scheduler gets each of them once."""
    lab.results(1, 4)
    lab.results(3, 4, run=8)
    lab.results(1, 6, run=9)
    assert [lab.wait(OutcomesCommitted).run for _ in range(3)] == [7, 8, 9]
    lab.tell(LinkState(True, True, ""))

    _, data, _ = lab.sent()

    assert [(run["first"], run["values"]) for run in data["batches"][0]["runs"]] == [(1, "[1,2,3,4,5,6]")]


def test_outcomes_of_a_closed_task_are_dropped(lab: Neighbours) -> None:
    """The slices were returned, so they are somebody else's now; nor does a made-up task count."""
    lab.tell(TaskClosed("t1"))
    lab.results(1, 1)
    lab.results(1, 1, task="made up")
    lab.tell(TaskAccepted("t2", "j"), AUTHORISATION)
    lab.results(5, 1, task="t2")
    assert lab.wait(OutcomesCommitted).first == 5
    assert lab.outbox.slices == 1


def test_what_was_not_answered_is_sent_again(lab: Neighbours) -> None:
    """A lost connection costs a rest, never an outcome."""
    lab.tell(LinkState(True, True, ""))
    lab.results(1, 2)
    _, first, ticket = lab.sent()
    lab.tell(NoAnswer(ticket, "ECONNLOST", "gone", False))
    _, second, ticket = lab.sent()
    assert first == second
    lab.tell(Answer(ticket, {"nonsense": True}))
    _, third, ticket = lab.sent()
    assert third == first


def test_what_is_refused_is_not_sent_again(lab: Neighbours) -> None:
    """A batch that the scheduler does not want leaves the outbox, and the others stay unhurt."""
    lab.tell(TaskAccepted("t2", "other"), AUTHORISATION)
    lab.results(1, 2)
    body, cost = b"[9]", Metrics(1, 1.0, 1.0, 0.0, 1, 1)
    lab.tell(Results("h", "s", 8, "t2", "other", 1, 1, cost), body)
    lab.wait(OutcomesCommitted)
    lab.wait(OutcomesCommitted)
    lab.tell(LinkState(True, True, ""))
    _, data, ticket = lab.sent()
    assert [batch["job"] for batch in data["batches"]] == ["j", "other"]
    answer = {
        "success": True,
        "batches": [{"error": {"code": "ECANCELLED", "message": "x"}}, taken(1)["batches"][0]],
    }
    lab.tell(Answer(ticket, answer))

    assert lab.wait(OutcomesAcknowledged).job == "other"
    while lab.wait(OutboxStatus).slices:
        pass


def test_a_scheduler_without_bulk_gets_one_result_after_the_other(lab: Neighbours) -> None:
    """Values as resultV2, an error as the result of its slice."""
    lab.tell(LinkState(True, False, ""))
    lab.results(1, 2)
    error = b'{"ctr":"Error","ps":{},"arg":"bad"}'
    lab.tell(SliceFailed("h", "s", 7, "t1", "j", 3, "bad", Metrics(1, 1.0, 1.0, 0.0, 1, 1)), error)
    seen = {}
    while len(seen) < 3:
        operation, data, ticket = lab.sent()
        assert operation == "result"
        seen[data["slice"]] = json.loads(data["resultV2"]["what"]["raw"]["string"])["what"]
        answer = {"success": True, "slicePaymentAmount": "0.5", "metrics": {}}
        lab.tell(Answer(ticket, answer))
        assert lab.wait(OutcomesAcknowledged).payment == 5 * 10**17

    assert seen == {1: 1, 2: 2, 3: json.loads(error)}
    while lab.wait(OutboxStatus).slices:
        pass


def test_a_full_disk_stops_fetching_and_loses_nothing(lab: Neighbours) -> None:
    """Outcomes wait in memory, the supervisor hears of it, and all is well when there is room again."""
    lab.results(1, 1)
    lab.wait(OutcomesCommitted)
    lab.outbox._db.execute("pragma max_page_count=10")
    lab.tell(Results("h", "s", 8, "t1", "j", 2, 1, Metrics(1, 1, 1, 0, 1, 1)), b"[" + b"1" * 400_000 + b"]")
    assert "disk full" in lab.wait(OutboxBlocked).reason
    with pytest.raises(Empty):
        lab.asked.get_nowait()
    lab.outbox._db.execute("pragma max_page_count=100000")

    assert lab.wait(OutcomesCommitted).first == 2
    assert lab.wait(OutboxBlocked).reason == ""


def test_an_earlier_life_is_delivered_first(tmp_path: Path) -> None:
    """A new uploader on the same outbox says that something waits, and sends it with its authorisation."""
    lab = Neighbours(tmp_path)
    lab.tell(TaskAccepted("t1", "j"), AUTHORISATION)
    lab.results(1, 3)
    lab.wait(OutcomesCommitted)
    lab.stop()

    lab = Neighbours(tmp_path)
    assert lab.wait(OutboxStatus).slices == 3
    lab.tell(LinkState(True, True, ""))
    _, data, ticket = lab.sent()
    assert data["batches"][0]["authorizationMessage"] == json.loads(AUTHORISATION)
    lab.tell(Answer(ticket, taken(3)))
    assert lab.wait(OutboxStatus).slices == 0
    lab.stop()


def test_draining_answers_when_everything_is_delivered_or_the_time_is_up(lab: Neighbours) -> None:
    """Either way the supervisor hears how much is left."""
    lab.tell(LinkState(True, True, ""))
    lab.results(1, 2)
    _, _, ticket = lab.sent()
    lab.tell(DrainOutbox(0.1))
    lab.wait(OutcomesCommitted)
    assert lab.wait(OutboxStatus).slices == 2
    lab.tell(Answer(ticket, taken(2)))
    assert lab.wait(OutboxStatus).slices == 0


def test_malformed_outcomes_hurt_nobody(lab: Neighbours) -> None:
    """Text that is no UTF-8 is read as V8 would read it; a message without its body is dropped."""
    cost = Metrics(1, 1.0, 1.0, 0.0, 1, 1)
    lab.tell(Results("h", "s", 7, "t1", "j", 1, 1, cost))
    lab.tell(Results("h", "s", 7, "t1", "j", 2, 1, cost), b'["\xff"]')
    assert lab.wait(OutcomesCommitted).first == 2
    lab.tell(LinkState(True, True, ""))
    assert lab.sent()[1]["batches"][0]["runs"][0]["values"] == '["\N{REPLACEMENT CHARACTER}"]'


def test_a_stream_waits_for_company_and_its_end_does_not(lab: Neighbours) -> None:
    """Results that come while others are on their way go together later, or at once when nothing follows."""
    lab.tell(LinkState(True, True, ""))
    lab.results(1, 1)
    assert lab.sent()[1]["batches"][0]["runs"][0]["count"] == 1  # nobody is there to wait for
    lab.results(2, 1)
    lab.results(3, 1)
    lab.wait(OutcomesCommitted)
    assert lab.asked.empty()

    lab.tell(DeliverNow())
    (run,) = lab.sent()[1]["batches"][0]["runs"]
    assert (run["first"], run["count"]) == (2, 2)
