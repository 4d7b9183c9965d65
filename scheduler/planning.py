"""How much work a worker gets, for how long, and which jobs it may have. Plain functions of plain numbers."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from .settings import SchedulerSettings
from .store.jobs import Job
from .store.runs import SliceRun

FIRST_SLICES_PER_CORE = 4
"""What a worker gets of a job that nobody has measured yet, for each core."""
GROWTH = 8
"""A task is at most this many times what has been measured, so that an odd first slice does not mislead much.
"""


@dataclass(frozen=True, slots=True)
class Wants:
    """What a worker asks for."""

    worker: str  # who holds the lease
    cores: float  # free ones; fractions count
    most_slices: int
    capabilities: int  # bit mask of the wire
    worktimes: frozenset[str]
    public: bool = True  # a member of the public compute group
    only_jobs: frozenset[str] = frozenset()  # empty: any
    not_jobs: frozenset[str] = frozenset()


def may_have(wants: Wants, job: Job) -> bool:
    """Whether the worker can compute slices of the job, and wants to."""
    if wants.only_jobs:
        if job.id not in wants.only_jobs and job.address not in wants.only_jobs:
            return False
    elif job.local_exec or not wants.public:
        return False
    if job.id in wants.not_jobs or job.address in wants.not_jobs:
        return False
    return job.worktime in wants.worktimes and job.requirements & ~wants.capabilities == 0


def task_size(
    slice_s: float | None,
    measured_slices: int,
    cores: float,
    share_of_pending: int,
    settings: SchedulerSettings,
) -> int:
    """How many slices of a job to give: the target duration for each core, small until the job has been
    measured.
    """
    if cores <= 0 or share_of_pending <= 0:
        return 0
    small = max(1, math.floor(FIRST_SLICES_PER_CORE * cores))
    if slice_s is None:
        return min(small, share_of_pending)
    wanted = cores * settings.target_task_s / max(slice_s, 1e-9)
    return int(
        min(
            max(wanted, cores, 1),
            small + GROWTH * measured_slices,
            share_of_pending,
            settings.max_task_slices,
        )
    )


def lease_s(slice_s: float | None, count: int, cores: float, settings: SchedulerSettings) -> float:
    """How long a worker may hold ``count`` slices before it has to be heard of: three times what they should
    take.
    """
    expected = (slice_s or 0.0) * math.ceil(count / max(cores, 1.0))
    return min(max(3.0 * expected, settings.lease_floor_s), settings.lease_max_s)


def extended_deadline(
    run: SliceRun, worker_seen: float, now: float, settings: SchedulerSettings
) -> float | None:
    """A new deadline for an overdue run whose worker is in contact, None when it is to run elsewhere.

    A slice may take longer than all before it; only silence, or an hour without a result, takes it away.
    """
    claimed = run.claimed if run.claimed is not None else now
    if now - claimed >= settings.lease_max_s or now - worker_seen >= settings.lease_floor_s:
        return None
    return min(now + settings.lease_floor_s, claimed + settings.lease_max_s)


def share(pending: int, cores: float, all_cores: float, active_workers: Collection[str]) -> int:
    """How many of the waiting slices are for this worker when others want some too."""
    if len(active_workers) <= 1 or all_cores <= 0:
        return pending
    fair = math.ceil(pending * cores / all_cores)
    return min(pending, max(fair, math.floor(FIRST_SLICES_PER_CORE * cores), 1))
