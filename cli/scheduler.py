"""``dcp-scheduler``: the scheduler and its bank, on one port."""

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import click

from . import errors
from .options import common, setting

if TYPE_CHECKING:
    from ..config.layers import Loaded
    from ..config.model import Settings
    from ..scheduler.settings import SchedulerSettings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@setting("scheduler.listen", "--listen", metavar="HOST:PORT", text="Where to listen; port 0: any free one.")
@setting("scheduler.data", "--data", metavar="DIR", text="Where database, key and lock are kept.")
@setting("scheduler.database", "--database", metavar="URL", text="Another database than SQLite in --data.")
@setting("scheduler.public_url", "--public-url", metavar="URL", text="How others reach it, behind a proxy.")
@common("dcp-scheduler")
def command(loaded: "Loaded") -> None:
    """Run a scheduler: it takes jobs, gives their slices to workers, keeps results and accounts.

    It prints "listening on URL" when it serves. Stop it with Ctrl-C or SIGTERM.
    """
    os.umask(0o077)  # the database holds everybody's inputs and results
    asyncio.run(_serve(scheduler_settings(loaded.settings)))


def scheduler_settings(settings: "Settings") -> "SchedulerSettings":
    """What the scheduler wants to know, out of all settings."""
    from ..scheduler.settings import SchedulerSettings

    given = settings.scheduler
    host, _, port = given.listen.rpartition(":")
    return SchedulerSettings(
        data_dir=settings.scheduler_data,
        host=host.strip("[]"),
        port=int(port),
        public_url=given.public_url or "",
        origins=given.allow_web_origins,
        database_url=given.database or "",
        synchronous="FULL" if given.synchronous == "full" else "NORMAL",
        market_price=given.market_price,
        opening_grant=given.opening_grant,
        target_task_s=given.target_task,
        lease_floor_s=given.lease_floor,
        lease_max_s=given.lease_max,
        returns_before_failure=given.returns_before_failure,
        max_wait_s=given.max_wait,
    )


async def _serve(settings: "SchedulerSettings") -> None:
    from ..scheduler.service import Scheduler

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    scheduler = Scheduler(settings)
    print(f"listening on {await scheduler.start()}", flush=True)
    await stop.wait()
    await scheduler.stop()


def main() -> None:
    errors.run(command, "dcp-scheduler")


if __name__ == "__main__":
    main()
