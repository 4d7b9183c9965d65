"""The supervisor's decisions as a state machine: events in, instructions out, no socket and no clock inside.

Each ``on_...`` method is one event and gets the time; ``take()`` then hands out what is to be done. Jobs
share the sandboxes fairly, slices are dealt in runs, and whatever a lost sandbox had not committed runs
elsewhere.

How a slice's life here ends: committed to the outbox, or returned to the scheduler. There is no third way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..protocol.messages import HostHello, Outcome
from .board import Board
from .fetching import Fetching, predict
from .instructions import CloseTask, Report, RequestWork
from .intervals import difference
from .records import HostRecord, JobRecord, SandboxRecord, SandboxState, Stretch
from .sharing import place, runs_on, shares, surplus
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

LINGER_S = 2.0
"""A sandbox of a job without slices waits so long for more of it, as long as nobody else wants the slot."""

OPENING_S = 120.0
CLOSING_S = 15.0
HOLD_S = 120.0
"""What would take longer than this is given back for others to compute."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Slices of one job under one authorisation, as they came from the scheduler."""

    job: str
    task: str
    worktime: str
    requirements: int
    stretches: tuple[Stretch, ...]


class Planner(Board):
    """What the supervisor knows and decides."""

    def __init__(
        self,
        *,
        life: str,
        first_run: int = 1,
        window_s: float = 5.0,
        watch_s: float = 30.0,
        lost_after_s: float = 15.0,
    ) -> None:
        super().__init__(life, first_run)
        self.fetching = Fetching(watch_s)
        self.stopping = False
        self.paused = False
        self.outbox_blocked = False
        self.typical_ms: float | None = None  # over all jobs, to size requests by
        self.committed = 0
        self._window_s = window_s
        self._lost_after_s = lost_after_s

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
            parts = [
                piece
                for part in parts
                for piece in part.parts(difference([(part.first, part.count)], [(culprit, 1)]))
            ]
            job.put_back(parts)
            alone = Stretch(suspect.task, culprit, 1, suspect.inputs)
            job.attempts[culprit] = job.attempts.get(culprit, 0) + 1
            if job.attempts[culprit] >= ATTEMPTS[outcome]:
                del job.attempts[culprit]
                event = "noProgress" if outcome is Outcome.NO_PROGRESS else "error"
                self._out.append(Report(job.job, culprit, event, outcome.value, detail))
                self.give_back(job, [alone], outcome.value, detail)
            else:
                job.put([alone])  # last, so that it endangers no other slice
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

    @property
    def at_rest(self) -> bool:
        """Whether nothing is queued, running, or waiting for its commit."""
        return not any(job.tasks for job in self.jobs.values())

    def next_tick(self, now: float) -> float | None:
        """When ``on_tick`` has something to do again if nothing else happens, or None."""
        times = [host.heard_at + self._lost_after_s for host in self.hosts.values()]
        times += [host.rests_until for host in self.hosts.values() if host.rests_until > now]
        times += [job.idle_since + LINGER_S for job in self.jobs.values() if job.idle_since is not None]
        times += [box.closing_since + CLOSING_S for box in self.sandboxes.values() if box.closing_since]
        times += [
            box.opened_at + OPENING_S for box in self.sandboxes.values() if box.state is SandboxState.OPENING
        ]
        if self.fetching.open and self.fetching.asking_since is None and self.fetching.rests_until > now:
            times.append(self.fetching.rests_until)
        if any(job.queued for job in self.jobs.values()):  # turns, and what is too much
            times.append(now + 2.0)
        return max(now, min(times)) if times else None

    # -- planning --------------------------------------------------------------------------------

    def _plan(self, now: float) -> None:
        if self.stopping:
            for job in self.jobs.values():
                self.give_back_queue(job, "", "the worker stops")
        self._end_jobs(now)
        if not self.paused and not self.stopping:
            self._share(now)
            for job in self.jobs.values():
                self.feed_all(job)
        for box in list(self.sandboxes.values()):
            if box.state is SandboxState.RETIRING and not box.runs:
                self.close_sandbox(box, "its slot is for others", now)
        self._fetch(now)

    def _end_jobs(self, now: float) -> None:
        for job in list(self.jobs.values()):
            if job.tasks:
                continue
            if job.idle_since is None:
                job.idle_since = now
            if now - job.idle_since >= LINGER_S or self.stopping:
                self._close_all(job.sandboxes.values(), "its job has no more slices here", now)
            if not job.sandboxes:
                self.drop_job(job)

    def _share(self, now: float) -> None:
        target = shares(list(self.jobs.values()), self.slots, now)
        wanting = [job for job in self.jobs.values() if len(job.sandboxes) < target.get(job.job, 0)]
        for job in wanting:
            while len(job.sandboxes) < target[job.job]:
                host = place(job, self.hosts.values(), now)
                if host is None:
                    self._make_room(job, target, now)
                    break
                self.open_sandbox(job, host, now)

    def _make_room(self, job: JobRecord, target: dict[str, int], now: float) -> None:
        """Retire one sandbox, of a job with more than its share, on a host where ``job`` can run."""
        boxes = [box for box in self.sandboxes.values() if runs_on(job, self.hosts[box.host])]
        if any(box.state in (SandboxState.RETIRING, SandboxState.CLOSING) for box in boxes):
            return  # room is being made
        rich = [
            box
            for box in boxes
            if box.job in self.jobs and len(self.jobs[box.job].sandboxes) > target.get(box.job, 0)
        ]
        if rich:
            self.retire(min(rich, key=lambda box: len(box.runs)), "its slot is for another job", now)

    def _close_all(self, boxes: Iterable[SandboxRecord], reason: str, now: float) -> None:
        for box in list(boxes):
            self.close_sandbox(box, reason, now)

    def _fetch(self, now: float) -> None:
        if self.stopping or self.paused or self.outbox_blocked or not self.fetching.may_ask(now):
            return
        wanted = predict(self.jobs.values(), self.slots, self.cpu, self._window_s, self.typical_ms)
        if wanted is not None:
            self._out.append(RequestWork(wanted.cpu, wanted.slices, start_up=not self.fetching.started))
            self.fetching.asked(now)
