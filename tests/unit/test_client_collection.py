"""Outcomes of a job in any order, twice, and hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.client.collection import Collection, CollectionError
from dcp_worker.client.errors import SliceError, SliceErrors

runs = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)), max_size=30)


@given(runs)
def test_a_collection_gives_each_slice_once_and_in_order(arrivals: list[tuple[int, int]]) -> None:
    """However results overlap and repeat, the first of each slice counts, and results stand in slice
    order."""
    collection, model = Collection(), dict[int, object]()

    for turn, (first, count) in enumerate(arrivals):
        given_ = {n: (turn, n) for n in range(first, first + count)}
        fresh = collection.take(first, list(given_.values()))
        new = {n: value for n, value in given_.items() if n not in model}
        model |= new
        assert {n + i: v for n, values in fresh for i, v in enumerate(values)} == new

    assert collection.results() == [model[n] for n in sorted(model)]
    assert len(collection) == len(model)


def test_completion_is_known_only_with_the_total() -> None:
    """A job whose inputs are still being uploaded is never complete."""
    collection = Collection()
    collection.take(1, ["a", "b"])
    assert not collection.complete
    assert collection.missing() == []

    collection.finish(4)

    assert not collection.complete
    assert collection.missing() == [(3, 2)]
    collection.take(4, ["d"])
    failure = collection.fail(3, "went wrong")
    assert collection.complete
    assert collection.missing() == []
    assert failure == SliceError(3, "went wrong")
    assert collection.results() == ["a", "b", failure, "d"]
    assert collection.errors == {3: failure}


def test_a_second_outcome_of_a_slice_is_dropped() -> None:
    """An outcome that was delivered stays, whatever comes after it."""
    collection = Collection(2)
    collection.take(1, ["a"])

    assert collection.fail(1, "late") is None
    collection.fail(2, "first")
    assert collection.take(2, ["late"]) == []
    assert collection.results() == ["a", SliceError(2, "first")]


def test_without_keeping_values_only_their_numbers_are_remembered() -> None:
    """A job larger than memory can be followed: values are handed out and not kept."""
    collection = Collection(3, keep=False)

    assert collection.take(1, ["a", "b"]) == [(1, ["a", "b"])]
    assert collection.missing() == [(3, 1)]
    assert collection.results() == []


@pytest.mark.parametrize(("first", "count"), [(0, 1), (-5, 2), (3, 1), (1, 3)])
def test_outcomes_of_slices_that_are_not_there_are_refused(first: int, count: int) -> None:
    """A scheduler cannot make a job longer than it is."""
    with pytest.raises(CollectionError):
        Collection(2).take(first, [0] * count)


def test_too_many_outcomes_are_found_when_the_total_is_known() -> None:
    """Results that came before the total was known are checked against it."""
    collection = Collection()
    collection.take(5, [0])
    with pytest.raises(CollectionError, match="slice 5"):
        collection.finish(4)


def test_slice_errors_tell_the_first_few() -> None:
    """The exception names job, slices and messages, and carries everything."""

    class Thrown:
        name = "TypeError"
        message = "x is undefined\nwith more lines"

    errors = {n: SliceError(n, Thrown() if n == 2 else {"no": "message"}) for n in (9, 2, 5, 7)}

    raised = SliceErrors("J1", errors, ["a"])

    text = str(raised)
    assert "slice 2: TypeError: x is undefined;" in text
    assert "with more lines" not in text
    assert "1 more" in text
    assert raised.errors == errors
    assert raised.results == ["a"]
