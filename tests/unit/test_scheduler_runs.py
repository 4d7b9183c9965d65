"""Runs of slice numbers: whatever is put over whatever, every slice keeps exactly one state."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.scheduler.store.runs import SliceRun, State, replaced

TOTAL = 40
spans = st.tuples(st.integers(1, TOTAL), st.integers(1, TOTAL)).map(lambda pair: (min(pair), max(pair)))
changes = st.lists(st.tuples(spans, st.sampled_from(State), st.sampled_from(["a", "b"])), max_size=12)


@given(changes)
def test_each_slice_has_the_state_that_was_put_last(
    history: list[tuple[tuple[int, int], State, str]],
) -> None:
    """Runs cover all slices once, in order, and say what a list with one entry a slice would say."""
    runs = [SliceRun(1, TOTAL, State.PENDING)]
    model = [(State.PENDING, None)] * TOTAL
    for (first, last), state, who in history:
        worker = who if state is State.LEASED else None
        runs = replaced(runs, SliceRun(first, last, state, worker))
        model[first - 1 : last] = [(state, worker)] * (last - first + 1)

    expanded = [(run.state, run.worker) for run in runs for _ in range(run.count)]
    assert expanded == model
    assert [run.first for run in runs] == [1, *[run.last + 1 for run in runs[:-1]]]
    assert not any(later.continues(earlier) for earlier, later in pairwise(runs))


def test_equal_neighbours_become_one_run() -> None:
    """A job that is computed in order stays two rows, however many results came."""
    runs = [SliceRun(1, 1_000_000_000, State.LEASED, "w", 1.0, 2.0)]
    for first in range(1, 10_000, 100):
        runs = replaced(runs, SliceRun(first, first + 99, State.DONE))

    assert [(run.first, run.last, run.state) for run in runs] == [
        (1, 10_000, State.DONE),
        (10_001, 1_000_000_000, State.LEASED),
    ]
