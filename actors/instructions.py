"""What planning tells the supervisor to do.

The supervisor does it; nothing here touches a socket, a clock or a disk.
"""

from dataclasses import dataclass

from ..protocol.intervals import Interval
from .records import Stretch


@dataclass(frozen=True, slots=True)
class SendJob:
    """Give the host the job's artifacts; always before the first OpenSandbox of the job there."""

    host: str
    job: str


@dataclass(frozen=True, slots=True)
class Open:
    """Open a sandbox for the job on the host."""

    host: str
    sandbox: str
    job: str


@dataclass(frozen=True, slots=True)
class Deal:
    """Send a run to a sandbox."""

    host: str
    sandbox: str
    run: int
    job: str
    stretch: Stretch


@dataclass(frozen=True, slots=True)
class Close:
    """End a sandbox now."""

    host: str
    sandbox: str
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The job is over on this host; its artifacts may go."""

    host: str
    job: str


@dataclass(frozen=True, slots=True)
class DropJob:
    """The job is over here: no slice is left and no sandbox. The supervisor may drop what it keeps of it."""

    job: str


@dataclass(frozen=True, slots=True)
class CloseTask:
    """Every slice of this authorisation is committed or returned."""

    task: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Nothing of the job is queued or computed here any more: what is finished need not wait for more."""

    job: str


@dataclass(frozen=True, slots=True)
class Return:
    """Give slices back to the scheduler."""

    job: str
    task: str
    slices: tuple[Interval, ...]
    code: str  # "" when the worker simply has too many or stops
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the job's owner what is wrong with the job or a slice of it."""

    job: str
    slice: int  # 0 when it is about the whole job
    event: str  # "error" or "noProgress"
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RequestWork:
    """Ask the scheduler for work."""

    cpu: float  # cores that will be free, fractions count
    slices: int  # at most so many
    start_up: bool  # the first request of this life: let the scheduler take back what an earlier life held


Instruction = (
    SendJob | Open | Deal | Close | Forget | DropJob | CloseTask | Deliver | Return | Report | RequestWork
)
