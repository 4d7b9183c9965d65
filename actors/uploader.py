"""The ResultUploader: owns the promise that no finished result is lost.

What arrived while it was busy shares one commit to the outbox; then the supervisor hears that the slices
are finished, and then they are submitted. They leave the outbox when the scheduler has taken them, or said
that it never will.
"""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..protocol.intervals import IntervalSet
from ..protocol.messages import (
    DrainOutbox,
    OutboxStatus,
    OutcomesAcknowledged,
    OutcomesCommitted,
    Results,
    SliceFailed,
    TaskAccepted,
    TaskClosed,
)
from ..protocol.switchboard import Address, Delivery, Switchboard
from .base import Actor, handles
from .delivery import Receipt, merge
from .local_messages import Answer, DeliverNow, LinkState, NoAnswer, OutboxBlocked
from .outbox import Outbox, OutboxError, OutcomeRow, Task
from .requests import WorkerFacts, dcc
from .submission import Submission, SubmitAgain
from .timers import TimerHandle

if TYPE_CHECKING:
    from .scheduler_link import SchedulerLink

COMMIT_EVERY_S = 0.2
"""A stream of outcomes is committed this often; one that comes alone is committed at once."""
TIDY_AFTER_S = 1.0
"""What was delivered may stay on disk so much longer, and then leaves together with what came meanwhile."""
MAX_COMMIT_BYTES = 8_000_000
MAX_OUTBOX_BYTES = 4 * 1024**3
_SUPERVISOR = Address(b"", "supervisor")


@dataclass(frozen=True, slots=True)
class _CommitAgain:
    """To itself: it is time for the next commit, or for another try."""


@dataclass(frozen=True, slots=True)
class _DrainOver:
    """To itself: the time for draining is over."""


class ResultUploader(Actor):
    """Commits outcomes, submits them, and deletes them on acknowledgement."""

    def __init__(
        self,
        switchboard: Switchboard,
        name: str,
        *,
        outbox: Outbox,
        link: "SchedulerLink",
        facts: WorkerFacts,
        max_bytes: int = MAX_OUTBOX_BYTES,
    ) -> None:
        super().__init__(switchboard, name)
        self._outbox = outbox
        self._max_bytes = max_bytes
        self._submission = Submission(
            outbox, link, facts, name=name, after=self.after, acknowledge=self._acknowledge
        )
        # waiting for the next commit
        self._tasks: dict[str, Task] = {}
        self._rows: list[OutcomeRow] = []
        self._said: list[OutcomesCommitted] = []
        self._closed: list[str] = []
        self._size = 0
        self._stuck = False  # the last commit failed; its retry is under way
        self._committed_at = 0.0
        self._commit_timer: TimerHandle | None = None
        self._commit_due = 0.0  # when it ends
        self._blocked = False  # the supervisor was told to fetch no more
        # what is known of tasks and slices
        self._jobs: dict[str, str] = {}  # job of each open task
        self._seen: dict[str, IntervalSet] = {}  # slices of each job that were kept
        for job, first, count in outbox.held():
            self._seen.setdefault(job, IntervalSet()).add(first, count)
        self._draining = False
        self._was_empty: bool | None = None
        self._began_empty = False  # what an earlier life has left is delivered

    def on_start(self) -> None:
        """Say what an earlier life has left."""
        if self._outbox.slices:
            logger.info("{} finished slices of an earlier run wait to be delivered", self._outbox.slices)
        self._report()

    def on_receive(self, message: Any) -> None:
        """Handle one message, and commit when there is nothing more to take along."""
        super().on_receive(message)
        if self._stuck or (not self.actor_inbox.empty() and self._size < MAX_COMMIT_BYTES):
            return
        due = self._next_commit()
        if due is None:
            return
        now = time.monotonic()
        if due <= now:
            self._commit()
        elif self._commit_timer is None or due < self._commit_due:
            self._set_timer(due)

    def _next_commit(self) -> float | None:
        """When to commit: what the supervisor waits for soon, the rest some time."""
        urgent = bool(self._rows or self._said)
        if not urgent and not (self._tasks or self._submission.delivered or self._closed):
            return None
        if self._draining or self._size >= MAX_COMMIT_BYTES or not self._began_empty:
            return 0.0
        if urgent:
            return self._committed_at + COMMIT_EVERY_S
        return self._commit_due if self._commit_timer else time.monotonic() + TIDY_AFTER_S

    def _set_timer(self, due: float | None) -> None:
        if self._commit_timer is not None:
            self._commit_timer.cancel()
            self._commit_timer = None
        if due is not None:
            self._commit_due = due
            self._commit_timer = self.after(max(0.0, due - time.monotonic()), _CommitAgain())

    # -- what comes in -----------------------------------------------------------------------------

    @handles(TaskAccepted, local_only=True)
    def on_task_accepted(self, message: TaskAccepted, delivery: Delivery) -> None:
        """Remember an authorisation: bodies[0]; bodies[1] is the KVIN version of the job's results."""
        kvin = delivery.bodies[1].decode() if len(delivery.bodies) > 1 else "v9"
        self._tasks[message.task] = Task(message.task, message.job, kvin, delivery.bodies[0])
        self._jobs[message.task] = message.job

    @handles(TaskClosed, local_only=True)
    def on_task_closed(self, message: TaskClosed, _delivery: Delivery) -> None:
        """No more outcomes of this task are wanted."""
        job = self._jobs.pop(message.task, None)
        self._closed.append(message.task)
        if job is not None and job not in self._jobs.values():
            self._seen.pop(job, None)

    @handles(Results)
    def on_results(self, message: Results, delivery: Delivery) -> None:
        """Keep results of consecutive slices, as far as they are new."""
        if len(delivery.bodies) != 1 or message.count < 1 or message.first < 1:
            logger.warning("results of job {} came malformed and are dropped", message.job)
            return
        job, first, count = message.job, message.first, message.count
        said = OutcomesCommitted(message.sandbox, message.run, job, first, count, False)
        self._keep(
            OutcomeRow(message.task, job, first, count, False, delivery.bodies[0], message.metrics), said
        )

    @handles(SliceFailed)
    def on_slice_failed(self, message: SliceFailed, delivery: Delivery) -> None:
        """Keep the error of a slice whose work function threw."""
        if len(delivery.bodies) != 1 or message.slice < 1:
            logger.warning("an error of job {} came malformed and is dropped", message.job)
            return
        logger.bind(job=message.job, slice=message.slice, host=message.host).info(
            "slice {} of job {} threw: {}", message.slice, message.job, message.message[:300]
        )
        said = OutcomesCommitted(message.sandbox, message.run, message.job, message.slice, 1, True)
        row = OutcomeRow(
            message.task, message.job, message.slice, 1, True, delivery.bodies[0], message.metrics
        )
        self._keep(row, said)

    def _keep(self, row: OutcomeRow, said: OutcomesCommitted) -> None:
        if self._jobs.get(row.task) != row.job:
            logger.bind(job=row.job).debug("a late outcome of {} is not wanted any more", row.task)
            return
        try:
            row.body.decode()
        except UnicodeDecodeError:  # as V8 itself would have read it
            row = replace(row, body=row.body.decode("utf-8", "replace").encode())
        seen = self._seen.setdefault(row.job, IntervalSet())
        missing = seen.missing(row.first, row.count)
        if missing and missing != [(row.first, row.count)]:
            self._rows += _cut(row, missing)
        elif missing:
            self._rows.append(row)
        seen.add(row.first, row.count)
        self._said.append(said)
        self._size += len(row.body)

    # -- committing --------------------------------------------------------------------------------

    def _commit(self) -> None:
        delivered = self._submission.delivered
        if self._tasks or self._rows or delivered or self._closed:
            try:
                self._outbox.commit(self._tasks.values(), self._rows, delivered, self._closed)
            except OutboxError as error:
                self._stuck = True
                self._say_blocked(str(error))
                self._set_timer(time.monotonic() + 1.0)
                return
            self._tasks, self._rows, self._closed, self._size = {}, [], [], 0
            self._submission.delivered = []
        self._stuck = False
        self._set_timer(None)
        self._committed_at = time.monotonic()
        said, self._said = self._said, []
        for message in said:
            self.tell(_SUPERVISOR, message)
        full = self._outbox.bytes > self._max_bytes
        self._say_blocked(f"{self._outbox.bytes} bytes of results wait for the scheduler" if full else "")
        self._submission.go()
        self._report()

    def _say_blocked(self, reason: str) -> None:
        if bool(reason) == self._blocked:
            return
        self._blocked = bool(reason)
        if reason:
            logger.error("no more work is fetched: {}", reason)
        else:
            logger.info("the outbox takes results again")
        self.tell(_SUPERVISOR, OutboxBlocked(reason))

    @handles(_CommitAgain, local_only=True)
    def on_commit_again(self, _message: _CommitAgain, _delivery: Delivery) -> None:
        """The time has come."""
        self._commit()

    # -- submitting --------------------------------------------------------------------------------

    @handles(LinkState, local_only=True)
    def on_link_state(self, message: LinkState, _delivery: Delivery) -> None:
        """The scheduler was found."""
        if message.up:
            self._submission.bulk = message.bulk
            self._submission.go()

    @handles(DeliverNow, local_only=True)
    def on_deliver_now(self, _message: DeliverNow, _delivery: Delivery) -> None:
        """Nothing more comes soon."""
        if not self._stuck:
            self._commit()
        self._submission.go(hurry=True)

    @handles(SubmitAgain, local_only=True)
    def on_submit_again(self, message: SubmitAgain, _delivery: Delivery) -> None:
        """A rest is over."""
        self._submission.again(message)

    @handles(Answer, local_only=True)
    def on_answer(self, message: Answer, _delivery: Delivery) -> None:
        """The scheduler has answered a submission."""
        self._submission.on_answer(message)
        self._submission.go()

    @handles(NoAnswer, local_only=True)
    def on_no_answer(self, message: NoAnswer, _delivery: Delivery) -> None:
        """A submission failed."""
        self._submission.on_no_answer(message)
        self._submission.go()

    def _acknowledge(self, receipts: list[Receipt]) -> None:
        for receipt in merge(receipts):
            job, slices = receipt.job, receipt.slices
            log = logger.bind(job=job)
            if receipt.refusal:
                log.warning("{} results of job {} are not wanted: {}", slices, job, receipt.refusal)
            else:
                log.info("paid {} DCC for {} slices of job {}", dcc(receipt.payment), slices, job)
                self.tell(_SUPERVISOR, OutcomesAcknowledged(job, slices, receipt.payment, receipt.metrics))

    # -- draining ----------------------------------------------------------------------------------

    @handles(DrainOutbox, local_only=True)
    def on_drain(self, message: DrainOutbox, _delivery: Delivery) -> None:
        """Answer when everything is delivered, or when the time is up."""
        self._draining = True
        self._was_empty = None
        self._submission.drain()
        self._submission.go()
        self.after(message.deadline_s, _DrainOver())
        self._report()  # there may be nothing left that a commit would follow

    @handles(_DrainOver, local_only=True)
    def on_drain_over(self, _message: _DrainOver, _delivery: Delivery) -> None:
        """Time is up; what is left stays on disk for the next start."""
        self.tell(_SUPERVISOR, OutboxStatus(self._outbox.slices, self._outbox.bytes))

    def _report(self) -> None:
        empty = self._outbox.slices == 0 and not self._rows
        self._began_empty = self._began_empty or empty
        if empty != self._was_empty and (empty or not self._draining):
            self._was_empty = empty
            self.tell(_SUPERVISOR, OutboxStatus(self._outbox.slices, self._outbox.bytes))


def _cut(row: OutcomeRow, missing: list[tuple[int, int]]) -> list[OutcomeRow]:
    """The parts of a row that are new.

    Rare: only outcomes of a sandbox that had been given up overlap others.
    """
    from .inputs import Inputs

    values = Inputs(row.body, row.first, row.count)
    parts = []
    for index, (first, count) in enumerate(missing):
        body = values.cut(first, count)
        cost = row.metrics if index == 0 else type(row.metrics)(count, 0.0, 0.0, 0.0, 0, 0)
        parts.append(OutcomeRow(row.task, row.job, first, count, row.failed, body, cost))
    return parts
