"""What follows from the state of the board, whatever has happened: who gets a sandbox, a run, or a request for work."""

from collections.abc import Iterable

from .board import Board
from .fetching import Fetching, predict
from .instructions import RequestWork
from .records import JobRecord, SandboxRecord, SandboxState
from .sharing import place, runs_on, shares

LINGER_S = 2.0
"""A sandbox of a job without slices waits so long for more of it, as long as nobody else wants the slot."""

OPENING_S = 120.0
CLOSING_S = 15.0
HOLD_S = 120.0
"""What would take longer than this is given back for others to compute."""


class Decisions(Board):
    """The board, and what is decided on it after each event."""

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
