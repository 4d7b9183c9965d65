"""A set of slice numbers as runs of consecutive numbers: what of a job has been seen, in memory for its
gaps only."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Intervals:
    """A growing set of whole numbers, kept as sorted, disjoint, non-adjacent ``[first, end)`` pairs.

    Adding a run costs O(log n) to find its place, and merging what it touches; n is the number of gaps,
    not of slices.
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The runs, ascending, as ``(first, count)``."""
        for first, end in zip(self._firsts, self._ends, strict=True):
            yield first, end - first

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number < self._ends[at]

    def add(self, first: int, count: int) -> list[tuple[int, int]]:
        """Add a run; return the ``(first, count)`` runs of it that were not there before."""
        end = first + count
        if count <= 0:
            return []
        low = bisect_left(self._ends, first)  # the first run that touches or follows ours
        high = bisect_right(self._firsts, end)  # behind the last run that touches ours
        fresh = []
        at = first
        for there, there_end in zip(self._firsts[low:high], self._ends[low:high], strict=True):
            if at < there:
                fresh.append((at, min(there, end) - at))
            at = max(at, there_end)
        if at < end:
            fresh.append((at, end - at))
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high] = [first]
        self._ends[low:high] = [end]
        self._count += sum(count for _, count in fresh)
        return fresh

    def gaps(self, first: int, end: int) -> list[tuple[int, int]]:
        """The ``(first, count)`` runs between ``first`` (included) and ``end`` (excluded) that are not
        in the set."""
        gaps = []
        at = first
        for there, there_end in zip(self._firsts, self._ends, strict=True):
            if there >= end:
                break
            if at < there:
                gaps.append((at, there - at))
            at = max(at, there_end)
        if at < end:
            gaps.append((at, end - at))
        return gaps
