"""``dcp localexec FILE``: a program and a private stack that lives as long as it does."""

from pathlib import Path

import click

from .options import version_option


@click.command(context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the stack's database, keystores and logs here; without it they are temporary.",
)
@version_option
def command(file: Path, arguments: tuple[str, ...], data: Path | None) -> int:
    """Run the Python program FILE with ARGUMENTS; its jobs are computed on this box.

    A scheduler, a worker and an evaluator host start with it and end with it. The program finds them by
    $DCP_SCHEDULER_LOCATION, which dcp_worker.client reads. The exit status is the program's. Options of dcp
    itself stand before FILE. The parts read the usual configuration files and DCP_... variables.
    """
    # No configuration is read here: the parts do it themselves, and all of them start at once.
    from ..client.localexec import localexec

    return localexec(file, arguments, data=data)
