"""``dcp up``: scheduler, worker and evaluator host on this box, in the foreground, until a signal."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import click

from .errors import INTERRUPTED
from .options import common, flags_as_environment, setting

if TYPE_CHECKING:
    from ..client.stack import Stack
    from ..config.layers import Loaded


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@setting(
    "scheduler.listen", "--listen", metavar="HOST:PORT", text="Where the scheduler listens; port 0: any free."
)
@setting("paths.data", "--data", metavar="DIR", text="Keep database, outbox and logs here.")
@setting("worker.cores", "-c", "--cores", metavar="CPU[,GPU]", text="Cores and GPUs to work with.")
@setting("worker.max_sandboxes", "-m", "--max-sandboxes", metavar="N", text="At most so many sandboxes.")
@setting(
    "worker.evaluator_hosts",
    "--evaluator-hosts",
    metavar="tcp://ADDR:PORT",
    text="Let other boxes attach here.",
)
@common("dcp")
def command(loaded: "Loaded") -> int:
    """Run the whole stack on this box; Ctrl-C stops it in order: the worker hands its results in first.

    Prints "listening on URL" when the scheduler serves. Point programs at it with DCP_SCHEDULER_LOCATION=URL.
    """
    from ..client.identity import load_identity
    from ..client.stack import Stack, StackPlan

    settings = loaded.settings
    stack = Stack(
        StackPlan(
            data=settings.data_dir,
            resources=settings.paths.resource_dir,
            listen=settings.scheduler.listen,
            environment=flags_as_environment(loaded),
            output=_prefixed,
        )
    )

    # A shell starts background programs with SIGINT ignored; we want it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        stack.start()
        # Programs of this user deploy with the same keystores; they must be there when we say that we serve.
        load_identity(folder=settings.paths.resource_dir)
        stack.wait_until_serving()
        print(f"listening on {stack.url}", flush=True)
        while True:
            _wait_for_any([part for part in (stack.scheduler, stack.worker) if part is not None])
            stack.check()
    except KeyboardInterrupt:
        print("stopping: the worker delivers its results first; Ctrl-C again stops at once", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        return 0
    finally:
        _stop(stack, grace_s=settings.worker.cleanup_timeout + 10)


class _Terminated(Exception):
    """SIGTERM: an orderly stop that a service manager asked for, and no failure."""


def _terminate(_number: int, _frame: object) -> None:
    raise _Terminated


def _stop(stack: "Stack", grace_s: float) -> None:
    try:
        stack.stop(grace_s)
    except (KeyboardInterrupt, _Terminated):
        stack.stop(grace_s=0)


def _prefixed(part: str) -> IO[bytes]:
    """A file to write to whose lines come out at our stderr, marked with the part that they are from."""
    reading, writing = os.pipe()
    threading.Thread(target=_forward, args=(part, reading), name=f"output of {part}", daemon=True).start()
    return os.fdopen(writing, "wb")


def _forward(part: str, reading: int) -> None:
    with os.fdopen(reading, "rb") as lines:
        while line := lines.readline(1 << 16):
            text = line.decode("utf-8", "replace").rstrip("\n")
            # JSON lines name their program themselves.
            print(text if text.startswith("{") else f"{part:<9} | {text}", file=sys.stderr, flush=True)


def _wait_for_any(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Sleep until one of them has ended."""
    files: list[int] = []
    try:
        poll = select.poll()
        for process in processes:
            if process.poll() is not None:
                return
            files.append(os.pidfd_open(process.pid))
            poll.register(files[-1], select.POLLIN)
        poll.poll()
    finally:
        for file in files:
            os.close(file)
