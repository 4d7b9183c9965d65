"""Which job gets how many sandboxes, and which hosts can run it. Pure functions over the records."""

import math
from collections.abc import Iterable, Mapping, Sequence

from .records import HostRecord, JobRecord, SandboxState

TURN_S = 10.0
"""With more jobs than slots, a job keeps its sandbox for so long before another one's turn comes."""

WORTH_OPENING_MS = 20.0
"""How much work a further sandbox should find: opening one costs about this much."""


def need(job: JobRecord, slots: int) -> int:
    """How many sandboxes the job could keep busy."""
    slices = job.queued + job.dealt
    if job.slice_ms is None:
        return min(slices, slots)
    return min(slices, slots, max(1, math.ceil(slices * job.slice_ms / WORTH_OPENING_MS)))


def shares(jobs: Sequence[JobRecord], slots: int, now: float) -> dict[str, int]:
    """Deal the slots one by one to the jobs that can use another one.

    Who had the least work done comes first.
    """

    def turn(job: JobRecord) -> tuple[bool, float]:
        keeps = any(
            box.state is not SandboxState.RETIRING and now - box.opened_at < TURN_S
            for box in job.sandboxes.values()
        )
        return (not keeps, job.served_ms)

    order = sorted((job for job in jobs if job.queued + job.dealt), key=turn)
    needs = {job.job: need(job, slots) for job in order}
    dealt = dict.fromkeys(needs, 0)
    while slots > 0:
        hungry = [job.job for job in order if dealt[job.job] < needs[job.job]]
        if not hungry:
            break
        for job in hungry[:slots]:
            dealt[job] += 1
        slots -= min(slots, len(hungry))
    return dealt


def runs_on(job: JobRecord, host: HostRecord) -> bool:
    """Whether the host has the job's worktime and every capability that it needs."""
    names = {name for name, _ in host.worktimes}
    return job.worktime in names and not (job.requirements & ~host.capabilities)


def place(job: JobRecord, hosts: Iterable[HostRecord], now: float) -> HostRecord | None:
    """The host with the most free slots that can run the job and starts evaluators, or None."""
    able = [
        host
        for host in hosts
        if len(host.sandboxes) < host.slots and now >= host.rests_until and runs_on(job, host)
    ]
    return max(able, key=lambda host: host.slots - len(host.sandboxes), default=None)


def surplus(jobs: Mapping[str, JobRecord], slots: int, limit_s: float) -> dict[str, int]:
    """How many slices of each job's queue are more than this worker computes within ``limit_s`` seconds."""
    busy = [job for job in jobs.values() if job.slice_ms and job.queued]
    if not busy:
        return {}
    budget_ms = max(1, slots) * limit_s * 1000.0 / len(busy)
    extra: dict[str, int] = {}
    for job in busy:
        assert job.slice_ms is not None
        keep = max(2 * max(1, slots), int(budget_ms / job.slice_ms))
        if job.queued > keep * 1.25:
            extra[job.job] = job.queued - keep
    return extra
