"""The state of consecutive slices, and what becomes of it when some change. Knows no database and no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from ...protocol.intervals import Interval


class State(IntEnum):
    """What has become of a slice."""

    PENDING = 0  # waits for a worker
    LEASED = 1  # a worker holds it until the deadline
    DONE = 2  # its result is stored
    FAILED = 3  # its error is stored


@dataclass(frozen=True, slots=True)
class SliceRun:
    """Consecutive slices of one job in the same state, in the same hands. Slice numbers start at 1."""

    first: int
    last: int
    state: State
    worker: str | None = None
    claimed: float | None = None
    deadline: float | None = None

    @classmethod
    def of(
        cls,
        part: Interval,
        state: State,
        worker: str | None = None,
        claimed: float | None = None,
        deadline: float | None = None,
    ) -> "SliceRun":
        return cls(part[0], part[0] + part[1] - 1, state, worker, claimed, deadline)

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    @property
    def interval(self) -> Interval:
        return self.first, self.count

    def continues(self, other: "SliceRun") -> bool:
        """Whether this run stands directly behind the other one and differs from it in nothing else."""
        return other.last + 1 == self.first and self._hands == other._hands

    @property
    def _hands(self) -> tuple[object, ...]:
        return self.state, self.worker, self.claimed, self.deadline

    def cut(self, first: int, last: int) -> "SliceRun":
        """The same for other slices."""
        return SliceRun(first, last, self.state, self.worker, self.claimed, self.deadline)


def replaced(runs: Sequence[SliceRun], new: SliceRun) -> list[SliceRun]:
    """Put ``new`` over ``runs``, cut what it covers only in part, and join equal neighbours.

    ``runs`` are sorted and disjoint; the answer covers the same slices, plus those of ``new``.
    """
    pieces: list[SliceRun] = []
    for run in runs:
        if run.first < new.first:
            pieces.append(run.cut(run.first, min(run.last, new.first - 1)))
        if run.last > new.last:
            pieces.append(run.cut(max(run.first, new.last + 1), run.last))
    pieces.append(new)
    pieces.sort(key=lambda run: run.first)
    joined: list[SliceRun] = []
    for piece in pieces:
        if joined and piece.continues(joined[-1]):
            joined[-1] = joined[-1].cut(joined[-1].first, piece.last)
        else:
            joined.append(piece)
    return joined
