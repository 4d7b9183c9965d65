"""The SandboxActor: owns one evaluator for one job, from its first line to the end of its process.

Its decisions are `SandboxState`; here they meet the mailbox, the evaluator's pipe and the timers. What
comes from the evaluator arrives as messages to this actor, so everything happens on its one thread, in order.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from loguru import logger

from ..errors import DcpError
from ..protocol import evaluator_lines, messages
from ..protocol.switchboard import Address, Delivery, Switchboard
from .base import Actor, handles
from .evaluator_api import Ended, Evaluator, Feed
from .sandbox_limits import SandboxLimits
from .sandbox_state import Instruction, Kill, SandboxState, Send, Write
from .timers import TimerHandle


@dataclass(frozen=True, slots=True)
class SandboxGone:
    """sandbox actor -> its host: the evaluator's process is gone and this actor ends."""

    sandbox: str


@dataclass(frozen=True, slots=True)
class SandboxOrder:
    """What a sandbox actor is started with."""

    host: str  # id of the host
    sandbox: str  # id that the supervisor gave it
    job: str
    assign: bytes  # the line that sets the job up
    supervisor: Address
    uploader: Address


@dataclass(frozen=True, slots=True)
class _Lines:
    lines: list[bytes]


@dataclass(frozen=True, slots=True)
class _Ended:
    end: Ended


class _Tick:
    """Time to look at the deadline."""


class SandboxActor(Actor):
    """supervisor -> here: Run, CloseSandbox.

    Here -> uploader: Results, SliceFailed; -> supervisor: the rest.
    """

    def __init__(
        self,
        switchboard: Switchboard,
        name: str,
        *,
        order: SandboxOrder,
        evaluator: Evaluator,
        feed: Feed,
        limits: SandboxLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(switchboard, name)
        self._order = order
        self._evaluator = evaluator
        self._feed = feed
        self._clock = clock
        self._reader = evaluator_lines.LineReader()
        self._state = SandboxState(order.host, order.sandbox, order.job, limits, clock())
        self._to = {"supervisor": order.supervisor, "uploader": order.uploader}
        self._timer: TimerHandle | None = None
        self._timer_due = 0.0
        self._log = logger.bind(sandbox=order.sandbox, job=order.job)

    def on_start(self) -> None:
        self._carry_out((Write(self._order.assign),))
        self._feed.listen(self)
        self._arm()

    # -- listener of the evaluator, on the thread of the pipes ----------------------------------------------

    def lines(self, lines: list[bytes]) -> None:
        """What the evaluator says becomes a message."""
        self.actor_inbox.deliver(Delivery(self.address, "local", _Lines(lines)))

    def ended(self, end: Ended) -> None:
        """So does its end."""
        self.actor_inbox.deliver(Delivery(self.address, "local", _Ended(end)))

    # -- messages -------------------------------------------------------------------------------------------

    @handles(messages.Run)
    def on_run(self, message: messages.Run, delivery: Delivery) -> None:
        """Compute these slices."""
        values = delivery.bodies[0] if delivery.bodies else None
        self._carry_out(self._state.on_run(message, values, self._clock()))

    @handles(messages.CloseSandbox)
    def on_close(self, message: messages.CloseSandbox, _delivery: Delivery) -> None:
        """End now."""
        self._carry_out(self._state.on_close(message.reason))

    @handles(_Lines)
    def on_lines(self, message: _Lines, _delivery: Delivery) -> None:
        """The evaluator has said something."""
        if self._state.verdict is not None:
            return
        try:
            for line in self._reader.read(message.lines):
                self._carry_out(self._state.on_line(line, self._clock()))
                if isinstance(line, evaluator_lines.LogLine | evaluator_lines.DieLine):
                    self._log.debug("evaluator: {}", line.text[:500])
                if self._state.verdict is not None:
                    return
        except evaluator_lines.LineError as error:
            self._carry_out(self._state.on_nonsense(error))

    @handles(_Ended)
    def on_ended(self, message: _Ended, _delivery: Delivery) -> None:
        """The process is gone, and with it the reason to live."""
        self._carry_out(self._state.on_ended(message.end.cause, message.end.detail))
        verdict = self._state.verdict
        if verdict is not None:
            words = f" ({message.end.words})" if message.end.words else ""
            self._log.info("sandbox closed, {}: {}{}", verdict.outcome.value, verdict.detail, words)
        self.tell(Address(b"", "host"), SandboxGone(self._order.sandbox))
        self.stop()

    @handles(_Tick)
    def on_tick(self, _message: _Tick, _delivery: Delivery) -> None:
        """Perhaps the deadline has come."""
        self._timer = None
        self._carry_out(self._state.on_time(self._clock()))

    # -- doing ----------------------------------------------------------------------------------------------

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send(actor, message, bodies):
                    self.tell(self._to[actor], message, *bodies)
                case Write(data):
                    try:
                        self._evaluator.write(data)
                    except DcpError as error:
                        self._carry_out(self._state.on_stuffed(str(error)))
                case Kill(outcome, detail):
                    self._evaluator.kill("closed", f"{outcome.value}: {detail}")
        self._arm()

    def _arm(self) -> None:
        """Have one timer, due no later than the deadline; it looks again when that has moved on."""
        deadline = self._state.deadline
        if deadline is None or (self._timer is not None and self._timer_due <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = deadline
        self._timer = self.after(max(0.0, deadline - self._clock()) + 0.001, _Tick())

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """A defect of ours in one sandbox ends that sandbox, and nobody else."""
        del exception_type, traceback
        detail = f"a defect of the evaluator host: {exception_value!r}"
        self._evaluator.kill("closed", detail)
        instructions: Sequence[Any] = self._state.on_ended("defect", detail)
        for instruction in instructions:
            self.tell(self._to[instruction.actor], instruction.message)
        self.tell(Address(b"", "host"), SandboxGone(self._order.sandbox))
