"""The moves of planning: deal a run, take it back, count a slice as finished, give it back to the scheduler.

The board keeps one promise through every move: a slice that came from the scheduler is in exactly one place
(queue or run) until it is committed or returned, and each authorisation counts how many such slices it
still has. Two sandboxes hold the same slice only when the first one was lost and its outcome turns up late.
"""

from collections import Counter, deque
from collections.abc import Iterable

from ..protocol.intervals import Interval, count_of, difference, normalise, subtract
from .instructions import Close, CloseTask, Deal, DropJob, Forget, Instruction, Open, Report, Return, SendJob
from .records import HostRecord, JobRecord, RunRecord, SandboxRecord, SandboxState, Stretch
from .sizing import depth, run_slices, within_bytes

REFUSED_JOBS = 200
"""How many refused jobs the scheduler is reminded of with each request."""

REFUSALS = 6
"""How often a job may come back after it could not be worked on here.

A scheduler that counts such returns has ended the job by then; another one is asked to send it elsewhere.
"""


class Board:
    """Hosts, sandboxes, jobs, and the moves between them.

    ``take()`` hands out what the moves told the supervisor.
    """

    def __init__(self, life: str, first_run: int) -> None:
        """``life`` makes sandbox ids unique across restarts; run numbers count from ``first_run``."""
        self.hosts: dict[str, HostRecord] = {}
        self.sandboxes: dict[str, SandboxRecord] = {}
        self.jobs: dict[str, JobRecord] = {}
        self.refused: deque[str] = deque(maxlen=REFUSED_JOBS)
        self._refusals: Counter[str] = Counter()
        self._life = life
        self._next_sandbox = 1
        self._next_run = first_run
        self._out: list[Instruction] = []

    def take(self) -> list[Instruction]:
        """What is to be done, in order; each instruction is handed out once."""
        out, self._out = self._out, []
        return out

    @property
    def slots(self) -> int:
        """How many sandboxes may be alive on all hosts together."""
        return sum(host.slots for host in self.hosts.values())

    @property
    def cpu(self) -> float:
        """Cores that may be used on all hosts together."""
        return sum(host.cpu for host in self.hosts.values())

    # -- sandboxes --------------------------------------------------------------------------------

    def open_sandbox(self, job: JobRecord, host: HostRecord, now: float) -> None:
        """Open one for the job, with the job's artifacts before the first on a host."""
        sandbox = f"{self._life}-{self._next_sandbox}"
        self._next_sandbox += 1
        if job.job not in host.jobs:
            host.jobs.add(job.job)
            self._out.append(SendJob(host.host, job.job))
        box = SandboxRecord(sandbox, host.host, job.job, now)
        self.sandboxes[sandbox] = box
        host.sandboxes.add(sandbox)
        job.sandboxes[sandbox] = box
        self._out.append(Open(host.host, sandbox, job.job))

    def close_sandbox(self, box: SandboxRecord, reason: str, now: float) -> None:
        """Tell it to end; what it had is dealt again. It keeps its slot until it has gone."""
        if box.state is SandboxState.CLOSING:
            return
        job = self.jobs.get(box.job)
        if job is not None:
            job.put_back(self.recall(job, box))
            job.sandboxes.pop(box.sandbox, None)
        box.state = SandboxState.CLOSING
        box.closing_since = now
        self._out.append(Close(box.host, box.sandbox, reason))

    def retire(self, box: SandboxRecord, reason: str, now: float) -> None:
        """Let it work off what it has, then end it."""
        if not box.runs:
            self.close_sandbox(box, reason, now)
        elif box.state is not SandboxState.CLOSING:
            box.state = SandboxState.RETIRING

    def forget_sandbox(self, box: SandboxRecord) -> None:
        """It is gone; free its slot."""
        self.sandboxes.pop(box.sandbox, None)
        host = self.hosts.get(box.host)
        if host is not None:
            host.sandboxes.discard(box.sandbox)
        job = self.jobs.get(box.job)
        if job is not None:
            job.sandboxes.pop(box.sandbox, None)

    # -- runs --------------------------------------------------------------------------------

    def feed(self, box: SandboxRecord, level: int) -> bool:
        """Deal a run to the sandbox if it holds fewer than ``level`` and may have one.

        Say whether it got one.
        """
        job = self.jobs.get(box.job)
        if job is None or not job.queue or box.state is not SandboxState.OPEN:
            return False
        sandboxes = len(job.sandboxes)
        if len(box.runs) >= min(level, depth(job.slice_ms, job.queued, sandboxes)):
            return False
        if box.runs and job.queued <= sandboxes:
            idle = sum(1 for other in job.sandboxes.values() if not other.runs)
            if (
                job.queued <= idle
            ):  # the last slices are for those that have nothing, even if they are still opening
                return False
        part = job.queue.popleft()
        wanted = run_slices(job.slice_ms, job.queued, sandboxes)
        head, rest = part.split(within_bytes(part, wanted))
        if rest is not None:
            job.queue.appendleft(rest)
        job.queued -= head.count
        job.dealt += head.count
        number = self._next_run
        self._next_run += 1
        job.running[number] = RunRecord(number, job.job, box.sandbox, head, [(head.first, head.count)])
        box.runs.append(number)
        self._out.append(Deal(box.host, box.sandbox, number, job.job, head))
        return True

    def feed_all(self, job: JobRecord) -> None:
        """Deal to all sandboxes of the job, level by level: nobody has two runs before everybody has one."""
        for level in (1, 2, 3):
            for box in list(job.sandboxes.values()):
                if not job.queue:
                    return
                self.feed(box, level)

    def recall(self, job: JobRecord, box: SandboxRecord) -> list[Stretch]:
        """Take back what the sandbox has neither finished nor committed.

        A finished run stays: its outcomes came over the same link before the news of its end, so the
        uploader has them.
        """
        parts: list[Stretch] = []
        for number in box.runs:
            run = job.running.pop(number)
            job.dealt -= run.stretch.count
            parts += run.stretch.parts(run.left)
        box.runs.clear()
        return parts

    # -- slices --------------------------------------------------------------------------------

    def commit(self, job: JobRecord, run: int, first: int, count: int) -> int:
        """Count slices as finished wherever they are now; return how many were not yet."""
        record = job.running.get(run)
        missing: list[Interval] = [(first, count)]
        total = 0
        if record is not None:
            missing, total = self._commit_in(job, record, missing)
        for holder in list(job.running.values()) if missing else ():
            missing, taken = self._commit_in(job, holder, missing)
            total += taken
        for (
            start,
            length,
        ) in missing:  # an outcome of a sandbox that was given up: nobody needs to compute it again
            for task, amount in job.drop_queued(start, length):
                total += amount
                self._settle(job, task, amount)
        return total

    def _commit_in(
        self, job: JobRecord, run: RunRecord, slices: list[Interval]
    ) -> tuple[list[Interval], int]:
        """Take the slices out of a run; return those that were not in it, and how many were."""
        taken: list[Interval] = []
        for first, count in slices:
            run.left, got = subtract(run.left, first, count)
            taken += got
        if run.finished and not run.left:
            job.running.pop(run.number, None)
        amount = count_of(taken)
        if amount:
            self._settle(job, run.stretch.task, amount)
        return difference(slices, taken), amount

    def give_back(self, job: JobRecord, parts: Iterable[Stretch], code: str, reason: str) -> None:
        """Return slices to the scheduler; they must be in no queue and no run any more."""
        by_task: dict[str, list[Interval]] = {}
        for part in parts:
            by_task.setdefault(part.task, []).append((part.first, part.count))
        for task, intervals in by_task.items():
            self._out.append(Return(job.job, task, tuple(normalise(intervals)), code, reason))
            self._settle(job, task, count_of(intervals))

    def give_back_queue(self, job: JobRecord, code: str, reason: str) -> None:
        """Return everything that waits."""
        parts = list(job.queue)
        job.queue.clear()
        job.queued = 0
        self.give_back(job, parts, code, reason)

    def give_back_tail(self, job: JobRecord, slices: int, reason: str) -> None:
        """Return so many slices from the end of the queue."""
        parts: list[Stretch] = []
        while slices > 0 and job.queue:
            part = job.queue.pop()
            if part.count > slices:
                keep, rest = part.split(part.count - slices)
                job.queue.append(keep)
                assert rest is not None
                part = rest
            slices -= part.count
            job.queued -= part.count
            parts.append(part)
        self.give_back(job, parts, "", reason)

    def refuse(self, job: JobRecord, code: str, reason: str, now: float) -> None:
        """This worker cannot do the job.

        Return all of it and tell the owner; in the end ask for it no more.
        """
        self._out.append(Report(job.job, 0, "error", code, reason))
        for box in list(job.sandboxes.values()):
            self.close_sandbox(box, reason, now)
        self.give_back_queue(job, code, reason)
        self._refusals[job.job] += 1
        if self._refusals[job.job] >= REFUSALS and job.job not in self.refused:
            self.refused.append(job.job)

    def drop_job(self, job: JobRecord) -> None:
        """The job is over: no slice is left and no sandbox."""
        for host in self.hosts.values():
            if job.job in host.jobs:
                host.jobs.discard(job.job)
                self._out.append(Forget(host.host, job.job))
        self.jobs.pop(job.job, None)
        self._out.append(DropJob(job.job))

    def _settle(self, job: JobRecord, task: str, count: int) -> None:
        left = job.tasks[task] - count
        if left > 0:
            job.tasks[task] = left
        else:
            del job.tasks[task]
            self._out.append(CloseTask(task))
