"""The schema. One for SQLite and PostgreSQL: no type or constraint here that only one of them has.

A job of a thousand million slices is one row in ``jobs`` and a few rows in ``slice_runs``: the state of
slices is kept as runs of slice numbers that together cover 1..total without overlap. Inputs and results are
kept as values bodies, one row for a stretch of slices; only a failed slice has a row of its own.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

SCHEMA_VERSION = 2


class Attos(TypeDecorator[int]):
    """An amount of money in 10^-18 DCC.

    One DCC is already 10^18, so an amount does not fit into 64 bits and SQLite would round it to a float:
    there it is decimal text. All arithmetic is done in Python, inside the transaction that wrote what it
    read.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else Numeric(60, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else int(value)


metadata = MetaData()

facts = Table(
    "facts",  # about the database itself, such as the version of this schema
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),  # chosen by the deployer
    Column(
        "address", String, nullable=False, unique=True
    ),  # of the escrow; the older dialect's key for the job
    Column("owner", String, nullable=False),  # identity of the deployer
    Column("payment_account", String, nullable=False),
    Column("status", String, nullable=False),
    Column("closed", Boolean, nullable=False),  # no more slices will be added
    Column("total", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("leased", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("slice_price", Attos, nullable=False),
    Column("requirements", BigInteger, nullable=False),  # bit mask of the wire
    Column("worktime", String, nullable=False),
    Column("local_exec", Boolean, nullable=False),  # only for workers that ask for this job by its id
    Column("ranged", Boolean, nullable=False),  # inputs are counted, none are stored
    Column("document", Text, nullable=False),  # JSON of the JOB that workers get, without what changes
    Column("created", Float, nullable=False),
    Column("ended", Float),
    Column("stop_reason", Text, nullable=False, server_default=""),  # why it was cancelled, for people
    Column("stop_code", String, nullable=False, server_default=""),
    Column("last_served", Float, nullable=False),  # the job that has waited longest is next
    Column("measured_slices", BigInteger, nullable=False),  # what these sums are over
    Column("wall_ms", Float, nullable=False),
    Column("cpu_ms", Float, nullable=False),
    Column("gpu_ms", Float, nullable=False),
    Column("in_bytes", Float, nullable=False),
    Column("out_bytes", Float, nullable=False),
    Index("jobs_to_serve", "status", "last_served"),
    Index("jobs_of_owner", "owner", "created"),
)

slice_runs = Table(
    "slice_runs",
    metadata,
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("worker", String),  # who holds a leased run
    Column("claimed", Float),
    Column("deadline", Float),
    Index("slice_runs_by_state", "job", "state", "first"),
    Index("slice_runs_by_deadline", "state", "deadline"),
    Index("slice_runs_by_worker", "worker"),
    sqlite_with_rowid=False,
)


def _stretches(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("job", ForeignKey("jobs.id"), primary_key=True),
        Column("first", BigInteger, primary_key=True),
        Column("last", BigInteger, nullable=False),
        Column("body", Text, nullable=False),
    )


inputs = _stretches("inputs")
results = _stretches("results")

failures = Table(
    "failures",
    metadata,
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("slice", BigInteger, primary_key=True),
    Column("error", Text, nullable=False),  # text of a KVIN node
)

slice_returns = Table(
    "slice_returns",  # how often a slice came back with an error; slice 0 counts for the job as a whole
    metadata,
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("slice", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("address", String, primary_key=True),
    Column("balance", Attos, nullable=False),  # always the sum of its entries
    Column("granted", Boolean, nullable=False),  # has had its opening grant
)

journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("reference", String, nullable=False),  # a job, usually
)

entries = Table(
    "entries",
    metadata,
    Column("journal", ForeignKey("journal.id"), primary_key=True),
    Column("account", ForeignKey("accounts.address"), primary_key=True),
    Column("amount", Attos, nullable=False),
    Index("entries_of_account", "account"),
)
