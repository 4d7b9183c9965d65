"""What has come back of a job so far: results and failures by slice number, in any order, each counted
once."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..protocol.intervals import IntervalSet
from .errors import ClientError, SliceError
from .inputs import MAX_SLICES


class CollectionError(ClientError):
    """The scheduler sent outcomes that make no sense for this job."""

    code = "EOUTCOMES"


class Collection:
    """Takes outcomes as they come and knows what is missing. No sockets, no clock.

    ``keep=False`` remembers which slices have come but not their values, for jobs that are larger than
    memory.
    """

    def __init__(self, total: int | None = None, *, keep: bool = True) -> None:
        self.total = total  # slices of the job; None while they are still being uploaded
        self.errors: dict[int, SliceError] = {}
        self._keep = keep
        self._seen = IntervalSet()
        self._chunks: list[tuple[int, Sequence[Any]]] = []  # (first, values), disjoint

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def complete(self) -> bool:
        """Whether every slice of the job has its outcome."""
        return self.total is not None and len(self._seen) == self.total

    def take(self, first: int, values: Sequence[Any]) -> list[tuple[int, Sequence[Any]]]:
        """Take results of consecutive slices; return the ``(first, values)`` chunks that were new."""
        self._check(first, len(values))
        fresh: list[tuple[int, Sequence[Any]]] = []
        for start, count in self._seen.add(first, len(values)):
            part = values if count == len(values) else values[start - first : start - first + count]
            fresh.append((start, part))
        if self._keep:
            self._chunks += fresh
        return fresh

    def fail(self, number: int, error: Any) -> SliceError | None:
        """Take the failure of one slice; return it if it was new."""
        self._check(number, 1)
        if not self._seen.add(number, 1):
            return None
        failure = SliceError(number, error)
        self.errors[number] = failure
        return failure

    def finish(self, total: int) -> None:
        """The job has this many slices. Raises CollectionError when more have come back already."""
        self.total = total
        for first, count in self._seen:
            if first + count - 1 > total:
                raise CollectionError(
                    f"The job has {total} slices and an outcome of slice {first + count - 1} came."
                )

    def missing(self, *, unbounded: bool = False) -> list[tuple[int, int]]:
        """The ``(first, count)`` runs without an outcome, ascending.

        While the total is unknown there are none, or, if ``unbounded``, all that could be.
        """
        if self.total is None and not unbounded:
            return []
        return self._seen.missing(1, MAX_SLICES if self.total is None else self.total)

    def results(self) -> list[Any]:
        """All outcomes in slice order, the SliceError where the work function threw."""
        outcomes: list[Any] = []
        failed: Iterable[tuple[int, Sequence[Any]]] = ((n, (error,)) for n, error in self.errors.items())
        for _, values in sorted([*self._chunks, *failed], key=lambda chunk: chunk[0]):
            outcomes.extend(values)
        return outcomes

    def _check(self, first: int, count: int) -> None:
        if first < 1 or (self.total is not None and first + count - 1 > self.total):
            raise CollectionError(
                f"The scheduler sent outcomes of slices {first} to {first + count - 1}, and the job has "
                f"{'no such slices' if self.total is None else f'{self.total}'}."
            )
