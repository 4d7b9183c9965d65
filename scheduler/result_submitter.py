"""What workers bring back: ``result``, ``results@1``, ``status``; and ``closeJob`` of deployers."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.engine import Connection

from ..errors import DcpError
from ..protocol.dcp.address import to_checksum
from ..protocol.dcp.values import node_from_result, nodes_of
from ..protocol.intervals import Interval, from_numbers
from . import fetch_result
from .core import Call, Core, Form, Operations, read
from .job_submit import ADDRESS, must_own
from .outcomes import Delivery, Failure, News, Return, accept, checked_error, end_if_over, give_back
from .refusal import Refused
from .store import jobs, ledger
from .store.database import StoreError
from .store.jobs import Measured
from .task_distributor import holder, job_metrics

MOST_SLICE = (1 << 53) - 1
MOST_MS = 1e12

SliceNumber = Annotated[int, Field(ge=1, le=MOST_SLICE)]
Pair = Annotated[list[SliceNumber], Field(min_length=2, max_length=2)]
"""First slice and count."""
Amount = Annotated[float, Field(ge=0, le=MOST_MS)]
Authorisation = dict[str, Any]
Worker = Annotated[str, Field(min_length=1, max_length=100)]


class Metrics(Form):
    """Sums over ``slices`` slices, in milliseconds and bytes. A one-slice worker has no wall time, but
    densities.
    """

    slices: Annotated[int, Field(ge=0, le=10_000_000)] = 1
    wallTime: Amount | None = None  # noqa: N815
    CPUTime: Amount = 0.0
    GPUTime: Amount = 0.0
    CPUDensity: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    InDataSize: Amount = 0.0
    OutDataSize: Amount = 0.0

    @property
    def wall_ms(self) -> float:
        if self.wallTime is not None:
            return self.wallTime
        return (
            min(self.CPUTime / self.CPUDensity, MOST_MS)
            if self.CPUDensity > 0
            else self.CPUTime + self.GPUTime
        )


class Result(Form):
    """``result``: one slice."""

    job: str
    slice: SliceNumber
    worker: Worker
    paymentAddress: Annotated[str, Field(pattern=ADDRESS)]  # noqa: N815
    authorizationMessage: Authorisation  # noqa: N815
    metrics: Metrics = Metrics()
    resultV2: dict[str, Any] | None = None  # noqa: N815


class ResultRun(Form):
    first: SliceNumber
    count: Annotated[int, Field(ge=1, le=1_000_000)]
    values: str
    metrics: Metrics = Metrics()


class FailedSlice(Form):
    slice: SliceNumber
    error: str
    metrics: Metrics = Metrics()


class Batch(Form):
    job: str
    authorizationMessage: Authorisation  # noqa: N815
    runs: Annotated[list[ResultRun], Field(max_length=10_000)] = []  # noqa: RUF012
    failures: Annotated[list[FailedSlice], Field(max_length=10_000)] = []  # noqa: RUF012


class Results(Form):
    """``results@1``; each batch is checked, stored and answered on its own."""

    worker: Worker
    paymentAddress: Annotated[str, Field(pattern=ADDRESS)]  # noqa: N815
    batches: Annotated[list[dict[str, Any]], Field(max_length=1000)]


class StatusEntry(Form):
    job: str
    authorizationMessage: Authorisation  # noqa: N815
    status: str
    sliceNumbers: Annotated[list[SliceNumber], Field(max_length=100_000)] = []  # noqa: N815, RUF012
    runs: Annotated[list[Pair], Field(max_length=10_000)] = []  # noqa: RUF012
    reason: Any = None

    @property
    def parts(self) -> list[Interval]:
        return from_numbers(self.sliceNumbers) + [(first, count) for first, count in self.runs]


class StatusReport(Form):
    worker: Worker
    slices: Annotated[list[dict[str, Any]], Field(max_length=1000)]


class CloseJob(Form):
    job: str


def cost_of(parts: list[Metrics]) -> Measured:
    """What several parts of a delivery have cost together."""
    return Measured(
        slices=sum(part.slices for part in parts),
        wall_ms=sum(part.wall_ms for part in parts),
        cpu_ms=sum(part.CPUTime for part in parts),
        gpu_ms=sum(part.GPUTime for part in parts),
        in_bytes=sum(part.InDataSize for part in parts),
        out_bytes=sum(part.OutDataSize for part in parts),
    )


def reason_of(reason: Any) -> tuple[str, str]:
    """The error code and text of a returned slice, ``("", ...)`` when nothing was wrong with the slice.

    Workers give a sentence, a code, or an object with ``message`` and ``errorCode``.
    """
    if isinstance(reason, dict):
        code, message = reason.get("errorCode") or reason.get("code"), reason.get("message")
    else:
        code, message = reason, reason
    if not isinstance(code, str) or not re.fullmatch(r"E[A-Z0-9_]{2,40}", code):
        return "", ""
    return code, message[:2000] if isinstance(message, str) and message != code else ""


def operations(core: Core) -> Operations:
    """The operations of this service by their names on the wire."""

    async def deliver(worker: str, delivery: Delivery) -> Any:
        if delivery.grant.worker != worker:
            raise Refused("EAUTH", "The authorisation was given to another worker.")
        accepted = await core.store.write(lambda connection: accept(connection, delivery, core.now()))
        core.tell(accepted.news)
        return accepted

    async def result(call: Call) -> Any:
        request = read(Result, call.data)
        if request.resultV2 is None:
            raise Refused("ENOTSUPPORTED", "Results are stored by this scheduler only; send resultV2.")
        node = node_from_result(request.resultV2)
        core.workers.heard(holder(request.worker, call.peer.owner), core.now())
        accepted = await deliver(
            request.worker,
            Delivery(
                job=request.job,
                grant=core.authority.verify(request.authorizationMessage),
                payment_address=address_of(request.paymentAddress),
                runs=[(request.slice, [node])],
                failures=[],
                cost=cost_of([request.metrics]),
            ),
        )
        return {
            "success": True,
            "slicePaymentAmount": ledger.in_dcc(accepted.payment),
            "metrics": job_metrics(accepted.news.job),
        }

    async def one_batch(request: Results, data: dict[str, Any]) -> dict[str, Any]:
        try:
            batch = read(Batch, data)
            metrics = [run.metrics for run in batch.runs] + [failure.metrics for failure in batch.failures]
            accepted = await deliver(
                request.worker,
                Delivery(
                    job=batch.job,
                    grant=core.authority.verify(batch.authorizationMessage),
                    payment_address=address_of(request.paymentAddress),
                    runs=[(run.first, nodes_of(run.values, expected=run.count)) for run in batch.runs],
                    failures=[Failure(one.slice, checked_error(one.error)) for one in batch.failures],
                    cost=cost_of(metrics),
                ),
            )
        except DcpError as refusal:
            if isinstance(refusal, StoreError):
                raise  # not the batch's fault: the worker keeps it and tries again
            return {
                "accepted": 0,
                "payment": "0",
                "metrics": None,
                "error": {"code": refusal.code, "message": str(refusal)},
            }
        return {
            "accepted": accepted.accepted,
            "payment": str(accepted.payment),
            "metrics": job_metrics(accepted.news.job),
        }

    async def results(call: Call) -> Any:
        request = read(Results, call.data)
        core.workers.heard(holder(request.worker, call.peer.owner), core.now())
        return {"success": True, "batches": [await one_batch(request, batch) for batch in request.batches]}

    async def status(call: Call) -> Any:
        report = read(StatusReport, call.data)
        name = holder(report.worker, call.peer.owner)
        core.workers.heard(name, core.now())
        for data in report.slices:
            entry = read(StatusEntry, data)
            grant = core.authority.verify(entry.authorizationMessage)
            if grant.worker != report.worker:
                raise Refused("EAUTH", "The authorisation was given to another worker.")
            if entry.status == "return":
                code, message = reason_of(entry.reason)
                returned = Return(entry.job, grant, name, entry.parts, code, message)
                most = core.settings.returns_before_failure
                news = await core.store.write(_giving_back(returned, most, core.now()))
                core.tell(news)
        return {"success": True}

    async def close_job(call: Call) -> Any:
        request = read(CloseJob, call.data)
        owners = (str(call.peer.owner), *call.vouched)

        def close(connection: Connection) -> News:
            job = must_own(connection, request.job, *owners)
            jobs.close(connection, job.id)
            return end_if_over(connection, job.id, core.now())

        news = await core.store.write(close)
        core.events.deploying(news.job.id)
        core.tell(news)
        return {"success": True, "status": news.job.status.value}

    return {
        "result": result,
        "results@1": results,
        "status": status,
        "closeJob": close_job,
        **fetch_result.operations(core),
    }


def _giving_back(returned: Return, most: int, now: float) -> Callable[[Connection], News]:
    return lambda connection: give_back(connection, returned, most, now)


def address_of(text: str) -> str:
    """An address as the ledger writes it: with the checksum in its letters."""
    return str(to_checksum(bytes.fromhex(text[2:])))
