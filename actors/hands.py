"""The supervisor's hands: they do what its planner says, and keep what that needs.

That is where each host is, the artifacts of jobs, and the authorisations under which slices came.
"""

from typing import TYPE_CHECKING, Any

from loguru import logger

from ..protocol.intervals import count_of
from ..protocol.messages import CloseSandbox, ForgetJob, OpenSandbox, Run, TaskAccepted, TaskClosed
from ..protocol.switchboard import Address
from . import instructions as do
from .base import Actor
from .emitting import Delivered, Emission, Emitter
from .local_messages import DeliverNow, FetchedTask, LoadedJob, WorkFetched
from .planning import Planner
from .requests import Capacity, StatusEntry, WorkerFacts, request_work, status, work_emit, work_emits

if TYPE_CHECKING:
    from .scheduler_link import SchedulerLink

UPLOADER = Address(b"", "uploader")
WAIT_MS = 30_000
"""How long the scheduler may hold a request until there is work."""


class Hands:
    """Belongs to one supervisor and works on its thread."""

    def __init__(self, actor: Actor, planner: Planner, link: "SchedulerLink", facts: WorkerFacts) -> None:
        self.peers: dict[str, bytes] = {}  # where each host is
        self.jobs: dict[str, LoadedJob] = {}
        self.tasks: dict[str, FetchedTask] = {}
        self.job_tasks: dict[str, str] = {}  # the newest task of each job, to speak to its owner with
        self.bulk = False
        self._name = actor.name
        self._tell = actor.tell
        self._planner = planner
        self._link = link
        self._facts = facts
        self._sequence = 0
        self._emitter = Emitter()
        self._grants: dict[str, bytes] = {}  # under which the events of a job go out

    def take_in(self, work: WorkFetched) -> None:
        """Keep what a request has brought; what cannot be worked on goes straight back."""
        self.jobs.update({loaded.artifacts.job: loaded for loaded in work.jobs})
        versions = {loaded.artifacts.job: loaded.artifacts.kvin_version for loaded in work.jobs}
        unusable = {one.task for one in work.unusable}
        for task in work.tasks:
            self.tasks[task.task] = task
            self.job_tasks[task.job] = task.task
            if task.task not in unusable:
                kvin = versions[task.job].encode()
                self._tell(UPLOADER, TaskAccepted(task.task, task.job), task.authorisation, kvin)
        for arrival in work.arrivals:
            slices = sum(stretch.count for stretch in arrival.stretches)
            logger.bind(job=arrival.job).info("fetched {} slices of job {}", slices, arrival.job)
        for one in work.unusable:
            self.report(do.Report(one.job, 0, "error", one.code, one.reason))
            self.give_back(do.Return(one.job, one.task, one.slices, one.code, one.reason))
            self.tasks.pop(one.task, None)

    def forget_hosts(self) -> None:
        """Keep no addresses of hosts that are gone."""
        if len(self.peers) > len(self._planner.hosts):
            self.peers = {host: self.peers[host] for host in self._planner.hosts}

    def emit(self, job: str, number: int, event: str, payload: Any, size: int = 0) -> None:
        """Tell something to a job's owner, as long as slices of the job are here. ``size`` in bytes."""
        task = self.tasks.get(self.job_tasks.get(job, ""))
        if task is None:
            return
        if task.one_by_one:
            data = work_emit(self._facts.worker, job, number, event, payload, task.authorisation)
            self._link.request("eventRouter", "workEmit", data, to="", ticket=None)
        else:
            self._grants[job] = task.authorisation
            self._emit(job, self._emitter.put(job, Emission(number, event, payload, size)))

    def emitted(self, job: str) -> None:
        """The scheduler has answered to events of the job; the next ones may go."""
        batch, dropped = self._emitter.answered(job)
        if dropped:
            logger.bind(job=job).warning("{} events of job {} were dropped: they came too fast", dropped, job)
        self._emit(job, batch)
        if not batch:
            del self._grants[job]

    def _emit(self, job: str, batch: list[Emission]) -> None:
        if batch:
            data = work_emits(self._facts.worker, job, batch, self._grants[job])
            self._link.request("eventRouter", "workEmits@1", data, to=self._name, ticket=Delivered(job))

    def carry_out(self, order: do.Instruction) -> None:
        """Carry out one instruction."""
        match order:
            case do.Deal():
                self._deal(order)
            case do.SendJob(host, job):
                loaded = self.jobs[job]
                self._tell(self._host(host), loaded.artifacts, loaded.source, loaded.arguments)
            case do.Open(host, sandbox, job):
                self._tell(self._host(host), OpenSandbox(sandbox, job))
            case do.Close(host, sandbox, reason):
                self._tell(self._sandbox(host, sandbox), CloseSandbox(reason))
            case do.Forget(host, job):
                self._tell(self._host(host), ForgetJob(job))
            case do.DropJob(job):
                self.jobs.pop(job, None)
                self.job_tasks.pop(job, None)
            case do.CloseTask(task):
                self.tasks.pop(task, None)
                self._tell(UPLOADER, TaskClosed(task))
            case do.Deliver():
                self._tell(UPLOADER, DeliverNow())
            case do.Return():
                self.give_back(order)
            case do.Report():
                self.report(order)
            case do.RequestWork():
                self._request(order)

    def _host(self, host: str) -> Address:
        return Address(self.peers[host], "host")

    def _sandbox(self, host: str, sandbox: str) -> Address:
        return Address(self.peers[host], f"sandbox/{sandbox}")

    def _deal(self, order: do.Deal) -> None:
        stretch = order.stretch
        run = Run(order.run, stretch.task, order.job, stretch.first, stretch.count)
        to = self._sandbox(order.host, order.sandbox)
        if stretch.inputs is None:
            self._tell(to, run)
        else:
            self._tell(to, run, stretch.inputs.cut(stretch.first, stretch.count))
        task = self.tasks.get(stretch.task)
        if task is not None and task.one_by_one:
            interval = (stretch.first, stretch.count)
            entry = StatusEntry(order.job, task.authorisation, (interval,), "begin")
            self._send_status(entry, task)

    def give_back(self, order: do.Return) -> None:
        """Return slices to the scheduler."""
        task = self.tasks.get(order.task)
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

    def report(self, order: do.Report) -> None:
        """Log what is wrong with a job, and tell its owner."""
        where = f"slice {order.slice} of job {order.job}" if order.slice else f"job {order.job}"
        logger.bind(job=order.job, slice=order.slice).warning("{}: {} ({})", where, order.message, order.code)
        payload = {"message": order.message, "code": order.code, "name": order.code}
        for event in dict.fromkeys(("error", order.event)):  # noProgress is an error, too
            self.emit(order.job, order.slice, event, payload)

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
        sequence, wait_ms = self._sequence, WAIT_MS if self.bulk else None

        async def build(dcpsid: str) -> dict[str, Any]:
            return_all = await self._link.seal({"id": self._facts.worker}) if order.start_up else None
            return request_work(
                self._facts, capacity, dcpsid, sequence=sequence, wait_ms=wait_ms, return_all=return_all
            )

        operation = "requestRuns@1" if self.bulk else "requestTask@3"
        self._link.request_work(operation, build, to=self._name, ticket=order, timeout=WAIT_MS / 1000 + 60.0)


def _common(masks: list[int]) -> int:
    """What any host can do; the planner sends a job only where it can run."""
    union = 0
    for mask in masks:
        union |= mask
    return union
