"""``dcp-scheduler``: the scheduler and its bank, on one port."""

import asyncio
import signal
import sys
from pathlib import Path

import click

from ..errors import DcpError
from ..scheduler.settings import SchedulerSettings


def parse_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT``; port 0 means any free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9000")
    return host.strip("[]"), int(port)


@click.command()
@click.option(
    "--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Port 0: any free one."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where database, key and lock are kept.",
)
@click.option(
    "--database", default="", metavar="URL", help="Another database than the SQLite file in --data."
)
def main(listen: str, data: Path, database: str) -> None:
    """Run a scheduler: it takes jobs, gives their slices to workers, keeps the results and the accounts.

    It prints "listening on URL" when it serves. Stop it with Ctrl-C or SIGTERM.
    """
    host, port = parse_listen(listen)
    settings = SchedulerSettings(host=host, port=port, data_dir=data, database_url=database)
    try:
        asyncio.run(_serve(settings))
    except DcpError as error:
        click.echo(f"dcp-scheduler: {error}", err=True)
        sys.exit(1)


async def _serve(settings: SchedulerSettings) -> None:
    from ..scheduler.service import Scheduler

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    scheduler = Scheduler(settings)
    click.echo(f"listening on {await scheduler.start()}")
    sys.stdout.flush()
    await stop.wait()
    await scheduler.stop()
