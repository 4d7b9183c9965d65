"""dcp-evaluator-start: one evaluator on standard input and output, or one for each connection to a port."""

import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DcpError
from ..evaluator_host.confinement import LAYERS, Limits, check
from . import errors
from .options import version_option

if TYPE_CHECKING:
    from ..evaluator_host.program import EvaluatorProgram


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-s", "--stdio", is_flag=True, help="Serve standard input and output (what it does without -p)."
)
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="Listen here; 0 picks a free port.")
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    help="Address for -p. Other boxes get in with 0.0.0.0.",
)
@click.option(
    "--max-evaluators",
    type=click.IntRange(1),
    default=4 * (os.cpu_count() or 1),
    show_default="4 for each core",
    help="Connections that -p serves at once.",
)
@click.option(
    "--protocol",
    type=click.Choice(["worker", "runs"]),
    default="worker",
    show_default=True,
    help="Without FILES: speak to any DCP worker, slice by slice, or to an evaluator host of ours, in runs.",
)
@click.option(
    "--memory",
    type=click.IntRange(64),
    default=Limits().memory_mb,
    show_default=True,
    help="MiB for each evaluator.",
)
@click.option(
    "--allow-weaker-sandbox",
    "allow_weaker",
    type=click.Choice([layer for layer in LAYERS if layer != "limits"]),
    multiple=True,
    help="Start although this box cannot give that layer of the sandbox. May be repeated.",
)
@click.option(
    "--check", "only_check", is_flag=True, help="Say which layers this box can give, start nothing."
)
@click.option("-J", "--json", "as_json", is_flag=True, help="With --check: answer in JSON.")
@version_option
def command(
    files: tuple[Path, ...],
    stdio: bool,
    port: int | None,
    listen: str,
    max_evaluators: int,
    protocol: str,
    memory: int,
    allow_weaker: tuple[str, ...],
    only_check: bool,
    as_json: bool,
) -> int:
    """Start a JavaScript evaluator under full confinement.

    An evaluator runs other people's code: V8 without any permission, in namespaces of its own, under
    Landlock, seccomp and resource limits. It speaks a line protocol on its standard input and output;
    FILES are the JavaScript files that make its environment, in load order (ours when none are given). One
    connection is one process, and hanging up kills it.

    \b
    Examples:
      dcp-evaluator-start --check           can this box confine an evaluator?
      dcp-evaluator-start                   one evaluator on stdin and stdout
      dcp-evaluator-start -p 9000           an evaluator for each connection to port 9000
    """
    if only_check:
        return _check(as_json)
    if stdio and port is not None:
        raise click.UsageError("--stdio and --port exclude each other")
    from ..evaluator_host.program import MESSAGE_SANDBOX_FILES, EvaluatorProgram

    if not files and protocol == "worker":
        files = MESSAGE_SANDBOX_FILES
    if port is None and stat.S_ISREG(os.fstat(1).st_mode):
        raise DcpError(
            "standard output is a file, which an evaluator may not write; put a pipe between: | cat > FILE",
            code="ESTDOUT",
        )
    program = EvaluatorProgram(
        files or None, limits=Limits(memory_mb=memory), allow_weaker=frozenset(allow_weaker)
    )
    if port is None:
        _become_evaluator(program)
    else:
        _listen(program, listen, port, max_evaluators)
    return 0


def _check(as_json: bool) -> int:
    statuses = check()
    if as_json:
        click.echo(
            json.dumps([{"layer": s.name, "available": s.available, "detail": s.detail} for s in statuses])
        )
    else:
        for status in statuses:
            click.echo(f"{status.name:<11} {'yes' if status.available else 'MISSING':<8} {status.detail}")
    return 0 if all(status.available for status in statuses) else errors.FAILED


def _become_evaluator(program: "EvaluatorProgram") -> None:
    """Confine this very process and become deno: no process and no copying in between."""
    from ..evaluator_host.program import ENVIRONMENT

    os.chdir("/")
    program.plan.apply()
    os.execve(program.command[0], program.command, ENVIRONMENT)


def _listen(program: "EvaluatorProgram", address: str, port: int, most: int) -> None:
    from ..evaluator_host.listener import EvaluatorListener

    listener = EvaluatorListener(program, address, port, most=most)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: listener.stop())
    click.echo(f"listening on dcpsaw://{address}:{listener.port}/")
    sys.stdout.flush()
    listener.serve()


def main() -> None:
    errors.run(command, "dcp-evaluator-start")


if __name__ == "__main__":
    main()
