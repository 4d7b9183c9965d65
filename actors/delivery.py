"""What goes to the scheduler in one request, and what its answer means. Pure; the uploader does the rest."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..protocol.dcp.values import ValuesError
from .outbox import OutcomeRow, Task
from .requests import WorkerFacts, results, single_results

MAX_REQUEST_SLICES = 20_000
MAX_REQUEST_BYTES = 1_000_000
MAX_IN_FLIGHT = 2
"""Requests that are under way at once: one is worked on there while the next one travels."""
MAX_SINGLES_IN_FLIGHT = 8
REFUSALS = 3
"""How often a one-slice scheduler may refuse a result before it counts as not wanted."""


@dataclass(slots=True)
class Shipment:
    """Rows of the outbox that are under way together. One-slice schedulers get a request for each slice."""

    number: int
    rows: list[OutcomeRow]
    requests: list[tuple[str, dict[str, Any]]]  # (operation, data), not sent yet
    waiting: int = 0  # requests without an answer
    failed: bool = False  # a request got no answer: everything is sent again later
    tasks: list[Task] = field(default_factory=list)  # in the order of the batches


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the scheduler has said about outcomes of one job."""

    job: str
    slices: int  # that it did not have yet; of a refusal, all
    payment: int  # 10^-18 DCC
    metrics: str  # JSON text, or ""
    refusal: str = ""  # why they were not taken; they are not sent again


def pack_bulk(
    number: int, rows: Sequence[OutcomeRow], task_of: Callable[[str], Task | None], facts: WorkerFacts
) -> tuple[Shipment, list[Receipt]]:
    """One ``results@1`` for all rows, a batch for each authorisation; and what cannot be sent at all."""
    by_task: dict[str, list[OutcomeRow]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    batches = [(task, by_task[name]) for name in by_task if (task := task_of(name)) is not None]
    shipment = Shipment(number, list(rows), [])
    shipment.tasks = [task for task, _ in batches]
    if batches:
        shipment.requests.append(("results@1", results(facts, batches)))
    known = {task.task for task in shipment.tasks}
    return shipment, [_orphan(row) for row in rows if row.task not in known]


def pack_singles(
    number: int, rows: Sequence[OutcomeRow], task_of: Callable[[str], Task | None], facts: WorkerFacts
) -> tuple[Shipment, list[Receipt]]:
    """A ``result`` for each slice; and what cannot be sent at all."""
    shipment = Shipment(number, list(rows), [])
    unsendable = []
    for row in rows:
        task = task_of(row.task)
        if task is None:
            unsendable.append(_orphan(row))
            continue
        try:
            shipment.requests += [("result", data) for data in single_results(facts, task, row)]
        except ValuesError as error:
            unsendable.append(Receipt(row.job, row.count, 0, "", str(error)))
    return shipment, unsendable


def _orphan(row: OutcomeRow) -> Receipt:
    return Receipt(row.job, row.count, 0, "", "their authorisation is lost")


def read_bulk(shipment: Shipment, payload: Any) -> list[Receipt] | None:
    """The receipts of a ``results@1``, one for each batch; None when the answer makes no sense."""
    batches = payload.get("batches") if isinstance(payload, Mapping) else None
    if not isinstance(batches, list) or len(batches) != len(shipment.tasks):
        return None
    receipts = []
    for task, batch in zip(shipment.tasks, batches, strict=True):
        if not isinstance(batch, Mapping):
            return None
        slices = sum(row.count for row in shipment.rows if row.task == task.task)
        error = batch.get("error")
        if error:
            code = error.get("code", "") if isinstance(error, Mapping) else ""
            message = error.get("message", "") if isinstance(error, Mapping) else error
            receipts.append(Receipt(task.job, slices, 0, "", f"{message} ({code})"[:500]))
        else:
            accepted = batch.get("accepted")
            fresh = accepted if type(accepted) is int and 0 <= accepted <= slices else slices
            receipts.append(Receipt(task.job, fresh, _amount(batch.get("payment")), _metrics(batch)))
    return receipts


def read_single(job: str, payload: Any) -> Receipt | None:
    """The receipt of one ``result``; None when the scheduler did not take it."""
    if not isinstance(payload, Mapping) or payload.get("success") is not True:
        return None
    return Receipt(job, 1, _dcc(payload.get("slicePaymentAmount")), _metrics(payload))


def merge(receipts: Iterable[Receipt]) -> list[Receipt]:
    """One receipt for each job; refusals stay by themselves."""
    merged: dict[tuple[str, str], Receipt] = {}
    for receipt in receipts:
        key = (receipt.job, receipt.refusal)
        old = merged.get(key)
        if old is not None:
            slices, payment = old.slices + receipt.slices, old.payment + receipt.payment
            receipt = Receipt(receipt.job, slices, payment, receipt.metrics or old.metrics, receipt.refusal)
        merged[key] = receipt
    return list(merged.values())


def _amount(value: Any) -> int:
    """Integer text in 10^-18 DCC. A scheduler that says something else is taken to have said nothing."""
    good = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 60
    return int(value) if good else 0


def _dcc(value: Any) -> int:
    """Decimal text or number in DCC, as the one-slice operation gives it, in 10^-18 DCC."""
    from decimal import Decimal, InvalidOperation

    try:
        amount = Decimal(str(value)[:80])
    except InvalidOperation:
        return 0
    return int(amount.scaleb(18)) if amount.is_finite() and 0 <= amount < 10**18 else 0


def _metrics(batch: Mapping[str, Any]) -> str:
    metrics = batch.get("metrics")
    return orjson.dumps(metrics).decode()[:4_000] if isinstance(metrics, Mapping) else ""
