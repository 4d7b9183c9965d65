"""The ResultUploader: owns the promise that no finished result is lost.

What arrived while it was busy shares one commit to the outbox; then the supervisor hears that the slices
are finished, and then they are submitted. They leave the outbox when the scheduler has taken them, or said
that it never will.
"""

import random
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
from .delivery import (
    MAX_IN_FLIGHT,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_SLICES,
    MAX_SINGLES_IN_FLIGHT,
    REFUSALS,
    Receipt,
    Shipment,
    merge,
    pack_bulk,
    pack_singles,
    read_bulk,
    read_single,
)
from .local_messages import Answer, LinkState, NoAnswer, OutboxBlocked
from .outbox import Outbox, OutboxError, OutcomeRow, Task
from .requests import WorkerFacts, dcc

if TYPE_CHECKING:
    from .scheduler_link import SchedulerLink

COMMIT_EVERY_S = 0.05
"""A stream of outcomes is committed this often; one that comes alone is committed at once."""
SUBMIT_EVERY_S = 0.1
"""And submitted this often, as long as it is small."""
MAX_COMMIT_BYTES = 8_000_000
MAX_OUTBOX_BYTES = 4 * 1024**3
RETRY_MAX_S = 30.0
_SUPERVISOR = Address(b"", "supervisor")


@dataclass(frozen=True, slots=True)
class _Retry:
    """To itself: try again what failed."""

    what: str  # "commit", "submit", or "pace"


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
        self._link = link
        self._facts = facts
        self._max_bytes = max_bytes
        self._bulk: bool | None = None  # None until the scheduler was found
        # waiting for the next commit
        self._tasks: dict[str, Task] = {}
        self._rows: list[OutcomeRow] = []
        self._said: list[OutcomesCommitted] = []
        self._delivered: list[OutcomeRow] = []
        self._closed: list[str] = []
        self._size = 0
        self._stuck = False  # the last commit failed; its retry is under way
        self._committed_at = 0.0
        self._waiting = False  # the next commit has its time
        self._blocked = False  # the supervisor was told to fetch no more
        # what is known of tasks and slices
        self._jobs: dict[str, str] = {}  # job of each open task
        self._seen: dict[str, IntervalSet] = {}  # slices of each job that were kept
        for job, first, count in outbox.held():
            self._seen.setdefault(job, IntervalSet()).add(first, count)
        # submission
        self._shipments: dict[int, Shipment] = {}
        self._next = 1
        self._sent_up_to = 0  # sequence number in the outbox
        self._refusals: dict[int, int] = {}  # of single results, by sequence number
        self._tries = 0
        self._resting = False  # after a failure
        self._pausing = False  # so that more comes together
        self._sent_at = 0.0
        self._draining = False
        self._was_empty: bool | None = None

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
        rest = self._committed_at + COMMIT_EVERY_S - time.monotonic()
        if rest <= 0 or self._draining or self._size >= MAX_COMMIT_BYTES:
            self._commit()
        elif not self._waiting:
            self._waiting = True
            self.after(rest, _Retry("commit"))

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
        if self._tasks or self._rows or self._delivered or self._closed:
            try:
                self._outbox.commit(self._tasks.values(), self._rows, self._delivered, self._closed)
            except OutboxError as error:
                self._stuck = True
                self._say_blocked(str(error))
                self.after(1.0, _Retry("commit"))
                return
            self._tasks, self._rows, self._delivered, self._closed, self._size = {}, [], [], [], 0
        self._stuck = self._waiting = False
        self._committed_at = time.monotonic()
        said, self._said = self._said, []
        for message in said:
            self.tell(_SUPERVISOR, message)
        full = self._outbox.bytes > self._max_bytes
        self._say_blocked(f"{self._outbox.bytes} bytes of results wait for the scheduler" if full else "")
        self._submit()
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

    @handles(_Retry, local_only=True)
    def on_retry(self, message: _Retry, _delivery: Delivery) -> None:
        """Try again."""
        if message.what == "commit":
            self._commit()
        elif message.what == "pace":
            self._pausing = False
            self._submit()
        else:
            self._resting = False
            self._submit()

    # -- submitting --------------------------------------------------------------------------------

    @handles(LinkState, local_only=True)
    def on_link_state(self, message: LinkState, _delivery: Delivery) -> None:
        """The scheduler was found."""
        if message.up:
            self._bulk = message.bulk
            self._submit()

    def _submit(self) -> None:
        while self._bulk is not None and not self._resting and len(self._shipments) < MAX_IN_FLIGHT:
            slices = MAX_REQUEST_SLICES if self._bulk else MAX_SINGLES_IN_FLIGHT
            rows = self._outbox.read(self._sent_up_to, slices, MAX_REQUEST_BYTES)
            under_way = {row.seq for shipment in self._shipments.values() for row in shipment.rows}
            under_way |= {row.seq for row in self._delivered}
            free = [row for row in rows if row.seq not in under_way]
            if free and self._should_wait(free):
                return
            if rows:
                self._sent_up_to = rows[-1].seq
            if free:
                self._ship(free)
            elif not rows:
                return

    def _should_wait(self, rows: list[OutcomeRow]) -> bool:
        """Whether more should come together first: a request costs a millisecond or two on either side."""
        if self._draining or not self._bulk:
            return False
        if 2 * sum(row.count for row in rows) >= MAX_REQUEST_SLICES:
            return False
        if 2 * sum(len(row.body) for row in rows) >= MAX_REQUEST_BYTES:
            return False
        if self._shipments:
            return True  # its answer brings us back
        rest = self._sent_at + SUBMIT_EVERY_S - time.monotonic()
        if rest > 0 and not self._pausing:
            self._pausing = True
            self.after(rest, _Retry("pace"))
        return rest > 0

    def _ship(self, rows: list[OutcomeRow]) -> None:
        self._sent_at = time.monotonic()
        pack = pack_bulk if self._bulk else pack_singles
        shipment, unsendable = pack(self._next, rows, self._outbox.task, self._facts)
        self._next += 1
        self._acknowledge(unsendable)
        self._shipments[shipment.number] = shipment
        self._settle(shipment)

    def _send(self, shipment: Shipment) -> None:
        limit = 1 if self._bulk else MAX_SINGLES_IN_FLIGHT
        while shipment.requests and shipment.waiting < limit and not shipment.failed:
            operation, data = shipment.requests.pop(0)
            shipment.waiting += 1
            ticket = (shipment.number, data if operation == "result" else None)
            self._link.request("resultSubmitter", operation, data, to=self.name, ticket=ticket)

    @handles(Answer, local_only=True)
    def on_answer(self, message: Answer, _delivery: Delivery) -> None:
        """The scheduler has answered a submission."""
        number, single = message.ticket
        shipment = self._shipments.get(number)
        if shipment is None:
            return
        shipment.waiting -= 1
        if single is None:
            receipts = read_bulk(shipment, message.payload)
            if receipts is None:
                self._sent_in_vain(shipment, "the scheduler's answer to results makes no sense")
                return
            self._acknowledge(receipts)
        else:
            receipt = read_single(single["job"], message.payload)
            if receipt is None:
                self._refused(shipment, single, "the scheduler did not take the result")
            else:
                self._acknowledge([receipt])
        self._settle(shipment)

    @handles(NoAnswer, local_only=True)
    def on_no_answer(self, message: NoAnswer, _delivery: Delivery) -> None:
        """A submission failed: the outcomes stay where they are, and are sent again after a rest."""
        number, single = message.ticket
        shipment = self._shipments.get(number)
        if shipment is None:
            return
        shipment.waiting -= 1
        if single is not None and message.refused:
            self._refused(shipment, single, message.message)
            self._settle(shipment)
        else:
            self._sent_in_vain(shipment, message.message)

    def _refused(self, shipment: Shipment, single: dict[str, Any], reason: str) -> None:
        job, number = single["job"], single["slice"]
        row = next(r for r in shipment.rows if r.job == job and r.first <= number < r.first + r.count)
        self._refusals[row.seq] = self._refusals.get(row.seq, 0) + 1
        if self._refusals[row.seq] < REFUSALS:
            shipment.failed = True
        else:
            self._acknowledge([Receipt(single["job"], 1, 0, "", reason)])

    def _sent_in_vain(self, shipment: Shipment, reason: str) -> None:
        if self._tries == 0:
            logger.warning("results are not delivered yet: {}; trying on", reason)
        shipment.failed = True
        self._settle(shipment)

    def _settle(self, shipment: Shipment) -> None:
        """Go on with a shipment, or end it when all its requests are answered."""
        self._send(shipment)
        if shipment.waiting:
            return
        del self._shipments[shipment.number]
        if shipment.failed:
            self._sent_up_to = min(self._sent_up_to, min(row.seq for row in shipment.rows) - 1)
            self._tries += 1
            if not self._resting:
                self._resting = True
                rest = min(RETRY_MAX_S, 0.5 * 2.0 ** min(self._tries, 10)) * random.uniform(0.5, 1.0)
                self.after(rest, _Retry("submit"))
        else:
            self._tries = 0
            self._delivered += shipment.rows
            for row in shipment.rows:
                self._refusals.pop(row.seq, None)

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
        self._resting = False
        self._was_empty = None
        self.after(message.deadline_s, _DrainOver())

    @handles(_DrainOver, local_only=True)
    def on_drain_over(self, _message: _DrainOver, _delivery: Delivery) -> None:
        """Time is up; what is left stays on disk for the next start."""
        self.tell(_SUPERVISOR, OutboxStatus(self._outbox.slices, self._outbox.bytes))

    def _report(self) -> None:
        empty = self._outbox.slices == 0 and not self._rows
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
