"""Interval arithmetic is set arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.actors.intervals import IntervalSet, difference, from_numbers, intersect, subtract

NUMBERS = st.sets(st.integers(1, 60))
SPANS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), max_size=12)


def numbers(intervals: list[tuple[int, int]]) -> set[int]:
    found = [n for first, count in intervals for n in range(first, first + count)]
    assert len(found) == len(set(found))
    return set(found)


@given(NUMBERS, st.integers(1, 60), st.integers(1, 20))
def test_subtract(left: set[int], first: int, count: int) -> None:
    """What stays and what was taken are the two parts of the set."""
    stays, taken = subtract(from_numbers(left), first, count)
    cut = set(range(first, first + count))
    assert numbers(stays) == left - cut
    assert numbers(taken) == left & cut


@given(NUMBERS, NUMBERS)
def test_difference_and_intersection(left: set[int], right: set[int]) -> None:
    """As sets do."""
    assert numbers(difference(from_numbers(left), from_numbers(right))) == left - right
    assert numbers(intersect(from_numbers(left), from_numbers(right))) == left & right


@given(SPANS, st.integers(1, 60), st.integers(1, 30))
def test_a_growing_set(spans: list[tuple[int, int]], first: int, count: int) -> None:
    """It knows what it has and what it lacks, in as few intervals as there are gaps."""
    grown = IntervalSet()
    expected: set[int] = set()
    for start, length in spans:
        grown.add(start, length)
        expected |= set(range(start, start + length))

    assert grown.intervals() == from_numbers(expected)
    assert numbers(grown.missing(first, count)) == set(range(first, first + count)) - expected
