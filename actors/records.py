"""What the supervisor knows of hosts, sandboxes, runs and jobs: plain records that planning moves around."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from ..protocol.intervals import Interval, normalise, subtract
from .inputs import Inputs


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive slices of one job that came under one authorisation and wait for a sandbox."""

    task: str
    first: int
    count: int
    inputs: Inputs | None  # None when the job counts through a range

    def split(self, count: int) -> "tuple[Stretch, Stretch | None]":
        """The first ``count`` slices, and the rest if there is one."""
        if count >= self.count:
            return self, None
        rest = Stretch(self.task, self.first + count, self.count - count, self.inputs)
        return Stretch(self.task, self.first, count, self.inputs), rest

    def parts(self, intervals: Iterable[Interval]) -> "list[Stretch]":
        """The same slices as far as they are in ``intervals``."""
        return [Stretch(self.task, first, count, self.inputs) for first, count in intervals]


@dataclass(slots=True)
class RunRecord:
    """A run that was dealt to a sandbox.

    It lives until it is finished and each of its slices is committed.
    """

    number: int
    job: str
    sandbox: str
    stretch: Stretch
    left: list[Interval]  # slices without a committed outcome
    finished: bool = False  # every outcome is with the uploader


class SandboxState(Enum):
    """OPENING -> OPEN -> RETIRING -> CLOSING -> gone; every state may be skipped, none is entered twice."""

    OPENING = "opening"  # asked for, the job is not assigned yet
    OPEN = "open"  # takes runs
    RETIRING = "retiring"  # works off what it has, gets nothing more
    CLOSING = "closing"  # told to end; it keeps its slot until it is gone


@dataclass(slots=True)
class SandboxRecord:
    """One sandbox somewhere, which belongs to one job for its whole life."""

    sandbox: str
    host: str
    job: str
    opened_at: float  # when it was asked for, seconds
    state: SandboxState = SandboxState.OPENING
    closing_since: float = 0.0
    runs: list[int] = field(default_factory=list)  # dealt and not finished, in order


@dataclass(slots=True)
class HostRecord:
    """One evaluator host. ``slots`` is how many sandboxes it may have alive now."""

    host: str
    name: str
    cores: int
    heard_at: float
    cpu: float = 0.0
    slots: int = 0
    capabilities: int = 0
    worktimes: tuple[tuple[str, str], ...] = ()
    sandboxes: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)  # whose artifacts it has
    start_failures: int = 0  # evaluators that could not be started, one after the other
    rests_until: float = 0.0  # no new sandbox before this time


@dataclass(slots=True)
class JobRecord:
    """One job with slices held here."""

    job: str
    worktime: str
    requirements: int = 0  # bit mask of the DCP wire
    queue: deque[Stretch] = field(default_factory=deque)
    queued: int = 0  # slices in the queue
    dealt: int = 0  # slices in runs that are not finished
    running: dict[int, RunRecord] = field(default_factory=dict)  # runs with slices left, by number
    sandboxes: dict[str, SandboxRecord] = field(default_factory=dict)
    tasks: dict[str, int] = field(
        default_factory=dict
    )  # slices neither committed nor returned, for each task
    slice_ms: float | None = None
    served_ms: float = 0.0  # what its runs have worked here, for fair shares
    attempts: dict[int, int] = field(default_factory=dict)  # how often a slice took its evaluator down
    rejections: dict[int, int] = field(default_factory=dict)  # how often a slice called work.reject
    assign_failures: int = 0  # one after the other
    deaths: int = 0  # sandboxes lost without a culprit and without a committed slice in between
    idle_since: float | None = None

    @property
    def unfinished(self) -> int:
        """Slices that are neither committed nor returned."""
        return sum(self.tasks.values())

    def put_back(self, stretches: Iterable[Stretch]) -> None:
        """To the front of the queue, in their order."""
        parts = list(stretches)
        self.queue.extendleft(reversed(parts))
        self.queued += sum(part.count for part in parts)

    def put(self, stretches: Iterable[Stretch]) -> None:
        """To the end of the queue."""
        for part in stretches:
            self.queue.append(part)
            self.queued += part.count

    def drop_queued(self, first: int, count: int) -> list[tuple[str, int]]:
        """Take slices out of the queue wherever they are.

        Return (task, how many) of each piece that was there.
        """
        dropped: list[tuple[str, int]] = []
        kept: deque[Stretch] = deque()
        for part in self.queue:
            if part.first >= first + count or part.first + part.count <= first:
                kept.append(part)
                continue
            stays, taken = subtract([(part.first, part.count)], first, count)
            kept.extend(part.parts(stays))
            dropped += [(part.task, length) for _, length in taken]
        self.queue = kept
        self.queued -= sum(length for _, length in dropped)
        return dropped

    def holds(self) -> list[Interval]:
        """Every slice that is queued or running, as intervals."""
        parts = [(part.first, part.count) for part in self.queue]
        parts += [interval for run in self.running.values() for interval in run.left]
        return normalise(parts)
