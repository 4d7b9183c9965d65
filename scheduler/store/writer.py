"""One thread that writes, and group commit: what arrived meanwhile shares the next transaction.

A commit waits for the disk; hundreds of small operations that share one wait cost little more than one. Each
has a savepoint, so one that fails takes only itself back, and each learns its outcome after the commit: what
was answered is on disk.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from loguru import logger
from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from .database import StoreError, open_engines
from .statements import driver

T = TypeVar("T")
Operation = Callable[[Connection], T]

GROUP_LIMIT = 256
"""Operations in one transaction at most, so that nobody waits long for a commit."""

_Submitted = tuple[Operation[Any], "Future[Any]"]


class Store:
    """The database of one scheduler. ``write`` and ``read`` run an operation on a connection, from an event
    loop.
    """

    def __init__(self, url: str, synchronous: str = "FULL") -> None:
        self._write_engine, self._read_engine = open_engines(url, synchronous)
        self._waiting: deque[_Submitted] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-reader")
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> "Future[T]":
        """Queue an operation for the writer. The future is set after the commit, or with what went wrong."""
        future: Future[T] = Future()
        with self._wake:
            if self._closing:
                raise StoreError(
                    "The scheduler is stopping and takes no more changes; try again when it is back."
                )
            self._waiting.append((operation, future))
            self._wake.notify()
        return future

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in the writer's next transaction. Returns when it is on disk."""
        return await asyncio.wrap_future(self.submit(operation))

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, in a snapshot of its own, beside the writer."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, operation)

    def _read(self, operation: Operation[T]) -> T:
        with self._read_engine.begin() as connection:
            return operation(connection)

    def close(self) -> None:
        """Write what is queued, then let go of the database."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._readers.shutdown()
        self._read_engine.dispose()
        self._write_engine.dispose()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    return
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_LIMIT))]
            self._commit_group(self._write_engine, group)

    def _commit_group(self, engine: Engine, group: list[_Submitted]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        running = [submitted for submitted in group if submitted[1].set_running_or_notify_cancel()]
        try:
            with engine.begin() as connection:
                for operation, future in running:
                    outcomes.append((future, *_attempt(connection, operation)))
        except Exception as error:
            # The transaction as a whole did not happen (a full disk, an I/O error): nobody is told otherwise.
            logger.error("a transaction of {} operations failed: {}", len(running), error)
            failure = StoreError(
                "The scheduler could not write to its database; nothing was changed, try again."
            )
            failure.__cause__ = error
            outcomes = [(future, None, failure) for _, future in running]
        for future, value, problem in outcomes:
            if problem is None:
                future.set_result(value)
            else:
                future.set_exception(problem)


def _attempt(connection: Connection, operation: Operation[Any]) -> tuple[Any, BaseException | None]:
    execute = driver(connection).execute
    execute("SAVEPOINT operation")
    try:
        value = operation(connection)
    except Exception as error:
        # Raises when the database has ended the whole transaction by itself (a full disk): then all of it
        # failed.
        execute("ROLLBACK TO operation")
        execute("RELEASE operation")
        return None, error
    execute("RELEASE operation")
    return value, None
