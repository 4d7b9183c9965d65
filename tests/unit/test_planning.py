"""Events in, instructions out: how the supervisor deals work, and what it does when something is lost."""

from itertools import pairwise
from typing import TypeVar

import pytest

from dcp_worker.actors import instructions as do
from dcp_worker.actors.inputs import Inputs
from dcp_worker.actors.planning import Arrival, Planner
from dcp_worker.actors.records import Stretch
from dcp_worker.protocol.messages import HostHello, Outcome

Order = TypeVar("Order")
HELLO = HostHello(1, "h", "box", 2, 1 << 32, 65, (("map-basic", "1"),))


def arrival(task: str, first: int, count: int, job: str = "a", requirements: int = 64) -> Arrival:
    return Arrival(job, task, "map-basic", requirements, (Stretch(task, first, count, None),))


class Lab:
    """A planner, the time, and what it has said last."""

    def __init__(self, sandboxes: int = 2, window_s: float = 5.0) -> None:
        self.planner = Planner(life="t", window_s=window_s)
        self.now = 1000.0
        self.said: list[do.Instruction] = []
        self.planner.on_host_attached(self.now, HELLO)
        self.planner.on_allowance(self.now, "h", float(sandboxes), sandboxes)
        self.planner.on_ready_to_fetch(self.now)
        self.hear()

    def hear(self) -> list[do.Instruction]:
        self.said = self.planner.take()
        return self.said

    def only(self, kind: type[Order]) -> list[Order]:
        return [order for order in self.said if isinstance(order, kind)]

    def bring(
        self, job: str, count: int, *, first: int = 1, requirements: int = 64, body: bytes | None = None
    ) -> None:
        inputs = None if body is None else Inputs(body, first, count)
        stretch = Stretch(f"{job}/{first}", first, count, inputs)
        arrival = Arrival(job, stretch.task, "map-basic", requirements, (stretch,))
        self.planner.on_work(self.now, [arrival], 0.0)
        self.hear()

    def open_all(self) -> list[do.Deal]:
        deals = []
        for order in self.only(do.Open):
            self.planner.on_sandbox_opened(self.now, order.sandbox)
            self.hear()
            deals += self.only(do.Deal)
        return deals

    def finish(self, deal: do.Deal, slice_ms: float) -> list[do.Deal]:
        count = deal.stretch.count
        self.planner.on_run_finished(self.now, deal.sandbox, deal.run, count, slice_ms * count)
        self.planner.on_outcomes_committed(self.now, deal.job, deal.run, deal.stretch.first, count)
        self.hear()
        return self.only(do.Deal)


def test_work_is_asked_for_when_there_is_room() -> None:
    """An idle host leads to one request, and no second one before its answer."""
    planner = Planner(life="t")
    planner.on_ready_to_fetch(0.0)
    assert planner.take() == []
    planner.on_host_attached(0.0, HELLO)
    planner.on_allowance(0.0, "h", 1.5, 4)
    planner.on_tick(0.1)

    assert planner.take() == [do.RequestWork(cpu=1.5, slices=8, start_up=True)]


def test_nothing_is_asked_for_before_old_results_are_delivered() -> None:
    """The first request lets the scheduler take everything back, so what is finished goes first."""
    planner = Planner(life="t")
    planner.on_host_attached(0.0, HELLO)
    planner.on_allowance(0.0, "h", 2.0, 2)
    assert planner.take() == []

    planner.on_ready_to_fetch(1.0)

    assert planner.take() == [do.RequestWork(cpu=2.0, slices=8, start_up=True)]


def test_the_first_run_is_one_slice_and_later_ones_take_a_tenth_of_a_second() -> None:
    """Runs follow the measured slice time, up to half of a fair part of what is left."""
    lab = Lab()
    lab.bring("a", 40_000)
    assert [type(order) for order in lab.said[:3]] == [do.SendJob, do.Open, do.Open]
    first, second = lab.open_all()
    assert (first.stretch.count, second.stretch.count) == (1, 1)
    assert first.sandbox != second.sandbox

    deals = lab.finish(first, 0.2)

    assert [deal.stretch.count for deal in deals] == [500, 500]  # credit for the time to come round
    assert {deal.sandbox for deal in deals} == {first.sandbox}
    assert next(deal.stretch.count for deal in lab.finish(second, 0.0001)) < 1000
    for deal in deals:
        more = lab.finish(deal, 0.0001)
    assert len(more) == 1


def test_runs_are_bounded_by_bytes() -> None:
    """Large inputs make short runs, and one slice always goes."""
    lab = Lab()
    lab.bring("a", 14, body=b"[" + b",".join([b'"' + b"x" * 1_500_000 + b'"'] * 14) + b"]")
    first, _ = lab.open_all()
    assert [deal.stretch.count for deal in lab.finish(first, 0.01)] == [2, 2, 2]


def test_slow_slices_are_dealt_one_by_one() -> None:
    """A slice of seconds waits in the queue for whoever is free, not in a sandbox behind another one."""
    lab = Lab()
    lab.bring("a", 8)
    first, second = lab.open_all()
    assert len(lab.finish(first, 3_000.0)) == 1
    assert len(lab.finish(second, 3_000.0)) == 1


def test_jobs_share_the_sandboxes() -> None:
    """A second job gets its half as soon as the first one's sandbox has worked off what it had."""
    lab = Lab()
    lab.bring("a", 1_000)
    first, second = lab.open_all()
    deals = [*lab.finish(first, 10.0), *lab.finish(second, 10.0)]
    lab.bring("b", 1_000)
    assert lab.only(do.Open) == []
    retired = next(box.sandbox for box in lab.planner.sandboxes.values() if box.state.value == "retiring")

    for deal in [deal for deal in deals if deal.sandbox == retired]:
        assert lab.finish(deal, 10.0) == []
    assert lab.only(do.Close) == [do.Close("h", retired, "its slot is for others")]
    lab.planner.on_sandbox_closed(lab.now, retired, Outcome.CLOSED, "", 0)
    lab.hear()

    assert [order.job for order in lab.only(do.Open)] == ["b"]


def test_a_lost_sandbox_gives_its_slices_back_to_the_queue() -> None:
    """They run elsewhere; those of which one must have done it each alone, and after the others."""
    lab = Lab(sandboxes=1)
    lab.bring("a", 100)
    (first,) = lab.open_all()
    deals = lab.finish(first, 1.0)
    lab.planner.on_outcomes_committed(lab.now, "a", deals[0].run, deals[0].stretch.first, 1)
    culprit = deals[0].stretch.first + 1
    lab.planner.on_sandbox_closed(lab.now, first.sandbox, Outcome.DIED, "gone", culprit)
    lab.hear()

    job = lab.planner.jobs["a"]
    end = deals[0].stretch.first + deals[0].stretch.count
    assert end - culprit > 1
    assert job.queue[0].first == end
    alone = [(part.first, part.count) for part in list(job.queue)[culprit - end :]]
    assert alone == [(number, 1) for number in range(culprit, end)]
    assert job.attempts == {}
    assert job.queued == 98
    assert len(lab.only(do.Open)) == 1


@pytest.mark.parametrize(("outcome", "attempts"), [(Outcome.NO_PROGRESS, 1), (Outcome.OUT_OF_MEMORY, 3)])
def test_a_slice_that_kills_evaluators_goes_back(outcome: Outcome, attempts: int) -> None:
    """After its attempts it is returned with the reason, and the owner hears of it."""
    lab = Lab(sandboxes=1)
    lab.bring("a", 1)
    for _ in range(attempts):
        assert lab.only(do.Return) == []
        (deal,) = lab.open_all()
        lab.planner.on_sandbox_closed(lab.now, deal.sandbox, outcome, "too much", 1)
        lab.hear()

    assert lab.only(do.Return) == [do.Return("a", "a/1", ((1, 1),), outcome.value, "too much")]
    (report,) = lab.only(do.Report)
    assert (report.slice, report.code) == (1, outcome.value)
    assert lab.only(do.CloseTask) == [do.CloseTask("a/1")]


def test_a_job_that_cannot_be_assigned_goes_back_with_the_error() -> None:
    """Twice the same error is no accident; the owner is told before the authorisation is given up."""
    lab = Lab(sandboxes=1)
    lab.bring("a", 50)
    for _ in range(2):
        (order,) = lab.only(do.Open)
        lab.planner.on_sandbox_closed(lab.now, order.sandbox, Outcome.ASSIGN_FAILED, "SyntaxError: x", 0)
        lab.hear()

    kinds = [type(order) for order in lab.said]
    assert kinds.index(do.Report) < kinds.index(do.Return) < kinds.index(do.CloseTask)
    assert lab.only(do.Return)[0].code == "EASSIGN"
    assert lab.only(do.Return)[0].slices == ((1, 50),)


def test_a_host_that_cannot_start_evaluators_rests() -> None:
    """It is not asked again and again, and the job is not blamed."""
    lab = Lab(sandboxes=1)
    lab.bring("a", 5)
    for _ in range(3):
        (order,) = lab.only(do.Open)
        lab.planner.on_sandbox_closed(lab.now, order.sandbox, Outcome.NOT_STARTED, "no deno", 0)
        lab.hear()
        assert lab.only(do.Open) == []
        lab.now += 40.0
        lab.planner.on_heard(lab.now, "h")
        lab.planner.on_tick(lab.now)
        lab.hear()
    assert lab.planner.jobs["a"].queued == 5


def test_a_silent_host_is_given_up_and_late_outcomes_still_count() -> None:
    """Its slices run elsewhere, unless their outcomes turn up after all."""
    lab = Lab(sandboxes=1)
    lab.bring("a", 100)
    (first,) = lab.open_all()
    deals = lab.finish(first, 1.0)
    lab.planner.on_tick(lab.now + 100.0)
    lab.hear()
    assert lab.planner.jobs["a"].queued == 99

    late = deals[0].stretch
    lab.planner.on_outcomes_committed(lab.now, "a", deals[0].run, late.first, late.count)

    assert lab.planner.jobs["a"].queued == 99 - late.count
    assert lab.planner.jobs["a"].unfinished == 99 - late.count


def test_slices_that_no_host_can_run_go_back() -> None:
    """A capability that nobody has is a reason to return, not to wait."""
    lab = Lab()
    lab.bring("a", 3, requirements=32)
    assert lab.only(do.Return)[0].code == "ENOWORKTIME"


def test_slices_that_came_before_are_not_taken_twice() -> None:
    """What is held already is not queued again; its new authorisation is closed at once."""
    lab = Lab()
    lab.bring("a", 10)
    lab.planner.on_work(lab.now, [arrival("again", 3, 10)], 0.0)
    assert lab.planner.jobs["a"].unfinished == 12

    lab.planner.on_work(lab.now, [arrival("third", 1, 5)], 0.0)
    lab.hear()

    assert do.CloseTask("third") in lab.said


def test_too_much_goes_back_once_it_is_measured() -> None:
    """What would take longer than two minutes is for others."""
    lab = Lab(sandboxes=1)
    lab.bring("a", 10_000)
    (first,) = lab.open_all()
    lab.finish(first, 1_000.0)
    lab.planner.on_heard(lab.now, "h")
    lab.planner.on_tick(lab.now + 1.0)
    lab.hear()

    (back,) = lab.only(do.Return)
    assert sum(count for _, count in back.slices) > 9_000
    assert back.slices[-1] == (back.slices[-1][0], 10_001 - back.slices[-1][0])
    assert back.code == ""


def test_stopping_returns_what_waits_and_lets_runs_finish() -> None:
    """Then nothing is left, no sandbox and no job."""
    lab = Lab(sandboxes=1)
    lab.bring("a", 10)
    (deal,) = lab.open_all()
    lab.planner.on_stop(lab.now)
    lab.hear()
    assert lab.only(do.Return)[0].slices == ((2, 9),)
    assert not lab.planner.at_rest

    lab.finish(deal, 5.0)

    assert lab.planner.at_rest
    assert [order.sandbox for order in lab.only(do.Close)] == [deal.sandbox]
    assert lab.only(do.RequestWork) == []


def test_a_blocked_outbox_stops_fetching() -> None:
    """No more work is taken while outcomes cannot be kept; it goes on when they can."""
    lab = Lab()
    lab.planner.on_outbox(lab.now, blocked=True)
    lab.planner.on_work(lab.now, [], 0.0)
    lab.now += 60.0
    lab.planner.on_heard(lab.now, "h")
    lab.planner.on_tick(lab.now)
    assert [order for order in lab.hear() if isinstance(order, do.RequestWork)] == []
    lab.planner.on_outbox(lab.now, blocked=False)
    lab.hear()
    assert len(lab.only(do.RequestWork)) == 1


def test_empty_answers_lead_to_longer_rests() -> None:
    """Without a scheduler that holds requests, the worker asks less and less often."""
    lab = Lab()
    asked = []
    for _ in range(400):
        lab.planner.on_heard(lab.now, "h")
        if lab.planner.fetching.asking_since is not None:
            asked.append(lab.now)
            lab.planner.on_work(lab.now, [], 1.0)
        lab.planner.on_tick(lab.now)
        lab.hear()
        lab.now += 0.5

    rests = [later - earlier - 0.5 for earlier, later in pairwise(asked)]  # the answer took half a second
    assert rests[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert max(rests) == 30.0


def test_the_end_of_a_job_is_delivered_at_once() -> None:
    """When nothing of a job is queued or computed any more, what is finished waits for no company."""
    lab = Lab()
    lab.bring("a", 2)
    first, second = lab.open_all()

    lab.finish(first, 10.0)
    assert lab.only(do.Deliver) == []
    lab.planner.on_run_finished(lab.now, second.sandbox, second.run, 1, 10.0)
    lab.hear()
    assert lab.only(do.Deliver) == [do.Deliver("a")]
