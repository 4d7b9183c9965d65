"""The submission of outcomes: what of the outbox is on its way to the scheduler, and what goes next.

Belongs to the uploader and works on its thread. Rows that the scheduler has settled are in ``delivered``; the
uploader deletes them with its next commit.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loguru import logger

from .delivery import (
    MAX_IN_FLIGHT,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_SLICES,
    MAX_SINGLES_IN_FLIGHT,
    REFUSALS,
    Receipt,
    Shipment,
    pack_bulk,
    pack_singles,
    read_bulk,
    read_single,
)
from .local_messages import Answer, NoAnswer
from .outbox import Outbox, OutcomeRow
from .requests import WorkerFacts

if TYPE_CHECKING:
    from .scheduler_link import SchedulerLink

SUBMIT_EVERY_S = 0.5
"""A stream of outcomes is submitted this often as long as it is small; one that comes alone at once.

Each request costs about ten milliseconds of CPU time on its way through worker, scheduler and deployer.
"""
RETRY_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class SubmitAgain:
    """uploader -> itself: a rest is over."""

    after_failure: bool


class Submission:
    """Sends what is in the outbox, in order, until the scheduler has taken it or said that it never will."""

    def __init__(
        self,
        outbox: Outbox,
        link: "SchedulerLink",
        facts: WorkerFacts,
        *,
        name: str,
        after: Callable[[float, SubmitAgain], object],
        acknowledge: Callable[[list[Receipt]], None],
    ) -> None:
        """``name`` is the actor that gets answers, ``after`` sends it a message later."""
        self.bulk: bool | None = None  # None until the scheduler was found
        self.delivered: list[OutcomeRow] = []
        self._outbox = outbox
        self._link = link
        self._facts = facts
        self._name = name
        self._after = after
        self._acknowledge = acknowledge
        self._shipments: dict[int, Shipment] = {}
        self._next = 1
        self._sent_up_to = 0  # sequence number in the outbox
        self._refusals: dict[int, int] = {}  # of single results, by sequence number
        self._tries = 0
        self._resting = False  # after a failure
        self._pausing = False  # so that more comes together
        self._sent_at = 0.0
        self._hurried = False  # what is there now goes, however little it is
        self._draining = False

    def drain(self) -> None:
        """Send everything from now on as soon as it is there; do not finish a rest."""
        self._draining = True
        self._resting = False

    def go(self, *, hurry: bool = False) -> None:
        """Send what may go now; with ``hurry`` it waits for no more to come."""
        self._hurried = self._hurried or hurry
        while self.bulk is not None and not self._resting and len(self._shipments) < MAX_IN_FLIGHT:
            under_way = [row for shipment in self._shipments.values() for row in shipment.rows]
            under_way += self.delivered
            slices = self._outbox.slices - sum(row.count for row in under_way)
            size = self._outbox.bytes - sum(len(row.body) for row in under_way)
            if slices <= 0:
                self._hurried = False
                return
            if self._should_wait(slices, size):
                return
            most = MAX_REQUEST_SLICES if self.bulk else MAX_SINGLES_IN_FLIGHT
            rows = self._outbox.read(self._sent_up_to, most, MAX_REQUEST_BYTES)
            if not rows:
                return
            self._sent_up_to = rows[-1].seq
            taken = {row.seq for row in under_way}
            if free := [row for row in rows if row.seq not in taken]:
                self._ship(free)

    def again(self, message: SubmitAgain) -> None:
        """A rest is over."""
        if message.after_failure:
            self._resting = False
        else:
            self._pausing = False
        self.go()

    def on_answer(self, message: Answer) -> None:
        """The scheduler has answered."""
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

    def on_no_answer(self, message: NoAnswer) -> None:
        """A request failed: the outcomes stay where they are, and are sent again after a rest."""
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

    # -- inside --------------------------------------------------------------------------------------

    def _should_wait(self, slices: int, size: int) -> bool:
        """Whether more should come together first."""
        if self._hurried or self._draining or not self.bulk:
            return False
        if 2 * slices >= MAX_REQUEST_SLICES or 2 * size >= MAX_REQUEST_BYTES:
            return False
        if self._shipments:
            return True  # its answer brings us back
        rest = self._sent_at + SUBMIT_EVERY_S - time.monotonic()
        if rest > 0 and not self._pausing:
            self._pausing = True
            self._after(rest, SubmitAgain(after_failure=False))
        return rest > 0

    def _ship(self, rows: list[OutcomeRow]) -> None:
        self._sent_at = time.monotonic()
        pack = pack_bulk if self.bulk else pack_singles
        shipment, unsendable = pack(self._next, rows, self._outbox.task, self._facts)
        self._next += 1
        self._acknowledge(unsendable)
        self._shipments[shipment.number] = shipment
        self._settle(shipment)

    def _send(self, shipment: Shipment) -> None:
        limit = 1 if self.bulk else MAX_SINGLES_IN_FLIGHT
        while shipment.requests and shipment.waiting < limit and not shipment.failed:
            operation, data = shipment.requests.pop(0)
            shipment.waiting += 1
            ticket = (shipment.number, data if operation == "result" else None)
            self._link.request("resultSubmitter", operation, data, to=self._name, ticket=ticket)

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
                self._after(rest, SubmitAgain(after_failure=True))
        else:
            self._tries = 0
            self.delivered += shipment.rows
            for row in shipment.rows:
                self._refusals.pop(row.seq, None)
