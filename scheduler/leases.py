"""Leases that end: slices whose worker has fallen silent wait for another one.

The timer is armed for the next deadline there is; while nothing is leased, nothing runs.
"""

import asyncio

from loguru import logger
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from ..errors import DcpError
from .core import Core, Workers
from .outcomes import News, must_find
from .planning import extended_deadline
from .settings import SchedulerSettings
from .store import slices
from .store.runs import SliceRun, State

SHORTEST_SLEEP_S = 0.05
RETRY_S = 5.0


def expire(connection: Connection, workers: Workers, settings: SchedulerSettings, now: float) -> list[News]:
    """Extend the overdue leases of workers that are in contact, and take back those of all others."""
    returned: dict[str, int] = {}
    for job, run in slices.overdue(connection, now):
        deadline = extended_deadline(run, workers.last_heard(run.worker or ""), now, settings)
        if deadline is None:
            slices.set_runs(connection, job, [SliceRun(run.first, run.last, State.PENDING)])
            returned[job] = returned.get(job, 0) + run.count
            logger.bind(job=job, worker=run.worker).info(
                "the lease of slices {} to {} has ended; they wait for another worker", run.first, run.last
            )
        else:
            held = SliceRun(run.first, run.last, State.LEASED, run.worker, run.claimed, deadline)
            slices.set_runs(connection, job, [held])
    return [News(must_find(connection, job), returned=count) for job, count in returned.items()]


async def keep_leases(core: Core) -> None:
    """Runs as long as the scheduler does."""
    while True:
        try:
            await _next_end(core)
        except (DcpError, SQLAlchemyError) as error:
            logger.error("leases could not be looked after, next try in {:.0f} s: {}", RETRY_S, error)
            await asyncio.sleep(RETRY_S)


async def _next_end(core: Core) -> None:
    """Wait for the next lease to end, or for one that may end before it."""
    core.leases_changed.clear()
    deadline = await core.store.read(slices.next_deadline)
    timeout = None if deadline is None else max(deadline - core.now(), SHORTEST_SLEEP_S)
    try:
        await asyncio.wait_for(core.leases_changed.wait(), timeout)
    except TimeoutError:
        for news in await core.store.write(
            lambda connection: expire(connection, core.workers, core.settings, core.now())
        ):
            core.tell(news)
