"""The store: group commit, savepoints, the ledger, and a process that is killed while it writes."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from dcp_worker.scheduler.refusal import Refused
from dcp_worker.scheduler.store import ledger
from dcp_worker.scheduler.store.database import StoreError, sqlite_url
from dcp_worker.scheduler.store.writer import Store

ALICE, BOB = "0x" + "a" * 40, "0x" + "b" * 40


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(sqlite_url(tmp_path / "s.sqlite"), "NORMAL")


def pay(source: str, target: str, amount: int) -> Callable[[Connection], int]:
    def operation(connection: Connection) -> int:
        ledger.open_account(connection, ALICE, 10**21)
        ledger.post(connection, {source: -amount, target: amount}, "test", "", time.time())
        return amount

    return operation


def test_operations_share_a_commit_and_fail_alone(store: Store) -> None:
    """Of many operations that are submitted at once, those that fail take only themselves back."""

    async def run() -> list[object]:
        amounts = [1, 10**30, 2, 10**31, 3]
        operations = [store.write(pay(ALICE, BOB, amount)) for amount in amounts]
        return list(await asyncio.gather(*operations, return_exceptions=True))

    outcomes = asyncio.run(run())

    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [1, 2, 3]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert [refusal.code for refusal in refused] == ["ENOFUNDS", "ENOFUNDS"]
    balances = asyncio.run(store.read(ledger.audit))
    assert balances[BOB] == 6
    assert sum(balances.values()) == 0
    store.close()


def test_an_operation_with_bad_sql_hurts_nobody_else(store: Store) -> None:
    """An error of the database in one operation is that operation's alone."""

    async def run() -> list[object]:
        bad = store.write(lambda connection: connection.execute(text("INSERT INTO nowhere VALUES (1)")))
        good = store.write(pay(ALICE, BOB, 5))
        return list(await asyncio.gather(bad, good, return_exceptions=True))

    bad, good = asyncio.run(run())

    assert isinstance(bad, Exception)
    assert good == 5
    assert asyncio.run(store.read(ledger.audit))[BOB] == 5
    store.close()


def test_readers_cannot_write(store: Store) -> None:
    """Only the writer changes anything."""
    with pytest.raises(Exception, match="readonly"):
        asyncio.run(store.read(pay(ALICE, BOB, 1)))
    store.close()


def test_a_closed_store_takes_nothing_more(store: Store) -> None:
    """What comes after the end is told so, what was queued before it is written."""
    future = store.submit(pay(ALICE, BOB, 7))
    store.close()

    assert future.result() == 7
    with pytest.raises(StoreError):
        store.submit(pay(ALICE, BOB, 1))


def test_entries_must_sum_to_zero(store: Store) -> None:
    """Money is neither made nor lost by a mistake in the program."""

    async def run() -> None:
        await store.write(lambda connection: ledger.post(connection, {ALICE: 1}, "test", "", 0.0))

    with pytest.raises(AssertionError, match="sum to 1"):
        asyncio.run(run())
    assert asyncio.run(store.read(ledger.audit)) == {}
    store.close()


def test_amounts_keep_all_their_digits(store: Store) -> None:
    """10^-18 DCC of a thousand million DCC is not rounded away."""
    huge = 10**27 + 1

    async def run() -> dict[str, int]:
        await store.write(
            lambda connection: ledger.post(connection, {ledger.ISSUER: -huge, BOB: huge}, "test", "", 0.0)
        )
        return await store.read(ledger.audit)

    assert asyncio.run(run())[BOB] == huge
    assert ledger.in_dcc(huge) == "1000000000.000000000000000001"
    assert [ledger.in_dcc(amount) for amount in (0, -1, 10**18)] == ["0", "-0.000000000000000001", "1"]
    store.close()


@pytest.mark.parametrize(
    "url",
    ["sqlite:////proc/nowhere/x.sqlite", "postgresql://localhost/x", "what?", "mysql://x"],
)
def test_a_database_that_cannot_be_used_is_an_error_for_people(url: str) -> None:
    """No traceback of a driver, but a sentence."""
    with pytest.raises(StoreError, match="database"):
        Store(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A database of somebody else is left alone."""
    path = tmp_path / "other.sqlite"
    path.write_bytes(b"this is no database, but a text of some length" * 100)

    with pytest.raises(StoreError, match="cannot be opened"):
        Store(sqlite_url(path))
    assert path.read_bytes().startswith(b"this is no database")


WRITER = """
import sys
from collections.abc import Callable
from pathlib import Path
from dcp_worker.scheduler.store import ledger
from dcp_worker.scheduler.store.writer import Store
from dcp_worker.scheduler.store.database import sqlite_url

store = Store(sqlite_url(Path(sys.argv[1])))
ALICE = "0x" + "a" * 40
futures = []
def pay(number):
    def operation(connection):
        ledger.open_account(connection, ALICE, 10**21)
        account = "0x%040x" % (1000 + number)
        ledger.post(connection, {ALICE: -number, account: number}, "test", str(number), 0.0)
        return number
    return operation
number = 1
while True:
    futures = [store.submit(pay(n)) for n in range(number, number + 20)]
    for future in futures:
        print(future.result(), flush=True)
    number += 20
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Every payment that was answered is there after kill -9, whole, and the books are right."""
    path = tmp_path / "s.sqlite"
    acknowledged = 0
    for _ in range(3):
        path.unlink(missing_ok=True)
        Path(f"{path}-wal").unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(random.randint(20, 200))]
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        last = max(int(line) for line in lines if line.endswith("\n"))
        store = Store(sqlite_url(path))
        balances = asyncio.run(store.read(ledger.audit))
        store.close()
        acknowledged += last

        assert sum(balances.values()) == 0
        assert [balances.get(f"0x{1000 + number:040x}") for number in range(1, last + 1)] == list(
            range(1, last + 1)
        )
    assert acknowledged > 0


def test_a_database_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    """What was stored stays; one of a schema from the future is refused."""
    url = sqlite_url(tmp_path / "s.sqlite")
    store = Store(url, "NORMAL")

    def as_it_was(connection: Connection) -> None:
        for column in ("stop_reason", "stop_code"):
            connection.execute(text(f"ALTER TABLE jobs DROP COLUMN {column}"))
        connection.execute(text("UPDATE facts SET value = '1' WHERE name = 'schema'"))
        ledger.open_account(connection, ALICE, 7)

    store.submit(as_it_was).result()
    store.close()
    store = Store(url, "NORMAL")
    columns = store.submit(lambda c: {row[1] for row in c.execute(text("PRAGMA table_info(jobs)"))}).result()
    assert {"stop_reason", "stop_code"} <= columns
    assert store.submit(lambda connection: ledger.balance_of(connection, ALICE)).result() == 7
    store.submit(
        lambda c: c.execute(text("UPDATE facts SET value = '99' WHERE name = 'schema'")) and None
    ).result()
    store.close()
    with pytest.raises(StoreError, match="schema 99"):
        Store(url, "NORMAL")
