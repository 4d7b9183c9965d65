"""Sets of slice numbers as a few intervals, because a job may have a thousand million slices.

An interval is ``(first, count)``, as runs are on the wire; a set is a list of them, ascending and disjoint. All
functions are pure; ``IntervalSet`` is the one that grows.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

Interval = tuple[int, int]
"""The first number and how many there are."""


def count_of(intervals: Iterable[Interval]) -> int:
    """How many slice numbers disjoint intervals hold."""
    return sum(count for _, count in intervals)


def normalise(intervals: Iterable[Interval]) -> list[Interval]:
    """Sort, drop what is empty, and merge what touches or overlaps."""
    merged: list[Interval] = []
    for first, count in sorted(intervals):
        if count <= 0:
            continue
        if merged and first <= merged[-1][0] + merged[-1][1]:
            start, length = merged[-1]
            merged[-1] = (start, max(length, first + count - start))
        else:
            merged.append((first, count))
    return merged


def from_numbers(numbers: Iterable[int]) -> list[Interval]:
    """The intervals that hold exactly these numbers."""
    return normalise((number, 1) for number in numbers)


def subtract(left: Sequence[Interval], first: int, count: int) -> tuple[list[Interval], list[Interval]]:
    """Take ``[first, first + count)`` out of ``left``; return what stays and what was really taken."""
    if len(left) == 1 and left[0] == (first, count):  # nearly every call
        return [], [(first, count)]
    end = first + count
    stays: list[Interval] = []
    taken: list[Interval] = []
    for start, length in left:
        stop = start + length
        low, high = max(start, first), min(stop, end)
        if low >= high:
            stays.append((start, length))
            continue
        taken.append((low, high - low))
        if start < low:
            stays.append((start, low - start))
        if high < stop:
            stays.append((high, stop - high))
    return stays, taken


def intersect(left: Sequence[Interval], right: Iterable[Interval]) -> list[Interval]:
    """The numbers that are in both sets."""
    common: list[Interval] = []
    for first, count in right:
        common += subtract(left, first, count)[1]
    return normalise(common)


def difference(left: Sequence[Interval], right: Iterable[Interval]) -> list[Interval]:
    """The numbers of ``left`` that are not in ``right``."""
    stays = list(left)
    for first, count in right:
        stays, _ = subtract(stays, first, count)
    return stays


def covers(intervals: Sequence[Interval], first: int, count: int) -> bool:
    """Whether a normalised set holds all of ``[first, first + count)``."""
    return any(start <= first and first + count <= start + length for start, length in intervals)


def head(intervals: Iterable[Interval], limit: int) -> list[Interval]:
    """The first ``limit`` numbers of a set."""
    taken: list[Interval] = []
    for first, count in intervals:
        if limit <= 0:
            break
        taken.append((first, min(count, limit)))
        limit -= taken[-1][1]
    return taken


class IntervalSet:
    """A set of slice numbers that grows, mostly at its end: adding costs O(log n) of its intervals there."""

    __slots__ = ("_count", "_firsts", "_stops")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._stops: list[int] = []  # one behind the last number of each interval
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Interval]:
        """The intervals, ascending."""
        for first, stop in zip(self._firsts, self._stops, strict=True):
            yield first, stop - first

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number < self._stops[at]

    def missing(self, first: int, count: int) -> list[Interval]:
        """Which of these numbers are not in the set."""
        gaps: list[Interval] = []
        end = first + count
        index = bisect_right(self._stops, first)
        while first < end and index < len(self._firsts) and self._firsts[index] < end:
            if first < self._firsts[index]:
                gaps.append((first, self._firsts[index] - first))
            first = self._stops[index]
            index += 1
        if first < end:
            gaps.append((first, end - first))
        return gaps

    def add(self, first: int, count: int) -> list[Interval]:
        """Put numbers in, and return those that were not there before."""
        if count <= 0:
            return []
        fresh = self.missing(first, count)
        stop = first + count
        low = bisect_right(self._stops, first - 1)  # the first interval that touches or lies behind
        high = bisect_right(self._firsts, stop, low)
        if low < high:
            first = min(first, self._firsts[low])
            stop = max(stop, self._stops[high - 1])
        self._firsts[low:high] = [first]
        self._stops[low:high] = [stop]
        self._count += count_of(fresh)
        return fresh
