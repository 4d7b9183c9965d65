"""The EvaluatorHost actor: a box's side of the conversation with its supervisor, and the keeper of sandboxes.

It dials in, says what the box has, opens and closes sandboxes as told, and passes the LoadGovernor's
allowance on. What happens inside a sandbox is the business of its `SandboxActor`, which talks with the
supervisor directly.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from loguru import logger

from ..actors.base import Actor, handles
from ..actors.evaluator_api import EvaluatorFactory
from ..actors.sandbox import SandboxActor, SandboxGone, SandboxOrder
from ..actors.sandbox_limits import SandboxLimits
from ..errors import DcpError
from ..protocol import messages
from ..protocol.evaluator_lines import LineError, encode_assign
from ..protocol.messages import Outcome
from ..protocol.switchboard import Address, Delivery, LinkEvent, Switchboard
from .attachment import Act, Attachment, State
from .spares import Spares, Started

SUPERVISOR = Address(b"supervisor", "supervisor")
UPLOADER = Address(b"supervisor", "uploader")
CAPABILITIES = 1 | 64  # V8, KVIN v9
WORKTIMES = (("map-basic", "1.0.0"),)

_MAX_JOBS = 10_000
_LEAVE_S = 3.0  # for killed evaluators to be gone


@dataclass(frozen=True, slots=True)
class Leave:
    """The process -> its host: say goodbye, close everything, end."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Stray:
    target: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class _SpareLost:
    spare: Started


@dataclass(frozen=True, slots=True)
class _Tick:
    due: float


class _Refill:
    """Look whether spares are missing."""


class _TimeUp:
    """Do not wait for evaluators any longer."""


class EvaluatorHost(Actor):
    """supervisor <-> here: hello, heartbeats, jobs, sandboxes; LoadGovernor -> here: Allowance."""

    def __init__(
        self,
        switchboard: Switchboard,
        name: str,
        *,
        hello: messages.HostHello,
        factory: EvaluatorFactory,
        spares: int,
        limits: SandboxLimits,
        living: dict[str, str],
        on_end: Callable[[str], None],
    ) -> None:
        """``living`` is kept up to date, sandbox -> job, for whoever wants to count.

        ``on_end`` is called with the reason when the host has left and nothing of it lives any more.
        """
        super().__init__(switchboard, name)
        self._hello = hello
        self._limits = limits
        self._on_end = on_end
        self._attachment = Attachment()
        self._allowance: messages.Allowance | None = None
        self._jobs: dict[str, bytes | str] = {}  # the line that sets the job up, or why it cannot be
        self._sandboxes = living  # until their processes are gone
        self._spares = Spares(factory, spares, lambda spare: self._note(_SpareLost(spare)))
        self._sequence = 0
        self._leaving = ""
        switchboard.on_stray = lambda target, delivery: self._note(_Stray(target, delivery))

    def on_start(self) -> None:
        self._refill()

    def on_receive(self, message: Any) -> None:
        if isinstance(message, Delivery) and message.sender.peer:
            self._attachment.on_heard(time.monotonic())
        super().on_receive(message)

    def _note(self, message: Any) -> None:
        self.actor_inbox.deliver(Delivery(self.address, "local", message))

    # -- attachment -----------------------------------------------------------------------------------------

    @handles(LinkEvent, local_only=True)
    def on_link_event(self, event: LinkEvent, _delivery: Delivery) -> None:
        """The connection is there, broke, or was refused."""
        if event is LinkEvent.UP:
            self._act(self._attachment.on_up(time.monotonic()))
        elif self._attachment.state is not State.DOWN:
            logger.warning("the connection to the supervisor broke; trying to get it back")
            self._act(self._attachment.on_down())

    @handles(messages.HostWelcome)
    def on_welcome(self, message: messages.HostWelcome, _delivery: Delivery) -> None:
        """The supervisor takes this host."""
        self._act(self._attachment.on_welcome(message, time.monotonic()))

    @handles(messages.HostRefused)
    def on_refused(self, message: messages.HostRefused, _delivery: Delivery) -> None:
        """It does not."""
        self._act(self._attachment.on_refused(message.reason[:500], time.monotonic()))

    @handles(messages.Heartbeat)
    def on_heartbeat(self, _message: messages.Heartbeat, _delivery: Delivery) -> None:
        """Our own, come back: the supervisor lives (every delivery counts as that already)."""

    @handles(_Tick, local_only=True)
    def on_tick(self, message: _Tick, _delivery: Delivery) -> None:
        """Something may be due."""
        if message.due == self._attachment.due:
            self._act(self._attachment.on_time(time.monotonic()))

    def _act(self, acts: list[Act]) -> None:
        if self._attachment.complaint:
            logger.warning("{}", self._attachment.complaint)
            self._attachment.complaint = ""
        for act in acts:
            match act:
                case Act.HELLO:
                    self.tell(SUPERVISOR, self._hello)
                case Act.HEARTBEAT:
                    self._sequence += 1
                    self.tell(SUPERVISOR, messages.Heartbeat(self._hello.host, self._sequence))
                case Act.ATTACH:
                    logger.info("attached to the supervisor")
                    if self._allowance is not None:
                        self.tell(SUPERVISOR, self._allowance)
                case Act.RESET:
                    self._close_all("the supervisor is gone")
                    self._jobs.clear()
        if self._attachment.due is not None:
            self.after(max(0.0, self._attachment.due - time.monotonic()), _Tick(self._attachment.due))

    @handles(messages.Allowance, local_only=True)
    def on_allowance(self, message: messages.Allowance, _delivery: Delivery) -> None:
        """How much may be used has changed."""
        self._allowance = replace(message, host=self._hello.host)
        if self._attachment.state is State.ATTACHED:
            self.tell(SUPERVISOR, self._allowance)

    # -- jobs and sandboxes ---------------------------------------------------------------------------------

    @handles(messages.JobArtifacts)
    def on_artifacts(self, message: messages.JobArtifacts, delivery: Delivery) -> None:
        """Keep what all slices of a job share, ready to be written to its sandboxes."""
        self._jobs[message.job] = assign_line(message, delivery.bodies)
        while len(self._jobs) > _MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]

    @handles(messages.ForgetJob)
    def on_forget(self, message: messages.ForgetJob, _delivery: Delivery) -> None:
        """The job is over."""
        self._jobs.pop(message.job, None)
        for sandbox, job in self._sandboxes.items():
            if job == message.job:
                self._close(sandbox, "the job is over")

    @handles(messages.OpenSandbox)
    def on_open(self, message: messages.OpenSandbox, _delivery: Delivery) -> None:
        """Give the job an evaluator, a spare one if there is one."""
        assign = self._jobs.get(message.job, "this host does not have the job's artifacts")
        sandbox, job = message.sandbox, message.job
        if self._leaving:
            self._closed(sandbox, job, Outcome.CLOSED, self._leaving)
        elif isinstance(assign, str):
            self._closed(sandbox, job, Outcome.ASSIGN_FAILED, assign)
        elif sandbox in self._sandboxes or not 0 < len(sandbox) <= 100:
            self._closed(sandbox, job, Outcome.NOT_STARTED, "a sandbox needs a name of its own")
        else:
            self._open(sandbox, job, assign)

    def _open(self, sandbox: str, job: str, assign: bytes) -> None:
        try:
            started = self._spares.take()
        except DcpError as error:
            logger.error("no evaluator can be started: {}", error)
            self._closed(sandbox, job, Outcome.NOT_STARTED, str(error))
            return
        order = SandboxOrder(self._hello.host, sandbox, job, assign, SUPERVISOR, UPLOADER)
        self._sandboxes[sandbox] = job
        SandboxActor.start(
            self.switchboard,
            f"sandbox/{sandbox}",
            order=order,
            evaluator=started.evaluator,
            feed=started.feed,
            limits=self._limits,
        )
        self._note(_Refill())  # behind whatever else waits: the next sandbox may be wanted now

    def _closed(self, sandbox: str, job: str, outcome: Outcome, detail: str) -> None:
        closed = messages.SandboxClosed(self._hello.host, sandbox, job, outcome, detail[:2000], 0)
        self.tell(SUPERVISOR, closed)

    def _close(self, sandbox: str, reason: str) -> None:
        self.tell(Address(b"", f"sandbox/{sandbox}"), messages.CloseSandbox(reason))

    def _close_all(self, reason: str) -> None:
        for sandbox in self._sandboxes:
            self._close(sandbox, reason)

    @handles(SandboxGone, local_only=True)
    def on_gone(self, message: SandboxGone, _delivery: Delivery) -> None:
        """A sandbox's process is gone."""
        self._sandboxes.pop(message.sandbox, None)
        if self._leaving and not self._sandboxes:
            self._end()

    @handles(_Stray, local_only=True)
    def on_stray(self, message: _Stray, _delivery: Delivery) -> None:
        """A message for an actor that was not there: perhaps it is by now, perhaps it is gone."""
        kind, _, sandbox = message.target.partition("/")
        delivery = message.delivery
        if kind != "sandbox":
            logger.warning("{} came for {!r:.100}", type(delivery.message).__name__, message.target)
        elif sandbox in self._sandboxes:
            self.tell(Address(b"", message.target), delivery.message, *delivery.bodies)
        elif isinstance(delivery.message, messages.Run):
            self._closed(sandbox, delivery.message.job, Outcome.DIED, "there is no such sandbox here")

    @handles(_SpareLost, local_only=True)
    def on_spare_lost(self, message: _SpareLost, _delivery: Delivery) -> None:
        """A spare has ended by itself."""
        self._spares.lost(message.spare)
        self._refill()

    @handles(_Refill, local_only=True)
    def on_refill(self, _message: _Refill, _delivery: Delivery) -> None:
        """Spares may be missing."""
        if not self._leaving:
            self._refill()

    def _refill(self) -> None:
        wait = self._spares.refill()
        if wait is not None:
            self.after(wait, _Refill())

    # -- leaving --------------------------------------------------------------------------------------------

    @handles(messages.StopHost)
    def on_stop_host(self, message: messages.StopHost, _delivery: Delivery) -> None:
        """The supervisor wants this process to end."""
        self._leave(message.reason or "the supervisor stopped this host")

    @handles(Leave, local_only=True)
    def on_leave(self, message: Leave, _delivery: Delivery) -> None:
        """The operator, or the end of the parent process, wants the same."""
        self._leave(message.reason)

    def _leave(self, reason: str) -> None:
        if self._leaving:
            return
        self._leaving = reason
        logger.info("leaving: {}", reason)
        if self._attachment.state is not State.DOWN:
            self.tell(SUPERVISOR, messages.HostLeaving(self._hello.host, reason))
        self._spares.close()
        self._close_all(reason)
        if self._sandboxes:
            self.after(_LEAVE_S, _TimeUp())
        else:
            self._end()

    @handles(_TimeUp, local_only=True)
    def on_time_up(self, _message: _TimeUp, _delivery: Delivery) -> None:
        """Some evaluator does not even die; the end of this process ends it."""
        self._end()

    def _end(self) -> None:
        self._on_end(self._leaving)
        self.stop()


def assign_line(message: messages.JobArtifacts, bodies: tuple[bytes, ...]) -> bytes | str:
    """Give the line that sets a job up in a sandbox, or the reason why this host cannot."""
    if message.worktime not in {name for name, _ in WORKTIMES}:
        return f"this host has no worktime {message.worktime!r:.100}"
    if len(bodies) != 2:
        return "the job's artifacts came without work function and arguments"
    try:
        return encode_assign(
            job=message.job,
            work_function=bodies[0].decode("utf-8", "surrogatepass"),
            arguments=bodies[1],
            name=message.name,
            description=message.description,
            link=message.link,
            worktime=message.worktime,
            use_strict=message.use_strict,
            kvin_version=message.kvin_version,
            input_range=message.input_range,
        )
    except (LineError, UnicodeDecodeError) as error:
        return str(error)
