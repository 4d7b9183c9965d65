"""The Supervisor: tells its planner what happened, and does what the planner says.

It has no rules of its own. What it keeps beside the planner are things to send: where each host is, the
artifacts of jobs, and the authorisations under which slices came.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loguru import logger

from ..protocol.dcp import js_json
from ..protocol.messages import (
    PROTOCOL_VERSION,
    Allowance,
    CloseSandbox,
    DrainOutbox,
    ForgetJob,
    Heartbeat,
    HostHello,
    HostLeaving,
    HostRefused,
    HostWelcome,
    JobEvent,
    OpenSandbox,
    OutboxStatus,
    OutcomesAcknowledged,
    OutcomesCommitted,
    Run,
    RunFinished,
    SandboxClosed,
    SandboxOpened,
    SliceProgress,
    SliceRejected,
    StopHost,
    TaskAccepted,
    TaskClosed,
)
from ..protocol.switchboard import Address, Delivery, Switchboard
from . import instructions as do
from .base import Actor, handles
from .intervals import count_of
from .local_messages import (
    FetchedTask,
    LinkState,
    LoadedJob,
    NoAnswer,
    OutboxBlocked,
    PeerGone,
    SetPaused,
    StopWork,
    WorkFetched,
)
from .planning import Planner
from .requests import Capacity, StatusEntry, WorkerFacts, goodbye, notify, request_work, status, work_emit
from .scheduler_link import SchedulerLink
from .timers import TimerHandle

UPLOADER = Address(b"", "uploader")
HEARTBEAT_S = 5.0
WAIT_MS = 30_000
"""How long the scheduler may hold a request until there is work."""
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


class Supervisor(Actor):
    """Drives the evaluator hosts with work from the scheduler."""

    def __init__(
        self,
        switchboard: Switchboard,
        name: str,
        *,
        planner: Planner,
        link: SchedulerLink,
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
        self._peers: dict[str, bytes] = {}  # where each host is
        self._jobs: dict[str, LoadedJob] = {}
        self._tasks: dict[str, FetchedTask] = {}
        self._job_tasks: dict[str, str] = {}  # the newest task of each job, to speak to its owner with
        self._link_up = False
        self._bulk = False
        self._outbox_empty = False
        self._sequence = 0
        self._tick: TimerHandle | None = None
        self._tick_at = 0.0
        self._completed: Counter[tuple[str, bool]] = Counter()
        self._saying = False
        self._deadline: float | None = None
        self._draining = False

    def on_start(self) -> None:
        """Begin to tell the scheduler regularly that this worker lives."""
        self.after(NOTIFY_S, _Notify())

    # -- hosts -------------------------------------------------------------------------------------

    @handles(HostHello)
    def on_hello(self, message: HostHello, delivery: Delivery) -> None:
        """A host attaches, or is back after its link broke."""
        if message.version != PROTOCOL_VERSION:
            ours = f"this supervisor speaks version {PROTOCOL_VERSION}, the host version {message.version}"
            delivery.reply(HostRefused(f"{ours}; install the same release on both"))
            return
        self._peers[message.host] = delivery.sender.peer
        logger.bind(host=message.host).info("host {} attached: {} cores", message.name, message.cores)
        self.tell(delivery.sender, HostWelcome(PROTOCOL_VERSION, HEARTBEAT_S, self._lost_after_s))
        self._planner.on_host_attached(time.monotonic(), message)
        self._obey()

    @handles(Heartbeat)
    def on_heartbeat(self, message: Heartbeat, delivery: Delivery) -> None:
        """A host lives; so do we."""
        if self._is_from(message.host, delivery):
            delivery.reply(message)

    @handles(Allowance)
    def on_allowance(self, message: Allowance, delivery: Delivery) -> None:
        """How much of a host may be used now."""
        if self._is_from(message.host, delivery):
            what = "host {} allows {} cores, {} sandboxes: {}"
            logger.bind(host=message.host).debug(
                what, message.host, message.cpu, message.sandboxes, message.reason
            )
            self._planner.on_allowance(time.monotonic(), message.host, message.cpu, message.sandboxes)
            self._obey()

    @handles(HostLeaving)
    def on_host_leaving(self, message: HostLeaving, delivery: Delivery) -> None:
        """A host says goodbye."""
        if self._is_from(message.host, delivery):
            logger.bind(host=message.host).info("host {} leaves: {}", message.host, message.reason)
            self._planner.on_host_left(time.monotonic(), message.host)
            self._obey()

    @handles(PeerGone, local_only=True)
    def on_peer_gone(self, message: PeerGone, _delivery: Delivery) -> None:
        """A connection has ended: the host that was behind it starts over when it comes back."""
        for host in [host for host, peer in self._peers.items() if peer == message.peer]:
            if host in self._planner.hosts:
                logger.bind(host=host).warning("the connection of host {} has ended", host)
                self._planner.on_host_left(time.monotonic(), host)
        self._obey()

    def _is_from(self, host: str, delivery: Delivery) -> bool:
        """Whether a message comes from the host that it names; any such message is a sign of life."""
        if host not in self._planner.hosts:
            return False  # it was given up; as nobody answers, it says hello again
        if self._peers.get(host) != delivery.sender.peer:
            logger.debug("a message in the name of host {} came from somebody else", host)
            return False
        self._planner.on_heard(time.monotonic(), host)
        return True

    def _is_sandbox_from(self, sandbox: str, delivery: Delivery) -> bool:
        box = self._planner.sandboxes.get(sandbox)
        return box is not None and self._is_from(box.host, delivery)

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
        self._emit(message.job, message.slice, message.event, payload)

    def _emit(self, job: str, number: int, event: str, payload: Any) -> None:
        task = self._tasks.get(self._job_tasks.get(job, ""))
        if task is not None:
            data = work_emit(self._facts.worker, job, number, event, payload, task.authorisation)
            self._link.request("eventRouter", "workEmit", data, to="", ticket=None)

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
        self._bulk = message.bulk
        self._maybe_fetch()

    def _maybe_fetch(self) -> None:
        if self._link_up and self._outbox_empty and not self._planner.fetching.open:
            self._planner.on_ready_to_fetch(time.monotonic())
            self._obey()

    @handles(WorkFetched, local_only=True)
    def on_work(self, work: WorkFetched, _delivery: Delivery) -> None:
        """The scheduler's answer to a request for work."""
        self._jobs.update({loaded.artifacts.job: loaded for loaded in work.jobs})
        versions = {loaded.artifacts.job: loaded.artifacts.kvin_version for loaded in work.jobs}
        unusable = {one.task for one in work.unusable}
        for task in work.tasks:
            self._tasks[task.task] = task
            self._job_tasks[task.job] = task.task
            if task.task not in unusable:
                kvin = versions[task.job].encode()
                self.tell(UPLOADER, TaskAccepted(task.task, task.job), task.authorisation, kvin)
        for arrival in work.arrivals:
            slices = sum(stretch.count for stretch in arrival.stretches)
            logger.bind(job=arrival.job).info("fetched {} slices of job {}", slices, arrival.job)
        for one in work.unusable:
            self._return(do.Return(one.job, one.task, one.slices, one.code, one.reason))
            self._report(do.Report(one.job, 0, "error", one.code, one.reason))
            self._tasks.pop(one.task, None)
        self._planner.on_work(time.monotonic(), work.arrivals, random.random())
        self._obey()

    @handles(NoAnswer, local_only=True)
    def on_no_answer(self, message: NoAnswer, _delivery: Delivery) -> None:
        """A request failed."""
        if isinstance(message.ticket, _Goodbye):
            self._on_done()
            return
        if isinstance(message.ticket, do.RequestWork):
            if not self._planner.stopping:
                logger.warning("no work: {}", message.message)
            self._planner.on_request_failed(time.monotonic(), random.random())
            self._obey()

    def on_unknown(self, delivery: Delivery) -> None:
        """The answer to the last request ends the work; other answers need no action."""
        if isinstance(getattr(delivery.message, "ticket", None), _Goodbye):
            self._on_done()

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
        if held and self._bulk:
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
        for host, peer in self._peers.items():
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
            match order:
                case do.Deal():
                    self._deal(order)
                case do.SendJob(host, job):
                    loaded = self._jobs[job]
                    self.tell(self._host(host), loaded.artifacts, loaded.source, loaded.arguments)
                case do.Open(host, sandbox, job):
                    self.tell(self._host(host), OpenSandbox(sandbox, job))
                case do.Close(host, sandbox, reason):
                    self.tell(self._sandbox(host, sandbox), CloseSandbox(reason))
                case do.Forget(host, job):
                    self.tell(self._host(host), ForgetJob(job))
                case do.DropJob(job):
                    self._jobs.pop(job, None)
                    self._job_tasks.pop(job, None)
                case do.CloseTask(task):
                    self._tasks.pop(task, None)
                    self.tell(UPLOADER, TaskClosed(task))
                case do.Return():
                    self._return(order)
                case do.Report():
                    self._report(order)
                case do.RequestWork():
                    self._request(order)
        if len(self._peers) > len(self._planner.hosts):
            self._peers = {host: self._peers[host] for host in self._planner.hosts}
        if self._planner.stopping and self._planner.at_rest:
            self._drain()
        self._set_tick()

    def _host(self, host: str) -> Address:
        return Address(self._peers[host], "host")

    def _sandbox(self, host: str, sandbox: str) -> Address:
        return Address(self._peers[host], f"sandbox/{sandbox}")

    def _deal(self, order: do.Deal) -> None:
        stretch = order.stretch
        run = Run(order.run, stretch.task, order.job, stretch.first, stretch.count)
        to = self._sandbox(order.host, order.sandbox)
        if stretch.inputs is None:
            self.tell(to, run)
        else:
            self.tell(to, run, stretch.inputs.cut(stretch.first, stretch.count))
        task = self._tasks.get(stretch.task)
        if task is not None and task.one_by_one:
            interval = (stretch.first, stretch.count)
            entry = StatusEntry(order.job, task.authorisation, (interval,), "begin")
            self._send_status(entry, task)

    def _return(self, order: do.Return) -> None:
        task = self._tasks.get(order.task)
        if task is None:
            return
        logger.bind(job=order.job).info(
            "returned {} slices of job {}: {}", count_of(order.slices), order.job, order.reason or order.code
        )
        entry = StatusEntry(
            order.job, task.authorisation, order.slices, "return", order.code, order.reason, task.estimation
        )
        self._send_status(entry, task)

    def _send_status(self, entry: StatusEntry, task: FetchedTask) -> None:
        data = status(self._facts.worker, [entry], bulk=not task.one_by_one)
        self._link.request("resultSubmitter", "status", data, to="", ticket=None)

    def _report(self, order: do.Report) -> None:
        where = f"slice {order.slice} of job {order.job}" if order.slice else f"job {order.job}"
        logger.bind(job=order.job, slice=order.slice).warning("{}: {} ({})", where, order.message, order.code)
        payload = {"message": order.message, "code": order.code, "name": order.code}
        self._emit(order.job, order.slice, order.event, payload)

    def _request(self, order: do.RequestWork) -> None:
        hosts = list(self._planner.hosts.values())
        capacity = Capacity(
            cores=sum(host.cores for host in hosts),
            sandboxes=self._planner.slots,
            capabilities=_common([host.capabilities for host in hosts]),
            worktimes=tuple(sorted({worktime for host in hosts for worktime in host.worktimes})),
            cpu=order.cpu,
            slices=order.slices,
            rejected_jobs=tuple(self._planner.refused),
        )
        self._sequence += 1
        sequence, wait_ms = self._sequence, WAIT_MS if self._bulk else None

        async def build(dcpsid: str) -> dict[str, Any]:
            return_all = await self._link.seal({"id": self._facts.worker}) if order.start_up else None
            return request_work(
                self._facts, capacity, dcpsid, sequence=sequence, wait_ms=wait_ms, return_all=return_all
            )

        operation = "requestRuns@1" if self._bulk else "requestTask@3"
        self._link.request_work(operation, build, to=self.name, ticket=order, timeout=WAIT_MS / 1000 + 60.0)

    def _set_tick(self) -> None:
        now = time.monotonic()
        due = self._planner.next_tick(now)
        if due is None or (self._tick is not None and self._tick_at <= due):
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick_at = max(due, now + 0.01)
        self._tick = self.after(self._tick_at - now, _Tick())


def _common(masks: list[int]) -> int:
    """What any host can do; the planner sends a job only where it can run."""
    union = 0
    for mask in masks:
        union |= mask
    return union
