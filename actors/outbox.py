"""The outbox: outcomes on disk from the moment a slice counts as finished until the scheduler has taken them.

One SQLite file (WAL) with a row for each run of outcomes, not for each slice. What arrives together shares
one transaction; with ``synchronous=FULL`` (the default) a commit survives a power cut, with NORMAL a killed
process. An outbox belongs to one worker process at a time, which a lock file beside it makes sure of.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DcpError
from ..protocol.messages import Metrics

_SCHEMA = """
create table if not exists tasks (
  task text primary key,          -- id that this worker gave to an authorisation
  job text not null,
  kvin text not null,             -- "v8" or "v9": what the results are written in
  authorisation blob not null,    -- JSON, as the scheduler sent it
  closed integer not null default 0
) without rowid;
create table if not exists outcomes (
  seq integer primary key autoincrement,
  task text not null,
  job text not null,
  first integer not null,
  count integer not null,
  failed integer not null,        -- 1: one slice whose work function threw; the body is one node
  body blob not null,             -- values body
  wall real not null, cpu real not null, gpu real not null,  -- ms, summed
  inb integer not null, outb integer not null                -- bytes, summed
);
create index if not exists outcomes_by_task on outcomes (task);
"""


class OutboxError(DcpError):
    """The outbox cannot be read or written; the text says where it is and what the system said."""

    code = "EOUTBOX"


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """Outcomes of consecutive slices of one job under one authorisation."""

    task: str
    job: str
    first: int
    count: int
    failed: bool
    body: bytes
    metrics: Metrics
    seq: int = 0  # given by the outbox


@dataclass(frozen=True, slots=True)
class Task:
    """An authorisation of the scheduler, which travels with the results."""

    task: str
    job: str
    kvin: str
    authorisation: bytes


class Outbox:
    """One outbox on disk. Not for use by several threads."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open or create it; raise OutboxError when the folder is not writable or another worker has it."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutboxError(f"cannot keep results in {path.parent}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise OutboxError(
                f"another worker uses the outbox {path}; give this one a data folder of its own"
            ) from None
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute(f"pragma synchronous={'full' if durable else 'normal'}")
            self._db.execute("begin immediate")
            self._db.executescript(_SCHEMA)  # commits
            self._db.execute("update tasks set closed = 1")  # nothing of an earlier life is computed any more
            path.chmod(0o600)
            self._forget_tasks()
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise OutboxError(f"cannot use the outbox {path}: {error}") from error
        self.slices, self.bytes = self._db.execute(
            "select coalesce(sum(count), 0), coalesce(sum(length(body)), 0) from outcomes"
        ).fetchone()

    def commit(
        self,
        tasks: Iterable[Task],
        outcomes: Sequence[OutcomeRow],
        delivered: Sequence[OutcomeRow],
        closed: Iterable[str],
    ) -> None:
        """Keep new tasks and outcomes, drop delivered ones and tasks that are over; all or OutboxError."""
        db = self._db
        try:
            db.execute("begin immediate")
            try:
                db.executemany(
                    "insert or replace into tasks (task, job, kvin, authorisation) values (?, ?, ?, ?)",
                    [(task.task, task.job, task.kvin, task.authorisation) for task in tasks],
                )
                db.executemany(
                    "insert into outcomes (task, job, first, count, failed, body, wall, cpu, gpu, inb, outb)"
                    " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [_columns(row) for row in outcomes],
                )
                db.executemany("delete from outcomes where seq = ?", [(row.seq,) for row in delivered])
                db.executemany("update tasks set closed = 1 where task = ?", [(task,) for task in closed])
                self._forget_tasks()
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("rollback")
            raise OutboxError(
                f"cannot write to the outbox {self.path}: {error}; is the disk full?"
            ) from error
        self.slices += sum(row.count for row in outcomes) - sum(row.count for row in delivered)
        self.bytes += sum(len(row.body) for row in outcomes) - sum(len(row.body) for row in delivered)

    def read(self, after: int, max_slices: int, max_bytes: int) -> list[OutcomeRow]:
        """Rows in order behind sequence number ``after``, at least one if there is one, up to the limits."""
        rows: list[OutcomeRow] = []
        slices = size = 0
        for row in self._db.execute(
            "select task, job, first, count, failed, body, wall, cpu, gpu, inb, outb, seq from outcomes"
            " where seq > ? order by seq",
            (after,),
        ):
            slices += row[3]
            size += len(row[5])
            if rows and (slices > max_slices or size > max_bytes):
                break
            metrics = Metrics(row[3], row[6], row[7], row[8], row[9], row[10])
            rows.append(OutcomeRow(row[0], row[1], row[2], row[3], bool(row[4]), row[5], metrics, row[11]))
        return rows

    def task(self, task: str) -> Task | None:
        """A task that outcomes refer to."""
        row = self._db.execute(
            "select task, job, kvin, authorisation from tasks where task = ?", (task,)
        ).fetchone()
        return Task(*row) if row else None

    def held(self) -> list[tuple[str, int, int]]:
        """(job, first, count) of everything that waits, so that nothing of it is kept twice."""
        return self._db.execute("select job, first, count from outcomes order by seq").fetchall()

    def close(self) -> None:
        """Close the file and let another worker have it."""
        self._db.close()
        os.close(self._lock)

    def _forget_tasks(self) -> None:
        self._db.execute(
            "delete from tasks where closed = 1"
            " and not exists (select 1 from outcomes where outcomes.task = tasks.task)"
        )


def _columns(row: OutcomeRow) -> tuple[object, ...]:
    cost = row.metrics
    return (
        row.task, row.job, row.first, row.count, int(row.failed), row.body,
        cost.wall_ms, cost.cpu_ms, cost.gpu_ms, cost.in_bytes, cost.out_bytes,
    )  # fmt: skip
