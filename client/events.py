"""What a job tells the program that follows it: small immutable records, and the listeners that get them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ClientError


@dataclass(frozen=True, slots=True)
class ConsoleMessage:
    """``console.log`` and its relatives in the work function."""

    slice: int  # 0 when outside a slice
    level: str  # "log", "debug", "info", "warn" or "error"
    message: str  # what a terminal would show
    same: int  # how often this message came in a row


@dataclass(frozen=True, slots=True)
class CustomEvent:
    """``work.emit(name, value)`` in the work function."""

    slice: int
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far the job is, as the scheduler tells it."""

    run_status: str  # "new", "estimation", "running", "paused", "finished", "cancelled", "corrupted"
    total: int  # slices that the scheduler knows of
    distributed: int  # of them, how many have been given to a worker
    computed: int  # of them, how many have an outcome


@dataclass(frozen=True, slots=True)
class SliceResult:
    """One slice is done."""

    slice: int
    value: Any


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the job as a whole: it could not be paid (``nofunds``), a slice is silent
    (``noprogress``), a worker could not do it (``error``; the payload may have a ``code``), …"""

    kind: str
    message: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Results:
    """Results of consecutive slices, as they travel inside the client."""

    first: int
    values: tuple[Any, ...] | list[Any]


EVENTS = ("accepted", "console", "custom", "error", "nofunds", "noprogress", "result", "state", "status")
"""What a program can listen to. ``error`` listeners get SliceError records, and a Notice of what
workers say about the job or about a slice that ended its sandbox; ``state`` ones the name of
the state."""

Listener = Callable[[Any], object]


class Listeners:
    """The functions that a program has hung on a job's events."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def add(self, event: str, listener: Listener) -> None:
        """Call ``listener`` with each later event of that name. Raises ClientError for a name that never
        comes."""
        if event not in EVENTS:
            raise ClientError(f"A job has no event {event!r}; it has {', '.join(EVENTS)}.")
        self._listeners.setdefault(event, []).append(listener)

    def wants(self, event: str) -> bool:
        """Whether anybody listens."""
        return event in self._listeners

    def call(self, event: str, value: object) -> None:
        """Call the listeners in order. What a listener raises goes to whoever waits for the job."""
        for listener in self._listeners.get(event, ()):
            listener(value)
