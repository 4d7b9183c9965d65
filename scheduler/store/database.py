"""Opening the database: WAL, one connection that writes, others that only read."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, insert, select, text, update
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ...errors import DcpError
from .tables import SCHEMA_VERSION, facts, metadata

UPGRADES = {
    "1": (
        "ALTER TABLE jobs ADD COLUMN stop_reason TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE jobs ADD COLUMN stop_code VARCHAR DEFAULT '' NOT NULL",
    )
}
"""What makes the next schema out of one."""


class StoreError(DcpError):
    """The database cannot be opened, or a transaction did not reach the disk."""

    code = "ESTORE"


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def open_engines(url: str, synchronous: str = "FULL") -> tuple[Engine, Engine]:
    """The engine that writes (one connection, every transaction takes the write lock at once) and the one
    that reads.

    Creates the tables of a new database, and refuses one with another schema.
    """
    try:
        backend = make_url(url).get_backend_name()
    except ArgumentError as error:
        raise StoreError(
            "The database URL is not understood; write something like sqlite:////var/lib/dcp/scheduler.sqlite."
        ) from error
    if backend != "sqlite":
        raise StoreError(
            f"A {backend} database is not supported by this version; use sqlite:////path/to/file."
        )
    writer = _engine(url, synchronous, reads_only=False)
    reader = _engine(url, synchronous, reads_only=True)
    try:
        with writer.begin() as connection:
            metadata.create_all(connection)
            _check_version(connection)
    except SQLAlchemyError as error:
        writer.dispose()
        raise StoreError(
            f"The database {make_url(url).database} cannot be opened: {_cause(error)}."
        ) from error
    return writer, reader


def _check_version(connection: Connection) -> None:
    version = connection.scalar(select(facts.c.value).where(facts.c.name == "schema"))
    if version is None:
        connection.execute(insert(facts).values(name="schema", value=str(SCHEMA_VERSION)))
        return
    while version in UPGRADES:
        for statement in UPGRADES[version]:
            connection.execute(text(statement))
        version = str(int(version) + 1)
        connection.execute(update(facts).where(facts.c.name == "schema").values(value=version))
    if version != str(SCHEMA_VERSION):
        raise StoreError(
            f"The database has schema {version}, this version needs {SCHEMA_VERSION}; "
            "start the version that wrote it, or use another data directory."
        )


def _cause(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", error) or error)


def _engine(url: str, synchronous: str, *, reads_only: bool) -> Engine:
    engine = create_engine(
        url,
        pool_size=4 if reads_only else 1,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": 30.0},
    )

    def on_connect(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: it knows no savepoints and begins too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-65536")
        if reads_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        connection.execute(text("BEGIN" if reads_only else "BEGIN IMMEDIATE"))

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
