"""Statements that are compiled once say what SQLAlchemy's own way of executing them says."""

from pathlib import Path

import pytest
from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.engine import Connection

from dcp_worker.scheduler.store.database import StoreError, sqlite_url
from dcp_worker.scheduler.store.statements import Statement
from dcp_worker.scheduler.store.tables import accounts, journal
from dcp_worker.scheduler.store.writer import Store

BALANCE = 10**30 + 1
"""More than any number that the database itself can hold."""


def test_types_defaults_and_rows(tmp_path: Path) -> None:
    """Large amounts and booleans come back as they were; constants of a statement are filled in; rows have numbers."""
    add = Statement(insert(accounts))
    granted = Statement(select(accounts).where(accounts.c.granted.is_(True)).order_by(accounts.c.address))
    note = Statement(insert(journal), ("time", "kind", "reference"))
    of = Statement(select(accounts.c.balance).where(accounts.c.address == bindparam("of")))

    def operation(connection: Connection) -> None:
        rows = [{"address": name, "balance": -BALANCE, "granted": name != "b"} for name in "abc"]
        add.run_each(connection, rows)
        assert list(granted.rows(connection)) == [("a", -BALANCE, True), ("c", -BALANCE, True)]
        assert list(granted.rows(connection)) == [tuple(row) for row in connection.execute(granted.clause)]
        assert of.first(connection, of="b") == (-BALANCE,)
        assert of.first(connection, of="d") is None
        assert [note.run(connection, time=1.5, kind="k", reference="") for _ in range(2)] == [1, 2]

    store = Store(sqlite_url(tmp_path / "s.sqlite"), "NORMAL")
    store.submit(operation).result()
    store.close()


def test_what_the_database_refuses_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    """An operation that fails half way is taken back alone, and says so."""
    add = Statement(insert(accounts))
    store = Store(sqlite_url(tmp_path / "s.sqlite"), "NORMAL")

    def twice(connection: Connection) -> None:
        for _ in range(2):
            add.run(connection, address="a", balance=1, granted=False)

    with pytest.raises(StoreError, match="UNIQUE"):
        store.submit(twice).result()
    assert store.submit(lambda c: c.execute(text("SELECT count(*) FROM accounts")).scalar()).result() == 0
    store.close()
