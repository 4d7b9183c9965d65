"""What is told to the owners of jobs, gathered while an earlier delivery is under way.

A work function may print a thousand lines in a millisecond. The first goes out at once; what comes until that one
is answered goes together in the next request. Pure: no socket, no clock.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

MAX_EVENTS = 500
MAX_BYTES = 256 << 10
"""Of one delivery."""
MAX_WAITING_BYTES = 4 << 20
"""Of one job; what does not fit is dropped: events are news, not results."""


@dataclass(frozen=True, slots=True)
class Emission:
    """One event for the owner of a job. ``size`` is its payload's, in bytes."""

    slice: int  # 0 when outside a slice
    event: str
    payload: Any
    size: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """Ticket of a delivery: its answer, whatever it is, lets the job's next one go."""

    job: str


@dataclass(slots=True)
class _Waiting:
    emissions: deque[Emission] = field(default_factory=deque)
    size: int = 0
    dropped: int = 0


class Emitter:
    """For each job at most one delivery under way, and what waits behind it."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Waiting] = {}  # those with a delivery under way

    def put(self, job: str, emission: Emission) -> list[Emission]:
        """Take an event; gives what is to be delivered now, if anything."""
        waiting = self._jobs.get(job)
        if waiting is None:
            self._jobs[job] = _Waiting()
            return [emission]
        if waiting.size + emission.size > MAX_WAITING_BYTES:
            waiting.dropped += 1
        else:
            waiting.emissions.append(emission)
            waiting.size += emission.size
        return []

    def answered(self, job: str) -> tuple[list[Emission], int]:
        """The delivery under way has ended: the next one, and how many events were dropped meanwhile."""
        waiting = self._jobs[job]
        batch: list[Emission] = []
        size = 0
        while waiting.emissions and len(batch) < MAX_EVENTS and (not batch or size < MAX_BYTES):
            batch.append(waiting.emissions.popleft())
            size += batch[-1].size
        waiting.size -= size
        dropped, waiting.dropped = waiting.dropped, 0
        if not batch:
            del self._jobs[job]
        return batch, dropped
