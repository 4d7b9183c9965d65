"""The life of one sandbox as a plain state machine: what happens goes in, instructions come out.

No socket, no process and no clock in here: the caller gives the time (seconds, monotonic) and carries the
instructions out, in order.

    STARTING --ready--> ASSIGNING --assigned--> OPEN --(verdict)--> ENDING --(process gone)--> GONE

The job and its runs may be written as soon as the process exists; they wait in its pipe. A *verdict* is the
reason why the sandbox has to end. The evaluator is killed then, nothing it still says counts, and
`SandboxClosed` is sent when its process is gone. A process that ends by itself gets its verdict from how it
ended.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from ..protocol import evaluator_lines as lines
from ..protocol import messages
from ..protocol.dcp.values import ValuesError, nodes_of
from ..protocol.messages import Metrics, Outcome
from .sandbox_limits import EventBudget, SandboxLimits


class Phase(Enum):
    """Where a sandbox is in its life."""

    STARTING = "starting"  # the evaluator loads its environment
    ASSIGNING = "assigning"  # the job is being set up
    OPEN = "open"  # runs are computed
    ENDING = "ending"  # the evaluator is being killed
    GONE = "gone"  # its process has ended


@dataclass(frozen=True, slots=True)
class Write:
    """Write these bytes to the evaluator."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the evaluator."""

    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to an actor of the supervisor's process."""

    actor: str  # "supervisor" or "uploader"
    message: object
    bodies: tuple[bytes, ...] = ()


Instruction = Write | Kill | Send
_NOTHING: Sequence[Instruction] = ()


@dataclass(slots=True)
class _Run:
    number: int
    task: str
    first: int
    end: int  # one past the last slice
    next: int  # the first slice without an outcome
    slices: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    gpu_ms: float = 0.0
    in_bytes: int = 0
    out_bytes: int = 0

    def add(self, count: int, cost: lines.Cost) -> Metrics:
        self.next += count
        self.slices += count
        self.wall_ms += cost.wall_ms
        self.cpu_ms += cost.cpu_ms
        self.gpu_ms += cost.gpu_ms
        self.in_bytes += cost.in_bytes
        self.out_bytes += cost.out_bytes
        return Metrics(count, cost.wall_ms, cost.cpu_ms, cost.gpu_ms, cost.in_bytes, cost.out_bytes)

    def total(self) -> Metrics:
        return Metrics(self.slices, self.wall_ms, self.cpu_ms, self.gpu_ms, self.in_bytes, self.out_bytes)


class _Nonsense(Exception):
    """The sandbox said something that cannot be."""


def check_values(body: bytes, count: int) -> None:
    """Refuse what is no values body of so many slices, before it can get between other people's results.

    The values themselves stay opaque; only the outer shape is read. Raises ValuesError.
    """
    nodes_of(body, expected=count)


class SandboxState:
    """What is known about one sandbox. Each ``on_...`` gives the instructions to carry out."""

    def __init__(
        self,
        host: str,
        sandbox: str,
        job: str,
        limits: SandboxLimits,
        now: float,
        check: Callable[[bytes, int], None] = check_values,
    ) -> None:
        self.host = host
        self.sandbox = sandbox
        self.job = job
        self.phase = Phase.STARTING
        self.verdict: Kill | None = None
        self.culprit = 0
        self.deadline: float | None = now + limits.start_timeout_s
        self._limits = limits
        self._check = check
        self._runs: deque[_Run] = deque()
        self._events = EventBudget(limits, now)
        self._progress_at = -1.0e9
        self._last_words = ""

    # -- from the supervisor --------------------------------------------------------------------------------

    def on_run(self, message: messages.Run, values: bytes | None, now: float) -> Sequence[Instruction]:
        """A run is to be computed after those that wait. ``values`` is None when slices are numbers."""
        if self._over:
            return _NOTHING
        if message.job != self.job or message.count < 1 or message.first < 1:
            return self._end(Outcome.PROTOCOL, f"run {message.run} does not fit this sandbox")
        try:
            data = lines.encode_run(message.run, message.first, message.count, values)
        except lines.LineError as error:
            return self._end(Outcome.PROTOCOL, str(error))
        end = message.first + message.count
        self._runs.append(_Run(message.run, message.task, message.first, end, message.first))
        if self.phase is Phase.OPEN and len(self._runs) == 1:
            self._heard(now)
        return (Write(data),)

    def on_close(self, reason: str) -> Sequence[Instruction]:
        """The supervisor, or the host, wants it to end."""
        return _NOTHING if self._over else self._end(Outcome.CLOSED, reason)

    # -- from the clock -------------------------------------------------------------------------------------

    def on_time(self, now: float) -> Sequence[Instruction]:
        """To be called when ``deadline`` has come (earlier is harmless)."""
        if self._over or self.deadline is None or now < self.deadline:
            return _NOTHING
        if self.phase is not Phase.OPEN:
            seconds = self._limits.start_timeout_s
            return self._end(Outcome.NOT_STARTED, f"it was not ready for its job within {seconds:g} s")
        seconds = self._limits.progress_timeout_s
        slice_number = self._runs[0].next if self._runs else 0
        return self._end(Outcome.NO_PROGRESS, f"slice {slice_number} was silent for {seconds:g} s")

    # -- from the evaluator ---------------------------------------------------------------------------------

    def on_line(self, line: lines.Line, now: float) -> Sequence[Instruction]:
        """The evaluator has said something."""
        if self._over:
            return _NOTHING
        try:
            instructions = self._handle(line, now)
        except _Nonsense as error:
            return self._end(Outcome.PROTOCOL, f"{type(line).__name__}: {error}")
        if not self._over:
            self._heard(now)
        return instructions

    def on_nonsense(self, error: lines.LineError) -> Sequence[Instruction]:
        """The evaluator has written something that is no line."""
        return _NOTHING if self._over else self._end(Outcome.PROTOCOL, str(error))

    def on_stuffed(self, detail: str) -> Sequence[Instruction]:
        """The evaluator does not take what is written to it."""
        return _NOTHING if self._over else self._end(Outcome.DIED, detail)

    def on_ended(self, cause: str, detail: str) -> Sequence[Instruction]:
        """The process is gone; ``cause`` as in `EvaluatorEnd`, or "unstarted"."""
        if self.phase is Phase.GONE:
            return _NOTHING
        if self.verdict is None:
            outcome = _OUTCOMES.get(cause, Outcome.DIED)
            self._end(outcome, f"{detail} {self._last_words}".strip())
        assert self.verdict is not None
        self.phase = Phase.GONE
        verdict = self.verdict
        closed = messages.SandboxClosed(
            self.host, self.sandbox, self.job, verdict.outcome, verdict.detail[:2000], self.culprit
        )
        return (Send("supervisor", closed),)

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self.phase in (Phase.ENDING, Phase.GONE)

    def _heard(self, now: float) -> None:
        """A sign of life. Silence counts only while slices are in flight."""
        if self.phase is Phase.OPEN:
            self.deadline = now + self._limits.progress_timeout_s if self._runs else None

    def _end(self, outcome: Outcome, detail: str, *, innocent: bool = False) -> Sequence[Instruction]:
        self.phase = Phase.ENDING
        self.deadline = None
        self.culprit = self._runs[0].next if self._runs and not innocent else 0
        if self._runs and self.culprit >= self._runs[0].end:  # between its last outcome and "finished"
            self.culprit = 0
        self.verdict = Kill(outcome, detail)
        return (self.verdict,)

    def _handle(self, line: lines.Line, now: float) -> Sequence[Instruction]:
        match line:
            case lines.ResultsLine():
                return self._on_results(line)
            case lines.FinishedLine():
                return self._on_finished(line)
            case lines.FailedLine():
                return self._on_failed(line)
            case lines.ProgressLine():
                return self._on_progress(line, now)
            case lines.EventLine():
                return self._on_event(line, now)
            case lines.RejectedLine():
                return self._on_rejected(line)
            case lines.Ready():
                self._expect(Phase.STARTING)
                self.phase = Phase.ASSIGNING
                return _NOTHING
            case lines.Assigned():
                self._expect(Phase.ASSIGNING)
                self.phase = Phase.OPEN
                return (Send("supervisor", messages.SandboxOpened(self.host, self.sandbox, self.job)),)
            case lines.AssignFailed():
                self._expect(Phase.ASSIGNING)
                return self._end(Outcome.ASSIGN_FAILED, f"{line.name}: {line.message}", innocent=True)
            case lines.DieLine():
                self._last_words = line.text[:500]
                return _NOTHING
            case lines.LogLine():
                return self._spend(now, len(line.text))

    def _expect(self, phase: Phase) -> None:
        if self.phase is not phase:
            raise _Nonsense(f"it comes while the sandbox is {self.phase.value}")

    def _current(self, number: int, first: int, count: int = 1) -> _Run:
        self._expect(Phase.OPEN)
        run = self._runs[0] if self._runs else None
        if run is None or run.number != number:
            raise _Nonsense(f"it is about run {number}, which is not being computed")
        if first != run.next or first + count > run.end:
            raise _Nonsense(f"it is about slices {first}+{count} of run {number}, whose turn it is not")
        return run

    def _on_results(self, line: lines.ResultsLine) -> Sequence[Instruction]:
        run = self._current(line.run, line.first, line.count)
        self._checked(line.body, line.count)
        metrics = run.add(line.count, line.cost)
        results = messages.Results(
            self.host, self.sandbox, run.number, run.task, self.job, line.first, line.count, metrics
        )
        return (Send("uploader", results, (line.body,)),)

    def _on_failed(self, line: lines.FailedLine) -> Sequence[Instruction]:
        run = self._current(line.run, line.slice)
        self._checked(b"[%b]" % line.body, 1)
        metrics = run.add(1, line.cost)
        text = " ".join(line.message.split())[:500]
        failed = messages.SliceFailed(
            self.host, self.sandbox, run.number, run.task, self.job, line.slice, text, metrics
        )
        return (Send("uploader", failed, (line.body,)),)

    def _checked(self, body: bytes, count: int) -> None:
        try:
            self._check(body, count)
        except ValuesError as error:
            raise _Nonsense(str(error)) from None

    def _on_rejected(self, line: lines.RejectedLine) -> Sequence[Instruction]:
        run = self._current(line.run, line.slice)
        reason = line.reason[:1000]
        rejected = messages.SliceRejected(
            self.sandbox, run.number, self.job, line.slice, reason, line.retries
        )
        # the sandbox has ended itself with this, and nobody is to blame
        end = self._end(Outcome.CLOSED, f"the work function rejected slice {line.slice}", innocent=True)
        return (Send("supervisor", rejected), *end)

    def _on_finished(self, line: lines.FinishedLine) -> Sequence[Instruction]:
        self._expect(Phase.OPEN)
        run = self._runs[0] if self._runs else None
        if run is None or run.number != line.run or run.next != run.end:
            raise _Nonsense(f"run {line.run} is not finished")
        self._runs.popleft()
        return (Send("supervisor", messages.RunFinished(self.sandbox, run.number, run.total())),)

    def _on_progress(self, line: lines.ProgressLine, now: float) -> Sequence[Instruction]:
        run = self._runs[0] if self._runs else None
        if run is None or run.number != line.run or not run.next <= line.slice < run.end:
            raise _Nonsense("it is about a slice that is not being computed")
        if now - self._progress_at < self._limits.progress_every_s:
            return self._spend(now, 0)
        self._progress_at = now
        progress = messages.SliceProgress(self.sandbox, self.job, line.slice, line.progress)
        return (Send("supervisor", progress),)

    def _on_event(self, line: lines.EventLine, now: float) -> Sequence[Instruction]:
        run = self._runs[0] if self._runs else None
        if line.slice and (run is None or not run.next <= line.slice < run.end):
            raise _Nonsense("it is about a slice that is not being computed")
        if len(line.body) > self._limits.event_bytes or not self._events.take(len(line.body), now):
            return self._spend(now, len(line.body))
        event = messages.JobEvent(self.sandbox, self.job, line.slice, line.event)
        return (Send("supervisor", event, (line.body,)),)

    def _spend(self, now: float, size: int) -> Sequence[Instruction]:
        """Account for chatter that goes nowhere; too much of it ends the sandbox."""
        if self._events.waste(size, now):
            return _NOTHING
        return self._end(Outcome.FLOODED, "it wrote far more console output and events than is allowed")


_OUTCOMES = {
    "memory": Outcome.OUT_OF_MEMORY,
    "flood": Outcome.FLOODED,
    "unstarted": Outcome.NOT_STARTED,
}
