"""Runs of slice numbers and what may be done with them. Nothing here knows a database or a clock."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

Span = tuple[int, int]
"""First and last slice number, both inclusive. Slice numbers start at 1."""


class State(IntEnum):
    """What has become of a slice."""

    PENDING = 0  # waits for a worker
    LEASED = 1  # a worker holds it until the deadline
    DONE = 2  # its result is stored
    FAILED = 3  # its error is stored


@dataclass(frozen=True, slots=True)
class SliceRun:
    """Consecutive slices of one job in the same state, in the same hands."""

    first: int
    last: int
    state: State
    worker: str | None = None
    claimed: float | None = None
    deadline: float | None = None

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def continues(self, other: "SliceRun") -> bool:
        """Whether this run stands directly behind the other one and differs from it in nothing else."""
        return other.last + 1 == self.first and replace(self, first=other.first, last=other.last) == other


def replaced(runs: Sequence[SliceRun], new: SliceRun) -> list[SliceRun]:
    """Put ``new`` over ``runs``, cut what it covers only in part, and join equal neighbours.

    ``runs`` are sorted and disjoint; the answer covers the same slices, plus those of ``new``.
    """
    pieces: list[SliceRun] = []
    for run in runs:
        if run.first < new.first:
            pieces.append(replace(run, last=min(run.last, new.first - 1)))
        if run.last > new.last:
            pieces.append(replace(run, first=max(run.first, new.last + 1)))
    pieces.append(new)
    pieces.sort(key=lambda run: run.first)
    joined: list[SliceRun] = []
    for piece in pieces:
        if joined and piece.continues(joined[-1]):
            joined[-1] = replace(joined[-1], last=piece.last)
        else:
            joined.append(piece)
    return joined


def union(spans: Iterable[Span]) -> list[Span]:
    """The same slices as sorted spans that neither overlap nor touch."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def covers(spans: Sequence[Span], wanted: Span) -> bool:
    """Whether the merged ``spans`` (see ``union``) hold all of ``wanted``."""
    return any(first <= wanted[0] and wanted[1] <= last for first, last in spans)


def overlap(left: Iterable[Span], right: Sequence[Span]) -> Iterator[Span]:
    """The stretches that are in both."""
    for first, last in left:
        for other_first, other_last in right:
            low, high = max(first, other_first), min(last, other_last)
            if low <= high:
                yield low, high


def count_of(spans: Iterable[Span]) -> int:
    return sum(last - first + 1 for first, last in spans)


def first_slices(spans: Iterable[Span], limit: int) -> list[Span]:
    """The first ``limit`` slices of the spans."""
    taken: list[Span] = []
    for first, last in spans:
        if limit <= 0:
            break
        taken.append((first, min(last, first + limit - 1)))
        limit -= taken[-1][1] - first + 1
    return taken


def spans_of(numbers: Iterable[int]) -> list[Span]:
    """Single slice numbers as spans."""
    return union((number, number) for number in numbers)
