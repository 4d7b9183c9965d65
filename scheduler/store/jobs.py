"""Jobs as rows, their life, and their end."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.engine import Connection

from . import ledger
from .runs import State
from .statements import Statement
from .tables import jobs, slice_runs


class Status(StrEnum):
    """What becomes of a job, in the words of the wire."""

    RUNNING = "running"
    FINISHED = "finished"  # closed, and every slice is done or has failed
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of ``jobs``; the columns are explained there."""

    id: str
    address: str
    owner: str
    payment_account: str
    status: Status
    closed: bool
    total: int
    pending: int
    leased: int
    done: int
    failed: int
    slice_price: int
    requirements: int
    worktime: str
    local_exec: bool
    ranged: bool
    created: float
    ended: float | None
    measured_slices: int
    wall_ms: float
    cpu_ms: float
    gpu_ms: float
    in_bytes: float
    out_bytes: float
    stop_reason: str = ""
    stop_code: str = ""

    @property
    def over(self) -> bool:
        return self.closed and self.done + self.failed >= self.total

    @property
    def slice_s(self) -> float | None:
        """How long a slice takes on the average, None before anything was measured."""
        return self.wall_ms / 1000 / self.measured_slices if self.measured_slices else None


_columns = [jobs.c[name] for name in Job.__dataclass_fields__]
_by_key = Statement(
    select(*_columns).where(or_(jobs.c.id == bindparam("key"), jobs.c.address == bindparam("key")))
)
_to_serve = Statement(
    select(*_columns)
    .where(jobs.c.status == Status.RUNNING.value, jobs.c.pending > 0)
    .order_by(jobs.c.last_served)
)
_document = Statement(select(jobs.c.document).where(jobs.c.id == bindparam("of_job")))
_served = Statement(update(jobs).where(jobs.c.id == bindparam("of_job")).values(last_served=bindparam("at")))
_settled = Statement(
    update(jobs)
    .where(jobs.c.id == bindparam("of_job"))
    .values(
        pending=jobs.c.pending + bindparam("more_pending"),
        leased=jobs.c.leased + bindparam("more_leased"),
        done=jobs.c.done + bindparam("more_done"),
        failed=jobs.c.failed + bindparam("more_failed"),
        measured_slices=jobs.c.measured_slices + bindparam("m_slices"),
        wall_ms=jobs.c.wall_ms + bindparam("m_wall"),
        cpu_ms=jobs.c.cpu_ms + bindparam("m_cpu"),
        gpu_ms=jobs.c.gpu_ms + bindparam("m_gpu"),
        in_bytes=jobs.c.in_bytes + bindparam("m_in"),
        out_bytes=jobs.c.out_bytes + bindparam("m_out"),
    )
)


_names = tuple(Job.__dataclass_fields__)


def _job(row: Sequence[Any]) -> Job:
    values: dict[str, Any] = dict(zip(_names, row, strict=True))
    values["status"] = Status(values["status"])
    return Job(**values)


def find(connection: Connection, key: str) -> Job | None:
    """The job with this id, or with this escrow address (which the older dialect uses as its name)."""
    row = _by_key.first(connection, key=key)
    return None if row is None else _job(row)


def create(connection: Connection, job: Job, document: Mapping[str, Any]) -> None:
    """Add a job; ``document`` is the JOB that workers get, without what changes while it runs."""
    values = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    values["status"] = job.status.value
    connection.execute(insert(jobs).values(**values, last_served=0.0, document=json.dumps(document)))


def document_of(connection: Connection, job: str) -> dict[str, Any]:
    """The JOB that workers get, without what changes while it runs."""
    row = _document.first(connection, of_job=job)
    if row is None:
        raise KeyError(job)
    document: dict[str, Any] = json.loads(row[0])
    return document


def waiting(connection: Connection) -> Iterator[Job]:
    """Jobs with slices for workers; the one that was served longest ago comes first."""
    for row in _to_serve.rows(connection):
        yield _job(row)


def of_owner(connection: Connection, owner: str, limit: int = 1000) -> list[Job]:
    rows = connection.execute(
        select(*_columns).where(jobs.c.owner == owner).order_by(jobs.c.created.desc()).limit(limit)
    )
    return [_job(tuple(row)) for row in rows]


def served(connection: Connection, job: str, now: float) -> None:
    _served.run(connection, of_job=job, at=now)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a stretch of slices has cost: sums, in milliseconds and bytes."""

    slices: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    gpu_ms: float = 0.0
    in_bytes: float = 0.0
    out_bytes: float = 0.0


def settled(connection: Connection, job: Job, changes: Mapping[State, int], cost: Measured) -> Job:
    """Keep the job's counts, and what its slices have cost. Returns the job as it is now."""
    counts = {
        name: changes.get(state, 0)
        for name, state in (
            ("pending", State.PENDING),
            ("leased", State.LEASED),
            ("done", State.DONE),
            ("failed", State.FAILED),
        )
    }
    _settled.run(
        connection,
        of_job=job.id,
        m_slices=cost.slices,
        m_wall=cost.wall_ms,
        m_cpu=cost.cpu_ms,
        m_gpu=cost.gpu_ms,
        m_in=cost.in_bytes,
        m_out=cost.out_bytes,
        **{f"more_{name}": count for name, count in counts.items()},
    )
    return replace(
        job,
        measured_slices=job.measured_slices + cost.slices,
        wall_ms=job.wall_ms + cost.wall_ms,
        cpu_ms=job.cpu_ms + cost.cpu_ms,
        gpu_ms=job.gpu_ms + cost.gpu_ms,
        in_bytes=job.in_bytes + cost.in_bytes,
        out_bytes=job.out_bytes + cost.out_bytes,
        **{name: getattr(job, name) + count for name, count in counts.items()},
    )


def close(connection: Connection, job: str) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job).values(closed=True))


def end(
    connection: Connection, job: Job, status: Status, now: float, reason: str = "", code: str = ""
) -> None:
    """The job is over: nothing of it waits or is leased any more, and the rest of its escrow goes back.

    ``reason`` and ``code`` say why it was cancelled.
    """
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(status=status.value, closed=True, ended=now, stop_reason=reason, stop_code=code)
    )
    connection.execute(
        update(slice_runs)
        .where(slice_runs.c.job == job.id, slice_runs.c.state == int(State.LEASED))
        .values(state=int(State.PENDING), worker=None, claimed=None, deadline=None)
    )
    connection.execute(
        update(jobs).where(jobs.c.id == job.id).values(pending=jobs.c.pending + jobs.c.leased, leased=0)
    )
    rest = ledger.balance_of(connection, job.address)
    ledger.post(connection, {job.address: -rest, job.payment_account: rest}, "refund", job.id, now)
