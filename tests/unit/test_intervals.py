"""Interval arithmetic is set arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.protocol.intervals import (
    IntervalSet,
    count_of,
    covers,
    difference,
    from_numbers,
    head,
    intersect,
    normalise,
    subtract,
)

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


@given(SPANS, NUMBERS, st.integers(0, 60))
def test_normalise_cover_and_head(spans: list[tuple[int, int]], others: set[int], limit: int) -> None:
    """A normalised set holds what its parts held, in as few intervals as can be."""
    merged = normalise(spans)
    expected = {n for first, count in spans for n in range(first, first + count)}

    assert numbers(merged) == expected
    assert merged == from_numbers(expected)
    assert count_of(merged) == len(expected)
    assert all(covers(merged, first, count) for first, count in spans)
    assert covers(merged, 1, 90) == (expected >= set(range(1, 91)))
    assert all(covers(merged, number, 1) == (number in expected) for number in others)
    assert numbers(head(merged, limit)) == set(sorted(expected)[:limit])


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)), max_size=12),
    st.integers(1, 60),
    st.integers(1, 30),
)
def test_a_growing_set(spans: list[tuple[int, int]], first: int, count: int) -> None:
    """It knows what it has, what is new and what it lacks, in as few intervals as there are gaps."""
    grown = IntervalSet()
    expected: set[int] = set()
    for start, length in spans:
        new = set(range(start, start + length)) - expected
        assert numbers(grown.add(start, length)) == new
        expected |= new

    assert list(grown) == from_numbers(expected)
    assert len(grown) == len(expected)
    assert all((number in grown) == (number in expected) for number in range(80))
    assert numbers(grown.missing(first, count)) == set(range(first, first + count)) - expected
