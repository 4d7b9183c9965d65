"""Giving slices to a worker: chosen, leased and on disk before it hears of them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy.engine import Connection

from ..protocol.intervals import Interval, count_of
from .planning import Wants, lease_s, may_have, share, task_size
from .settings import SchedulerSettings
from .store import jobs, slices
from .store.stretches import Stretch, StretchTable
from .store.tables import inputs as inputs_table

inputs = StretchTable(inputs_table)


@dataclass(frozen=True, slots=True)
class Peers:
    """Who else wants work now."""

    workers: frozenset[str]
    cores: float


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """Slices of one job that are now leased to the worker."""

    job: jobs.Job
    document: dict[str, Any]
    slices: list[Interval]
    inputs: list[Stretch]  # empty for a job that counts through a range


def claim(
    connection: Connection,
    wants: Wants,
    peers: Peers,
    settings: SchedulerSettings,
    now: float,
    fits: Callable[[ClaimedJob], bool] = lambda _: True,
) -> list[ClaimedJob]:
    """Lease slices for about the target duration, spread over the jobs that have waited longest.

    ``fits`` has the last word on what was chosen of a job, before it is leased.
    """
    if wants.cores <= 0 or wants.most_slices <= 0:
        return []
    widest = max(1, int(wants.cores))
    chosen = list(islice((job for job in jobs.waiting(connection) if may_have(wants, job)), widest))
    claimed: list[ClaimedJob] = []
    slices_left = min(wants.most_slices, settings.max_task_slices)
    bytes_left = settings.max_task_bytes
    for position, job in enumerate(chosen):
        cores = wants.cores / len(chosen)
        size = task_size(
            job.slice_s,
            job.measured_slices,
            cores,
            share(job.pending, wants.cores, peers.cores, peers.workers),
            settings,
        )
        # What is left for others of the chosen jobs: one slice each at least.
        size = min(size, max(1, slices_left - (len(chosen) - 1 - position)))
        if size <= 0 or slices_left <= 0 or (claimed and bytes_left <= 0):
            break
        given = slices.first_pending(connection, job.id, size)
        stretches: list[Stretch] = []
        if not job.ranged:
            given = inputs.within(connection, job.id, given, max(bytes_left, 1))
            stretches = [stretch for part in given for stretch in inputs.read(connection, job.id, part)]
            bytes_left -= sum(len(body) for _, _, body in stretches)
        count = count_of(given)
        if not count:
            continue
        chosen_of_job = ClaimedJob(job, jobs.document_of(connection, job.id), given, stretches)
        if not fits(chosen_of_job):
            continue
        deadline = now + lease_s(job.slice_s, count, cores, settings)
        slices.lease(connection, job.id, given, wants.worker, now, deadline)
        jobs.served(connection, job.id, now)
        slices_left -= count
        claimed.append(chosen_of_job)
    return claimed
