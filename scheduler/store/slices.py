"""The state of a job's slices, kept as runs. A change costs a few rows, however many slices it is about."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from ...protocol.intervals import Interval, count_of, head
from .runs import SliceRun, State, replaced
from .statements import Statement
from .tables import jobs, slice_runs

_columns = (
    slice_runs.c.first,
    slice_runs.c.last,
    slice_runs.c.state,
    slice_runs.c.worker,
    slice_runs.c.claimed,
    slice_runs.c.deadline,
)
_start = (
    select(func.max(slice_runs.c.first))
    .where(slice_runs.c.job == bindparam("of_job"), slice_runs.c.first <= bindparam("low"))
    .scalar_subquery()
)
_overlapping = Statement(
    select(*_columns)
    .where(
        slice_runs.c.job == bindparam("of_job"),
        slice_runs.c.first >= func.coalesce(_start, bindparam("low")),
        slice_runs.c.first <= bindparam("high"),
        slice_runs.c.last >= bindparam("low"),
    )
    .order_by(slice_runs.c.first)
)
_in_state = Statement(
    select(slice_runs.c.first, slice_runs.c.last)
    .where(slice_runs.c.job == bindparam("of_job"), slice_runs.c.state == bindparam("in_state"))
    .order_by(slice_runs.c.first)
    .limit(bindparam("at_most"))
)
_drop = Statement(
    delete(slice_runs).where(
        slice_runs.c.job == bindparam("of_job"), slice_runs.c.first == bindparam("of_first")
    )
)
_add = Statement(insert(slice_runs))
_count = Statement(
    update(jobs)
    .where(jobs.c.id == bindparam("of_job"))
    .values(
        pending=jobs.c.pending + bindparam("more_pending"),
        leased=jobs.c.leased + bindparam("more_leased"),
        done=jobs.c.done + bindparam("more_done"),
        failed=jobs.c.failed + bindparam("more_failed"),
        total=jobs.c.total
        + bindparam("more_pending")
        + bindparam("more_leased")
        + bindparam("more_done")
        + bindparam("more_failed"),
    )
)

Changes = Counter[State]
"""How many slices there are more (or fewer) in each state."""


def _run(row: Sequence[Any]) -> SliceRun:
    return SliceRun(row[0], row[1], State(row[2]), row[3], row[4], row[5])


def runs_in(connection: Connection, job: str, part: Interval) -> list[SliceRun]:
    """The runs that hold at least one of some slices, in order; the outer ones may reach beyond them."""
    rows = _overlapping.rows(connection, of_job=job, low=part[0], high=part[0] + part[1] - 1)
    return [_run(row) for row in rows]


def put(
    connection: Connection, job: str, news: Iterable[SliceRun], before: Sequence[SliceRun] | None = None
) -> Changes:
    """Put each of these runs over what is there. The job's counts are left to the caller.

    ``before`` is what ``runs_in`` said about the slices from one before the first to one behind the last of
    ``news``, when the caller knows it.
    """
    changes: Changes = Counter()
    for new in news:
        there = runs_in(connection, job, (new.first - 1, new.count + 2)) if before is None else before
        after = replaced(there, new)
        gone = [run for run in there if run not in after]
        come = [run for run in after if run not in there]
        if gone:
            _drop.run_each(connection, [{"of_job": job, "of_first": run.first} for run in gone])
        if come:
            _add.run_each(connection, [_values(job, run) for run in come])
        for run in gone:
            changes[run.state] -= run.count
        for run in come:
            changes[run.state] += run.count
        before = None if before is None else after
    return changes


def set_runs(connection: Connection, job: str, news: Iterable[SliceRun]) -> Changes:
    """Put each of these runs over what is there, and keep the job's counts."""
    changes = put(connection, job, news)
    if any(changes.values()):
        _count.run(connection, of_job=job, **more(changes))
    return changes


def more(changes: Changes) -> dict[str, int]:
    """Changes as parameters of a statement that keeps a job's counts."""
    return {
        "more_pending": changes[State.PENDING],
        "more_leased": changes[State.LEASED],
        "more_done": changes[State.DONE],
        "more_failed": changes[State.FAILED],
    }


def _values(job: str, run: SliceRun) -> dict[str, object]:
    return {
        "job": job,
        "first": run.first,
        "last": run.last,
        "state": int(run.state),
        "worker": run.worker,
        "claimed": run.claimed,
        "deadline": run.deadline,
    }


def first_pending(connection: Connection, job: str, limit: int, most_runs: int = 64) -> list[Interval]:
    """The first ``limit`` slices that wait for a worker, in at most ``most_runs`` intervals."""
    rows = _in_state.rows(connection, of_job=job, in_state=int(State.PENDING), at_most=most_runs)
    return head(((first, last - first + 1) for first, last in rows), limit)


def lease(
    connection: Connection, job: str, parts: Iterable[Interval], worker: str, now: float, deadline: float
) -> None:
    """Give these slices to a worker until the deadline."""
    set_runs(
        connection,
        job,
        (SliceRun.of(part, State.LEASED, worker, now, deadline) for part in parts),
    )


def release_worker(connection: Connection, worker: str) -> dict[str, int]:
    """Everything that a worker holds waits again. Returns how many slices of which job."""
    rows = connection.execute(
        select(slice_runs.c.job, slice_runs.c.first, slice_runs.c.last).where(
            slice_runs.c.worker == worker, slice_runs.c.state == int(State.LEASED)
        )
    ).all()
    held: dict[str, list[Interval]] = {}
    for job, first, last in rows:
        held.setdefault(job, []).append((first, last - first + 1))
    for job, parts in held.items():
        set_runs(connection, job, (SliceRun.of(part, State.PENDING) for part in parts))
    return {job: count_of(parts) for job, parts in held.items()}


def next_deadline(connection: Connection) -> float | None:
    """When the next lease ends, None when nothing is leased."""
    deadline = connection.scalar(
        select(func.min(slice_runs.c.deadline)).where(slice_runs.c.state == int(State.LEASED))
    )
    return None if deadline is None else float(deadline)


def overdue(connection: Connection, now: float, limit: int = 1000) -> list[tuple[str, SliceRun]]:
    """Leased runs whose deadline has passed, with their jobs."""
    rows = connection.execute(
        select(slice_runs.c.job, *_columns)
        .where(slice_runs.c.state == int(State.LEASED), slice_runs.c.deadline <= now)
        .order_by(slice_runs.c.deadline)
        .limit(limit)
    )
    return [(row[0], SliceRun(row[1], row[2], State(row[3]), row[4], row[5], row[6])) for row in rows]
