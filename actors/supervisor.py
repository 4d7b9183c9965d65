"""The Supervisor: tells its planner what happened, and does what the planner says.

It has no rules of its own: the planner decides, and its hands act.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..protocol.dcp import js_json
from ..protocol.messages import (
    DrainOutbox,
    JobEvent,
    OutboxStatus,
    OutcomesAcknowledged,
    OutcomesCommitted,
    RunFinished,
    SandboxClosed,
    SandboxOpened,
    SliceProgress,
    SliceRejected,
    StopHost,
)
from ..protocol.switchboard import Address, Delivery, Switchboard
from . import instructions as do
from .base import handles
from .emitting import Delivered
from .hands import UPLOADER, Hands
from .host_desk import HostDesk
from .local_messages import (
    Answer,
    LinkState,
    NoAnswer,
    OutboxBlocked,
    SetPaused,
    StopWork,
    WorkFetched,
)
from .planning import Planner
from .requests import WorkerFacts, goodbye, notify, status
from .timers import TimerHandle

if TYPE_CHECKING:
    from .scheduler_link import SchedulerLink

NOTIFY_S = 60.0
"""A worker with slices is heard at the scheduler at least this often, however long they take."""
FINISHING = 0.6
"""Which part of the time for stopping the running slices get; the rest is for delivering."""
MAX_EVENT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class _Tick:
    """To itself: the planner wants to hear the time."""


@dataclass(frozen=True, slots=True)
class _Say:
    """To itself: log what was completed since the last time."""


@dataclass(frozen=True, slots=True)
class _Notify:
    """To itself: tell the scheduler that this worker lives."""


@dataclass(frozen=True, slots=True)
class _Abandon:
    """To itself: the running slices have had their time."""


@dataclass(frozen=True, slots=True)
class _Goodbye:
    """To the asker of the last request."""


class Supervisor(HostDesk):
    """Drives the evaluator hosts with work from the scheduler."""

    def __init__(
        self,
        switchboard: Switchboard,
        name: str,
        *,
        planner: Planner,
        link: "SchedulerLink",
        facts: WorkerFacts,
        lost_after_s: float,
        on_done: Callable[[], None],
    ) -> None:
        super().__init__(switchboard, name)
        self._planner = planner
        self._link = link
        self._facts = facts
        self._lost_after_s = lost_after_s
        self._on_done = on_done
        self._hands = Hands(self, planner, link, facts)
        self._link_up = False
        self._outbox_empty = False
        self._tick: TimerHandle | None = None
        self._tick_at = 0.0
        self._completed: Counter[tuple[str, bool]] = Counter()
        self._saying = False
        self._deadline: float | None = None
        self._draining = False

    def on_start(self) -> None:
        """Begin to tell the scheduler regularly that this worker lives."""
        self.after(NOTIFY_S, _Notify())

    # -- sandboxes and runs ------------------------------------------------------------------------

    @handles(SandboxOpened)
    def on_sandbox_opened(self, message: SandboxOpened, delivery: Delivery) -> None:
        """A sandbox takes runs."""
        if self._is_sandbox_from(message.sandbox, delivery):
            self._planner.on_sandbox_opened(time.monotonic(), message.sandbox)
            self._obey()

    @handles(SandboxClosed)
    def on_sandbox_closed(self, message: SandboxClosed, delivery: Delivery) -> None:
        """A sandbox is gone."""
        if not self._is_sandbox_from(message.sandbox, delivery):
            return
        log = logger.bind(job=message.job, host=message.host, slice=message.culprit)
        log.debug("sandbox {} is gone: {} {}", message.sandbox, message.outcome.value, message.detail)
        self._planner.on_sandbox_closed(
            time.monotonic(), message.sandbox, message.outcome, message.detail, message.culprit
        )
        self._obey()

    @handles(RunFinished)
    def on_run_finished(self, message: RunFinished, delivery: Delivery) -> None:
        """A sandbox may have its next run."""
        if self._is_sandbox_from(message.sandbox, delivery):
            cost = message.metrics
            box = self._planner.sandboxes[message.sandbox]
            name = self._planner.hosts[box.host].name
            logger.bind(job=box.job, host=box.host).debug("host {} has finished {} slices", name, cost.slices)
            self._planner.on_run_finished(
                time.monotonic(), message.sandbox, message.run, cost.slices, cost.wall_ms
            )
            self._obey()

    @handles(SliceRejected)
    def on_slice_rejected(self, message: SliceRejected, delivery: Delivery) -> None:
        """A work function refused its slice."""
        if self._is_sandbox_from(message.sandbox, delivery):
            self._planner.on_slice_rejected(
                time.monotonic(), message.job, message.run, message.slice, message.reason, message.retries
            )
            self._obey()

    @handles(SliceProgress)
    def on_slice_progress(self, message: SliceProgress, delivery: Delivery) -> None:
        """How far a slice is."""
        if self._is_sandbox_from(message.sandbox, delivery):
            logger.bind(job=message.job, slice=message.slice).trace(
                "slice {} of job {}: {:.0%}", message.slice, message.job, message.progress
            )

    @handles(JobEvent)
    def on_job_event(self, message: JobEvent, delivery: Delivery) -> None:
        """Console output or an event for the job's owner."""
        if not self._is_sandbox_from(message.sandbox, delivery) or message.event not in ("console", "custom"):
            return
        if len(delivery.bodies) != 1 or len(delivery.bodies[0]) > MAX_EVENT_BYTES:
            return
        try:
            payload = js_json.loads(delivery.bodies[0])
        except js_json.JsJsonError as error:
            logger.bind(job=message.job).debug("an event of job {} is dropped: {}", message.job, error)
            return
        self._hands.emit(message.job, message.slice, message.event, payload, len(delivery.bodies[0]))

    # -- outcomes ----------------------------------------------------------------------------------

    @handles(OutcomesCommitted, local_only=True)
    def on_outcomes_committed(self, message: OutcomesCommitted, _delivery: Delivery) -> None:
        """Slices are finished."""
        self._planner.on_outcomes_committed(
            time.monotonic(), message.job, message.run, message.first, message.count
        )
        self._completed[message.job, message.failed] += message.count
        if not self._saying:
            self._saying = True
            self.after(1.0, _Say())
        self._obey()

    @handles(_Say, local_only=True)
    def on_say(self, _message: _Say, _delivery: Delivery) -> None:
        """One line a second and job, not one a slice."""
        self._saying = False
        for (job, failed), count in self._completed.items():
            what = "slices threw" if failed else "slices completed"
            logger.bind(job=job).info("{} {} of job {}", count, what, job)
        self._completed.clear()

    @handles(OutcomesAcknowledged, local_only=True)
    def on_outcomes_acknowledged(self, _message: OutcomesAcknowledged, _delivery: Delivery) -> None:
        """The scheduler has taken outcomes; the uploader has logged it."""

    @handles(OutboxStatus, local_only=True)
    def on_outbox_status(self, message: OutboxStatus, _delivery: Delivery) -> None:
        """What waits for delivery. The first time that it is nothing, work may be fetched."""
        self._outbox_empty = message.slices == 0
        if self._draining:
            self._say_goodbye(message)
        self._maybe_fetch()

    @handles(OutboxBlocked, local_only=True)
    def on_outbox_blocked(self, message: OutboxBlocked, _delivery: Delivery) -> None:
        """Whether outcomes can be kept."""
        self._planner.on_outbox(time.monotonic(), blocked=bool(message.reason))
        self._obey()

    # -- work --------------------------------------------------------------------------------------

    @handles(LinkState, local_only=True)
    def on_link_state(self, message: LinkState, _delivery: Delivery) -> None:
        """The scheduler was found, or not."""
        self._link_up = message.up
        self._hands.bulk = message.bulk
        self._maybe_fetch()

    def _maybe_fetch(self) -> None:
        if self._link_up and self._outbox_empty and not self._planner.fetching.open:
            self._planner.on_ready_to_fetch(time.monotonic())
            self._obey()

    @handles(WorkFetched, local_only=True)
    def on_work(self, work: WorkFetched, _delivery: Delivery) -> None:
        """The scheduler's answer to a request for work."""
        self._hands.take_in(work)
        self._planner.on_work(time.monotonic(), work.arrivals, random.random())
        self._obey()

    @handles(NoAnswer, local_only=True)
    def on_no_answer(self, message: NoAnswer, _delivery: Delivery) -> None:
        """A request failed."""
        if self._is_settled(message.ticket):
            return
        if isinstance(message.ticket, do.RequestWork):
            if not self._planner.stopping:
                logger.warning("no work: {}", message.message)
            self._planner.on_request_failed(time.monotonic(), random.random())
            self._obey()

    @handles(Answer, local_only=True)
    def on_answer(self, message: Answer, _delivery: Delivery) -> None:
        """A request was answered."""
        self._is_settled(message.ticket)

    def _is_settled(self, ticket: object) -> bool:
        """Requests for which it is enough that they are over: the last one of all, and events."""
        if isinstance(ticket, _Goodbye):
            self._on_done()
        elif isinstance(ticket, Delivered):
            self._hands.emitted(ticket.job)
        else:
            return False
        return True

    # -- time --------------------------------------------------------------------------------------

    @handles(_Tick, local_only=True)
    def on_tick(self, _message: _Tick, _delivery: Delivery) -> None:
        """Tell the planner the time."""
        self._tick = None
        self._planner.on_tick(time.monotonic())
        self._obey()

    @handles(_Notify, local_only=True)
    def on_notify(self, _message: _Notify, _delivery: Delivery) -> None:
        """Keep the leases of slices that take long."""
        self.after(NOTIFY_S, _Notify())
        held = {job.job: job.holds() for job in self._planner.jobs.values() if job.tasks}
        if held and self._hands.bulk:
            self._link.request(
                "resultSubmitter", "status", status(self._facts.worker, [], bulk=True), to="", ticket=None
            )
        elif held:
            self._link.request(
                "taskDistributor", "requestTask@3", notify(self._facts, held), to="", ticket=None
            )

    # -- stopping ----------------------------------------------------------------------------------

    @handles(SetPaused, local_only=True)
    def on_set_paused(self, message: SetPaused, _delivery: Delivery) -> None:
        """Pause or go on."""
        self._planner.on_paused(time.monotonic(), paused=message.paused)
        self._obey()

    @handles(StopWork, local_only=True)
    def on_stop_work(self, message: StopWork, _delivery: Delivery) -> None:
        """Return what waits, let what runs finish for a while, deliver, say goodbye."""
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + message.deadline_s
        logger.info("stopping: running slices get {:.0f} s to finish", message.deadline_s * FINISHING)
        self.after(message.deadline_s * FINISHING, _Abandon())
        self._planner.on_stop(time.monotonic())
        self._obey()

    @handles(_Abandon, local_only=True)
    def on_abandon(self, _message: _Abandon, _delivery: Delivery) -> None:
        """Give back what still runs, and deliver whatever is there."""
        if not self._draining:
            self._planner.on_abandon(time.monotonic())
            self._obey()
            self._drain()

    def _drain(self) -> None:
        if self._draining or self._deadline is None:
            return
        self._draining = True
        self.tell(UPLOADER, DrainOutbox(max(0.5, self._deadline - time.monotonic() - 3.0)))

    def _say_goodbye(self, left: OutboxStatus) -> None:
        if left.slices:
            logger.warning("{} finished slices could not be delivered; the next start does it", left.slices)
        for host, peer in self._hands.peers.items():
            if host in self._planner.hosts:
                self.tell(Address(peer, "host"), StopHost("the worker ends"))
        if not self._link_up:
            self._on_done()
            return

        async def build(_dcpsid: str) -> dict[str, Any]:
            return goodbye(self._facts, await self._link.seal({"id": self._facts.worker}))

        self._link.request_built(
            "taskDistributor", "requestTask@3", build, to=self.name, ticket=_Goodbye(), timeout=2.0
        )

    # -- doing what the planner says ---------------------------------------------------------------

    def _obey(self) -> None:
        for order in self._planner.take():
            self._hands.carry_out(order)
        self._hands.forget_hosts()
        if self._planner.stopping and self._planner.at_rest:
            self._drain()
        self._set_tick()

    def _set_tick(self) -> None:
        now = time.monotonic()
        due = self._planner.next_tick(now)
        if due is None or (self._tick is not None and self._tick_at <= due):
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick_at = max(due, now + 0.01)
        self._tick = self.after(self._tick_at - now, _Tick())
