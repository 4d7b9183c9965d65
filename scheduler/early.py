"""What workers say while nobody listens: kept for a moment, for a deployer who is about to.

A deployer can watch a job only once it is submitted, and a worker may have said much by then. So what
nobody has asked for yet is kept by job and label, the newest of it, for some seconds. Plain bookkeeping:
the caller brings the clock.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEPT_S = 30.0
"""How long an event waits for somebody who wants it."""
KEPT_EVENTS = 1000
"""Of one label of one job; the oldest make room."""
KEPT_BYTES = 256 << 10
"""Characters of one label of one job."""
KEPT_IN_ALL = 32 << 20
"""Characters of all jobs together; the job that was silent longest makes room."""
_EVENT = 200
"""Characters that an event counts for beside its own."""


@dataclass(frozen=True, slots=True)
class EarlyEvent:
    """An event that nobody has been told."""

    name: str
    fields: Mapping[str, Any]
    size: int  # characters
    at: float
    thrown: bool = False  # tells what bulk clients hear with the results anyway


@dataclass(slots=True)
class _Kept:
    events: deque[EarlyEvent] = field(default_factory=deque)
    size: int = 0

    def drop(self) -> None:
        self.size -= self.events.popleft().size + _EVENT


class EarlyEvents:
    """The events that wait, by job and label."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, _Kept]] = {}  # by job, in the order of the last event
        self._size = 0

    @property
    def size(self) -> int:
        """Characters of all that waits."""
        return self._size

    def holds(self, job: str, label: str) -> bool:
        """Whether something waits, so that what follows has to stand behind it."""
        return label in self._kept.get(job, ())

    def add(self, job: str, label: str, event: EarlyEvent) -> None:
        """Keep an event. Drops what is too old, or too much."""
        labels = self._kept.pop(job, None) or {}
        self._kept[job] = labels
        kept = labels.setdefault(label, _Kept())
        before = kept.size
        kept.events.append(event)
        kept.size += event.size + _EVENT
        while kept.events and (
            len(kept.events) > KEPT_EVENTS or kept.size > KEPT_BYTES or kept.events[0].at < event.at - KEPT_S
        ):
            kept.drop()
        self._size += kept.size - before
        self._tidy(event.at)

    def take(self, job: str, label: str, now: float) -> list[EarlyEvent]:
        """All that waits and is not too old, in order; from now on it does not wait any more."""
        labels = self._kept.get(job, {})
        kept = labels.pop(label, None)
        if kept is None:
            return []
        if not labels:
            del self._kept[job]
        self._size -= kept.size
        return [event for event in kept.events if event.at >= now - KEPT_S]

    def _tidy(self, now: float) -> None:
        """Forget the jobs that are silent for long, which those that are over are."""
        while self._kept:
            job, labels = next(iter(self._kept.items()))
            newest = max((kept.events[-1].at for kept in labels.values() if kept.events), default=0.0)
            if newest >= now - KEPT_S and self._size <= KEPT_IN_ALL:
                return
            self._size -= sum(kept.size for kept in labels.values())
            del self._kept[job]
