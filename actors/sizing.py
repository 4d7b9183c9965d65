"""How long a run is and how many of them a sandbox may hold: by measured time, so that nobody waits and
little is lost.

A run is long enough that the messages around it cost little beside its work, and short enough that its loss
hurts little. The figures come from measurements on two cores: a run costs about 3 ms of CPU time outside of its
sandbox, however long it is.
"""

from .records import Stretch

RUN_MS = 100.0
"""How long a run should work."""

MAX_RUN_SLICES = 1_000
MAX_RUN_BYTES = 4_000_000
MAX_DEPTH = 3
"""One run in work, one in the evaluator's pipe, one on its way."""

LASTING_MS = 50.0
"""While a run of this length is in work, the next but one has time to come."""

UNHURRIED_MS = 100.0
LONG_MS = 1_000.0
SMOOTHING = 0.3


def run_slices(slice_ms: float | None, queued: int, sandboxes: int) -> int:
    """How many slices the next run of a job has; 1 as long as nothing was measured."""
    if slice_ms is None:
        return 1
    wanted = MAX_RUN_SLICES if slice_ms <= RUN_MS / MAX_RUN_SLICES else int(RUN_MS / slice_ms)
    fair = queued // (2 * max(1, sandboxes))
    return max(1, min(wanted, MAX_RUN_SLICES, fair))


def depth(slice_ms: float | None, queued: int, sandboxes: int) -> int:
    """How many runs a sandbox may hold at once.

    The answer of a sandbox takes about a millisecond to come round, so slices of a second lose nothing when
    they are dealt one by one, and are there for whoever is free first. The same holds for the last few of
    slower jobs.
    """
    if slice_ms is None or slice_ms >= LONG_MS:
        return 1
    if slice_ms >= UNHURRIED_MS:
        return 2 if queued >= sandboxes else 1
    if run_slices(slice_ms, queued, sandboxes) * slice_ms >= LASTING_MS:
        return 2
    return MAX_DEPTH


def within_bytes(stretch: Stretch, slices: int) -> int:
    """The largest number of slices up to ``slices``, at least 1, whose inputs fit a run."""
    slices = min(slices, stretch.count)
    if stretch.inputs is None or stretch.inputs.size(stretch.first, slices) <= MAX_RUN_BYTES:
        return slices
    low, high = 1, slices
    while low < high:  # the sizes grow with the number, so halving finds the border
        middle = (low + high + 1) // 2
        if stretch.inputs.size(stretch.first, middle) <= MAX_RUN_BYTES:
            low = middle
        else:
            high = middle - 1
    return low


def smooth(old: float | None, new: float) -> float:
    """The moving average that follows a job's slice time."""
    return new if old is None else old + SMOOTHING * (new - old)
