"""What workers bring back: results, errors and slices that they give up, and what follows from each.

One transaction stores the outcome, moves the money and ends the job when it was the last one. The pair (job,
slice) makes it idempotent: what is there already is accepted again and pays nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from ..protocol.dcp.kvin import JsError
from ..protocol.dcp.values import body_of, node_of, nodes_of
from ..protocol.intervals import Interval, count_of, head, intersect, normalise
from .authorisation import Grant
from .refusal import Refused
from .store import jobs, ledger, slices
from .store.jobs import Job, Measured, Status
from .store.runs import SliceRun, State
from .store.slices import Changes
from .store.statements import Statement
from .store.stretches import Stretch, StretchTable, chunks
from .store.tables import failures as failures_table
from .store.tables import results as results_table
from .store.tables import slice_returns

results = StretchTable(results_table)
_add_failures = Statement(insert(failures_table))

COUNTED_RETURNS = 1000
"""Slices of one return whose errors are counted; the rest of a larger one just waits again."""
JOB_ERRORS = frozenset({"EASSIGN"})
"""Errors that are about the job and no slice: enough of them end it."""

WANTED = (State.PENDING, State.LEASED)


@dataclass(frozen=True, slots=True)
class Failure:
    """A slice whose work function threw."""

    slice: int
    error: str  # text of a KVIN node


@dataclass(frozen=True, slots=True)
class Delivery:
    """Outcomes of one job that came together, checked as far as that goes without the database."""

    job: str
    grant: Grant
    payment_address: str
    runs: Sequence[tuple[int, list[Any]]]  # first slice, nodes
    failures: Sequence[Failure]
    cost: Measured


@dataclass(frozen=True, slots=True)
class News:
    """What has changed for those who watch a job."""

    job: Job  # as it is now
    results: Sequence[Stretch] = ()
    failures: Sequence[Failure] = ()
    ended: bool = False
    thrown: Sequence[Failure] = ()  # those of the failures that nobody but the worker knows of
    returned: int = 0  # slices that wait again


@dataclass(frozen=True, slots=True)
class Accepted:
    """The scheduler's answer to a delivery."""

    accepted: int  # slices that are stored for the first time
    payment: int  # in 10^-18 DCC
    news: News


def must_find(connection: Connection, key: str) -> Job:
    job = jobs.find(connection, key)
    if job is None:
        raise Refused("ENOJOB", f"There is no job {key[:64]!r} on this scheduler.")
    return job


def _must_be_given(job: Job, grant: Grant, part: Interval) -> None:
    """Refuses slices that were never given to the worker."""
    first, last = part[0], part[0] + part[1] - 1
    if first < 1 or last > job.total:
        raise Refused("ENOSLICE", f"Job {job.id} has slices 1 to {job.total}, not {first} to {last}.")
    if not (grant.covers(job.id, part) or grant.covers(job.address, part)):
        raise Refused("EAUTH", f"Slices {first} to {last} of job {job.id} were not given to this worker.")


def _settle(connection: Connection, job: Job, part: Interval, state: State) -> tuple[list[Interval], Changes]:
    """Give a state to those of some slices that have no outcome yet; which they are, and what it changes."""
    around = slices.runs_in(connection, job.id, (part[0] - 1, part[1] + 2))
    wanted = intersect([part], [run.interval for run in around if run.state in WANTED])
    settled = (SliceRun.of(one, state) for one in wanted)
    return wanted, slices.put(connection, job.id, settled, around)


def accept(connection: Connection, delivery: Delivery, now: float) -> Accepted:
    """Store a delivery and pay for it. Raises Refused when it is not wanted, or not the worker's to bring."""
    job = must_find(connection, delivery.job)
    if job.status is Status.CANCELLED:
        raise Refused("ECANCELLED", f"Job {job.id} was cancelled; its results are not wanted any more.")
    changes: Changes = Changes()
    stored: list[Stretch] = []
    for first, nodes in delivery.runs:
        part = (first, len(nodes))
        _must_be_given(job, delivery.grant, part)
        wanted, changed = _settle(connection, job, part, State.DONE)
        changes.update(changed)
        for low, count in wanted:
            stored += chunks(low, nodes[low - first : low - first + count])
    results.add(connection, job.id, stored)
    failed: list[Failure] = []
    for failure in delivery.failures:
        part = (failure.slice, 1)
        _must_be_given(job, delivery.grant, part)
        wanted, changed = _settle(connection, job, part, State.FAILED)
        changes.update(changed)
        if wanted:
            failed.append(failure)
    _keep(connection, job, failed)
    taken = changes[State.DONE] + changes[State.FAILED]
    if taken:
        job = jobs.settled(connection, job, changes, delivery.cost)
    payment = job.slice_price * taken
    ledger.post(
        connection, {job.address: -payment, delivery.payment_address: payment}, "payment", job.id, now
    )
    job, ended = _end_if_over(connection, job, now)
    return Accepted(taken, payment, News(job, stored, failed, ended, thrown=failed))


def _keep(connection: Connection, job: Job, failed: Sequence[Failure]) -> None:
    if failed:
        rows = [{"job": job.id, "slice": failure.slice, "error": failure.error} for failure in failed]
        _add_failures.run_each(connection, rows)


def _end_if_over(connection: Connection, job: Job, now: float) -> tuple[Job, bool]:
    if job.status is not Status.RUNNING or not job.over:
        return job, False
    jobs.end(connection, job, Status.FINISHED, now)
    return must_find(connection, job.id), True


def end_if_over(connection: Connection, key: str, now: float) -> News:
    """Finish the job when it is closed and every slice has an outcome."""
    job, ended = _end_if_over(connection, must_find(connection, key), now)
    return News(job, ended=ended)


@dataclass(frozen=True, slots=True)
class Return:
    """Slices of one job that a worker gives back without an outcome."""

    job: str
    grant: Grant
    holder: str  # who must hold the lease
    parts: Sequence[Interval]
    code: str = ""  # "" when nothing is wrong with them
    message: str = ""


def give_back(connection: Connection, returned: Return, most: int, now: float) -> News:
    """Let returned slices wait again; one that came with an error more than ``most`` times has failed."""
    job = must_find(connection, returned.job)
    if job.status is not Status.RUNNING:
        return News(job)
    mine: list[Interval] = []
    for part in returned.parts:
        _must_be_given(job, returned.grant, part)
        held = [
            run.interval
            for run in slices.runs_in(connection, job.id, part)
            if run.state is State.LEASED and run.worker == returned.holder
        ]
        mine += intersect([part], held)
    mine = normalise(mine)
    slices.set_runs(connection, job.id, [SliceRun.of(part, State.PENDING) for part in mine])
    failed: list[Failure] = []
    if returned.code in JOB_ERRORS and mine:
        if _count_return(connection, job.id, 0) > most:
            reason = well_formed(returned.message) or "The job could not be set up in a sandbox."
            jobs.end(connection, job, Status.CANCELLED, now, reason, returned.code)
            return News(must_find(connection, job.id), ended=True)
    elif returned.code:
        for number in _numbers(head(mine, COUNTED_RETURNS)):
            if _count_return(connection, job.id, number) > most:
                slices.set_runs(connection, job.id, [SliceRun(number, number, State.FAILED)])
                failed.append(Failure(number, _error_node(returned)))
        _keep(connection, job, failed)
    now_job, ended = _end_if_over(connection, must_find(connection, job.id), now)
    return News(now_job, failures=failed, ended=ended, returned=count_of(mine) - len(failed))


def _numbers(parts: Sequence[Interval]) -> Iterator[int]:
    for first, count in parts:
        yield from range(first, first + count)


def _count_return(connection: Connection, job: str, number: int) -> int:
    where = (slice_returns.c.job == job, slice_returns.c.slice == number)
    count = connection.scalar(select(slice_returns.c.count).where(*where))
    if count is None:
        connection.execute(insert(slice_returns).values(job=job, slice=number, count=1))
        return 1
    connection.execute(update(slice_returns).where(*where).values(count=count + 1))
    return int(count) + 1


def _error_node(returned: Return) -> str:
    message = (
        f"{returned.code}: {returned.message or 'the slice ended its sandbox each time that it was tried'}"
    )
    return body_of([node_of(JsError(message, properties={"code": returned.code}))])[1:-1]


def failures_in(connection: Connection, job: str, part: Interval) -> list[Failure]:
    """Those of some slices that have failed."""
    rows = connection.execute(
        select(failures_table.c.slice, failures_table.c.error)
        .where(failures_table.c.job == job, failures_table.c.slice.between(part[0], part[0] + part[1] - 1))
        .order_by(failures_table.c.slice)
    )
    return [Failure(row[0], row[1]) for row in rows]


def well_formed(text: str) -> str:
    """A text for people that UTF-8 can hold: half a surrogate pair becomes a replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def checked_error(text: str, limit: int = 1 << 20) -> str:
    """The text of one KVIN node as a worker sent it. Raises when it is not exactly one, or too large."""
    if len(text) > limit:
        raise Refused(
            "ETOOBIG", f"The error of a slice may have {limit} characters, this one has {len(text)}."
        )
    return body_of(nodes_of(f"[{text}]", expected=1))[1:-1]  # in our own words, which UTF-8 can hold
