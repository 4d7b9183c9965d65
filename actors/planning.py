"""The supervisor's decisions as a state machine: events in, instructions out, no socket and no clock inside.

Each ``on_...`` method is one event and gets the time; ``take()`` then hands out what is to be done. Jobs
share the sandboxes fairly, slices are dealt in runs, and whatever a lost sandbox had not committed runs
elsewhere.

How a slice's life here ends: committed to the outbox, or returned to the scheduler. There is no third way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol.intervals import difference
from ..protocol.messages import HostHello, Outcome
from .decisions import CLOSING_S, HOLD_S, OPENING_S, Decisions
from .instructions import CloseTask, Deliver, Report
from .records import HostRecord, JobRecord, SandboxRecord, SandboxState, Stretch
from .sharing import runs_on, surplus
from .sizing import MAX_DEPTH, smooth

ATTEMPTS = {
    Outcome.NO_PROGRESS: 1,  # it was silent for the whole timeout; a second try would cost as much again
    Outcome.OUT_OF_MEMORY: 3,
    Outcome.DIED: 3,
    Outcome.FLOODED: 3,
    Outcome.PROTOCOL: 3,
}
"""How many evaluators a slice may take down before it goes back to the scheduler with that reason."""

ASSIGN_ATTEMPTS = 2
DEATHS = 8
"""Sandboxes of a job that may die without a culprit and without any finished slice in between."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Slices of one job under one authorisation, as they came from the scheduler."""

    job: str
    task: str
    worktime: str
    requirements: int
    stretches: tuple[Stretch, ...]


class Planner(Decisions):
    """What the supervisor knows and decides."""

    # -- hosts --------------------------------------------------------------------------------

    def on_host_attached(self, now: float, hello: HostHello) -> None:
        """A host is there. If it was there before, its link broke and messages may be lost.

        Nothing of it counts.
        """
        self._drop_host(hello.host)
        self.hosts[hello.host] = HostRecord(
            hello.host,
            hello.name,
            hello.cores,
            now,
            capabilities=hello.capabilities,
            worktimes=hello.worktimes,
        )
        self._plan(now)

    def on_allowance(self, now: float, host: str, cpu: float, sandboxes: int) -> None:
        """How much of a host may be used from now on.

        A host that may not be used at all is emptied at once.
        """
        record = self.hosts.get(host)
        if record is None:
            return
        whole = int(cpu) + (cpu - int(cpu) > 0.05)
        record.cpu = max(0.0, cpu)
        record.slots = max(0, min(sandboxes, whole))
        alive = [self.sandboxes[name] for name in record.sandboxes]
        alive.sort(key=lambda box: (len(box.runs), -box.opened_at))
        for box in alive[: max(0, len(alive) - record.slots)]:
            if record.slots == 0:
                self.close_sandbox(box, "the host allows no sandbox now", now)
            else:
                self.retire(box, "the host allows fewer sandboxes now", now)
        self.fetching.wake()
        self._plan(now)

    def on_heard(self, now: float, host: str) -> None:
        """Any message of a host is a sign of life."""
        record = self.hosts.get(host)
        if record is not None:
            record.heard_at = now

    def on_host_left(self, now: float, host: str) -> None:
        """A host is gone, with or without a goodbye; what it had not committed runs elsewhere."""
        self._drop_host(host)
        self._plan(now)

    def _drop_host(self, host: str) -> None:
        record = self.hosts.pop(host, None)
        for box in [self.sandboxes[name] for name in record.sandboxes] if record else ():
            job = self.jobs.get(box.job)
            if job is not None:
                job.put_back(self.recall(job, box))
            self.forget_sandbox(box)

    # -- sandboxes --------------------------------------------------------------------------------

    def on_sandbox_opened(self, now: float, sandbox: str) -> None:
        """The job is assigned; runs are welcome."""
        box = self.sandboxes.get(sandbox)
        if box is None or box.state is not SandboxState.OPENING:
            return
        box.state = SandboxState.OPEN
        self.hosts[box.host].start_failures = 0
        job = self.jobs.get(box.job)
        if job is not None:
            job.assign_failures = 0
        self._plan(now)

    def on_sandbox_closed(
        self, now: float, sandbox: str, outcome: Outcome, detail: str, culprit: int
    ) -> None:
        """A sandbox is gone. Its slices run elsewhere, but one that keeps killing evaluators is returned."""
        box = self.sandboxes.get(sandbox)
        if box is None:
            return
        job = self.jobs.get(box.job)
        if job is not None and box.state is not SandboxState.CLOSING:
            self._lost(job, box, outcome, detail, culprit, now)
        self.forget_sandbox(box)
        self._plan(now)

    def _lost(
        self, job: JobRecord, box: SandboxRecord, outcome: Outcome, detail: str, culprit: int, now: float
    ) -> None:
        parts = self.recall(job, box)
        blamed = [part for part in parts if part.first <= culprit < part.first + part.count]
        if not blamed or outcome not in ATTEMPTS:
            job.put_back(parts)
        else:
            suspect = blamed[0]
            doubtful = (culprit, suspect.first + suspect.count - culprit)
            parts = [
                piece
                for part in parts
                for piece in part.parts(difference([(part.first, part.count)], [doubtful]))
            ]
            job.put_back(parts)
            if doubtful[1] > 1:
                # Results are told a little late: any of these may be the one. Each runs alone, and last, so that
                # it endangers no other slice; then there is no doubt.
                numbers = range(culprit, culprit + doubtful[1])
                job.put([Stretch(suspect.task, number, 1, suspect.inputs) for number in numbers])
                return
            alone = Stretch(suspect.task, culprit, 1, suspect.inputs)
            job.attempts[culprit] = job.attempts.get(culprit, 0) + 1
            if job.attempts[culprit] >= ATTEMPTS[outcome]:
                del job.attempts[culprit]
                event = "noProgress" if outcome is Outcome.NO_PROGRESS else "error"
                self._out.append(Report(job.job, culprit, event, outcome.value, detail))
                self.give_back(job, [alone], outcome.value, detail)
            else:
                job.put([alone])
            return
        if outcome is Outcome.ASSIGN_FAILED:
            job.assign_failures += 1
            if job.assign_failures >= ASSIGN_ATTEMPTS:
                self.refuse(job, outcome.value, detail, now)
        elif outcome is Outcome.NOT_STARTED or (
            box.state is SandboxState.OPENING and outcome is not Outcome.CLOSED
        ):
            host = self.hosts[box.host]
            host.start_failures += 1
            host.rests_until = now + min(32.0, 2.0 ** (host.start_failures - 1))
        elif outcome is not Outcome.CLOSED:
            job.deaths += 1
            if job.deaths >= DEATHS:
                self.refuse(
                    job, outcome.value, f"{job.deaths} sandboxes died one after the other: {detail}", now
                )

    # -- runs --------------------------------------------------------------------------------

    def on_run_finished(self, now: float, sandbox: str, run: int, slices: int, wall_ms: float) -> None:
        """Every outcome of the run is with the uploader; the sandbox may have the next one."""
        box = self.sandboxes.get(sandbox)
        if box is None or run not in box.runs:
            return
        box.runs.remove(run)
        job = self.jobs.get(box.job)
        if job is None:
            return
        record = job.running[run]
        record.finished = True
        job.dealt -= record.stretch.count
        if not record.left:
            del job.running[run]
        if slices > 0 and wall_ms >= 0:
            job.slice_ms = smooth(job.slice_ms, wall_ms / slices)
            self.typical_ms = smooth(self.typical_ms, wall_ms / slices)
            job.served_ms += wall_ms
        if not job.queued and not job.dealt:
            self._out.append(Deliver(job.job))
        if job.queue and box.state is SandboxState.OPEN and not self.paused:
            for level in range(1, MAX_DEPTH + 1):
                self.feed(box, level)
            self._fetch(now)
        else:
            self._plan(now)

    def on_outcomes_committed(self, now: float, job: str, run: int, first: int, count: int) -> None:
        """Outcomes are safe on disk: these slices are finished, wherever they are now."""
        record = self.jobs.get(job)
        if record is None:
            return
        fresh = self.commit(record, run, first, count)
        self.committed += fresh
        if fresh:
            record.deaths = 0
        if not record.tasks:
            self._plan(now)

    def on_slice_rejected(
        self, now: float, job: str, run: int, number: int, reason: str, retries: int
    ) -> None:
        """The work function refused its slice: try again as often as it allows, then give it back."""
        record = self.jobs.get(job)
        holder = record.running.get(run) if record else None
        if record is None or holder is None:
            return
        holder.left = difference(before := holder.left, [(number, 1)])
        if holder.left == before:
            return
        if holder.finished and not holder.left:
            del record.running[run]
        alone = Stretch(holder.stretch.task, number, 1, holder.stretch.inputs)
        count = record.rejections[number] = record.rejections.get(number, 0) + 1
        if count <= retries:
            record.put([alone])
        else:
            del record.rejections[number]
            self.give_back(record, [alone], "EWORKREJECT", reason)
        self._plan(now)

    # -- work --------------------------------------------------------------------------------

    def on_work(self, now: float, arrivals: Sequence[Arrival], dice: float) -> None:
        """The scheduler has answered a request, with work or without."""
        kept = [arrival for arrival in arrivals if self._arrived(arrival)]
        self.fetching.answered(now, empty=not kept, dice=dice)
        self._plan(now)

    def on_request_failed(self, now: float, dice: float) -> None:
        """The scheduler did not answer, or refused."""
        self.fetching.failed(now, dice=dice)

    def _arrived(self, arrival: Arrival) -> bool:
        """Take slices in, or give them straight back; say whether any was kept."""
        job = self.jobs.get(arrival.job)
        if job is None:
            job = JobRecord(arrival.job, arrival.worktime, arrival.requirements)
            job.served_ms = min((other.served_ms for other in self.jobs.values()), default=0.0)
            self.jobs[arrival.job] = job
        held = job.holds()
        fresh = [
            piece
            for part in arrival.stretches
            for piece in part.parts(difference([(part.first, part.count)], held))
        ]
        total = sum(piece.count for piece in fresh)
        if not total:  # all of it is here already
            self._out.append(CloseTask(arrival.task))
            return False
        job.idle_since = None
        job.tasks[arrival.task] = total
        fits = not self.hosts or any(runs_on(job, host) for host in self.hosts.values())
        if self.stopping:
            self.give_back(job, fresh, "", "the worker stops")
        elif arrival.job in self.refused:
            self.give_back(job, fresh, "EREFUSED", "this worker has refused the job")
        elif not fits:
            self.give_back(
                job, fresh, "ENOWORKTIME", f"no evaluator host here can run {job.worktime} jobs like this"
            )
        else:
            job.put(fresh)
            return True
        return False

    # -- the rest --------------------------------------------------------------------------------

    def on_ready_to_fetch(self, now: float) -> None:
        """What an earlier life had finished is delivered.

        Now the scheduler may take back what else it held.
        """
        self.fetching.open = True
        self._plan(now)

    def on_outbox(self, now: float, *, blocked: bool) -> None:
        """Whether outcomes can be kept on disk; if not, no more work is taken."""
        self.outbox_blocked = blocked
        self._plan(now)

    def on_paused(self, now: float, *, paused: bool) -> None:
        """Pause: what runs goes on, nothing new is fetched or dealt."""
        self.paused = paused
        self._plan(now)

    def on_stop(self, now: float) -> None:
        """An orderly end: what waits goes back, what runs may finish."""
        self.stopping = True
        for box in list(self.sandboxes.values()):
            self.retire(box, "the worker stops", now)
        self._plan(now)

    def on_abandon(self, now: float) -> None:
        """The time for finishing is over: what still runs goes back too."""
        self.stopping = True
        self._close_all(self.sandboxes.values(), "the worker stops", now)
        self._plan(now)

    def on_tick(self, now: float) -> None:
        """Time has passed."""
        for host in list(self.hosts.values()):
            if now - host.heard_at > self._lost_after_s:
                self.on_host_left(now, host.host)
        for box in list(self.sandboxes.values()):
            if box.state is SandboxState.CLOSING and now - box.closing_since > CLOSING_S:
                self.forget_sandbox(box)
            elif box.state is SandboxState.OPENING and now - box.opened_at > OPENING_S:
                self.close_sandbox(box, "it did not open in time", now)
        for name, slices in surplus(self.jobs, self.slots, HOLD_S).items():
            self.give_back_tail(self.jobs[name], slices, "more than this worker computes soon")
        self._plan(now)
