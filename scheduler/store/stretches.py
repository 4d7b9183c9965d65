"""Inputs and results: values bodies, one row for a stretch of consecutive slices.

Bodies are opaque here but for being cut: a stretch that is wanted whole is passed on as it was stored.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Table, bindparam, func, insert, select
from sqlalchemy.engine import Connection

from ...protocol.dcp.values import body_of, nodes_of
from ...protocol.intervals import Interval
from .statements import Statement

CHUNK_SLICES = 1000
"""Slices in one row at most, so that cutting out one of them stays cheap."""
CHUNK_BYTES = 256 << 10
"""Characters in one row, unless a single value is larger."""

Stretch = tuple[int, int, str]
"""First slice, last slice, values body."""


def chunks(first: int, nodes: Sequence[Any]) -> Iterator[Stretch]:
    """The nodes of slices ``first``, ``first + 1``, ... as bodies of a bounded size."""
    for start in range(0, len(nodes), CHUNK_SLICES):
        yield from _halved(first + start, nodes[start : start + CHUNK_SLICES])


def _halved(first: int, nodes: Sequence[Any]) -> Iterator[Stretch]:
    body = body_of(nodes)
    if len(body) <= CHUNK_BYTES or len(nodes) == 1:
        yield first, first + len(nodes) - 1, body
        return
    middle = len(nodes) // 2
    yield from _halved(first, nodes[:middle])
    yield from _halved(first + middle, nodes[middle:])


def cut(stretch: Stretch, part: Interval) -> Stretch:
    """What of a stretch is about these slices."""
    first, last, body = stretch
    low, high = max(first, part[0]), min(last, part[0] + part[1] - 1)
    if (low, high) == (first, last):
        return stretch
    nodes = nodes_of(body, expected=last - first + 1)
    return low, high, body_of(nodes[low - first : high - first + 1])


class StretchTable:
    """``inputs`` or ``results``. Stretches of one job never overlap: a slice is stored once."""

    def __init__(self, table: Table) -> None:
        start = (
            select(func.max(table.c.first))
            .where(table.c.job == bindparam("of_job"), table.c.first <= bindparam("low"))
            .scalar_subquery()
        )
        within = (
            table.c.job == bindparam("of_job"),
            table.c.first >= func.coalesce(start, bindparam("low")),
            table.c.first <= bindparam("high"),
            table.c.last >= bindparam("low"),
        )
        self._insert = Statement(insert(table))
        columns = (table.c.first, table.c.last)
        self._read = Statement(select(*columns, table.c.body).where(*within).order_by(table.c.first))
        self._sizes = Statement(
            select(*columns, func.length(table.c.body)).where(*within).order_by(table.c.first)
        )

    def add(self, connection: Connection, job: str, stretches: Sequence[Stretch]) -> None:
        if stretches:
            rows = [
                {"job": job, "first": first, "last": last, "body": body} for first, last, body in stretches
            ]
            self._insert.run_each(connection, rows)

    def read(self, connection: Connection, job: str, part: Interval) -> Iterator[Stretch]:
        """What is stored of these slices, in order."""
        last = part[0] + part[1] - 1
        for row in self._read.rows(connection, of_job=job, low=part[0], high=last):
            yield cut((row[0], row[1], row[2]), part)

    def within(
        self, connection: Connection, job: str, parts: Sequence[Interval], budget: int
    ) -> list[Interval]:
        """As many of the first of these slices as fit a budget of characters, whole rows at a time.

        Never nothing: one row is given even when it is larger than the budget.
        """
        taken: list[Interval] = []
        for start, count in parts:
            end = start + count
            rows = self._sizes.rows(connection, of_job=job, low=start, high=end - 1)
            for first, last, size in rows:
                if taken and budget < size:
                    return taken
                budget -= size
                low = max(first, start)
                taken.append((low, min(last + 1, end) - low))
        return taken
