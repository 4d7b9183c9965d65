"""Run a program against a private scheduler, worker and evaluator host that live exactly as long as it
does."""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from ..errors import DcpError
from .stack import Stack, StackError, StackPlan

INTERRUPTED = 130  # exit code of a program that a Ctrl-C has ended


class LocalExecError(DcpError):
    """The program cannot be run."""

    code = "ELOCALEXEC"


def localexec(
    path: Path,
    arguments: Sequence[str] = (),
    *,
    data: Path | None = None,
    worker_arguments: Sequence[str] = (),
    scheduler_arguments: Sequence[str] = (),
) -> int:
    """Run the Python program ``path`` with its own stack and return its exit code.

    The stack's files are in ``data``, which is kept, or else in a temporary folder, which is kept only
    when something went wrong. The program finds the scheduler by $DCP_SCHEDULER_LOCATION and gets
    keystores of its own by $DCP_RESOURCE_DIR. Raises LocalExecError when there is no such program,
    StackError when the stack does not stand."""
    if not path.is_file():
        raise LocalExecError(f"There is no program {path}; give the path of a Python file.")
    started = time.monotonic()
    with _folder(data) as folder:
        plan = StackPlan(
            data=folder / "data",
            resources=folder / "worker",
            logs=folder / "logs",
            scheduler_arguments=scheduler_arguments,
            worker_arguments=worker_arguments,
        )
        stack = Stack(plan)
        try:
            stack.start()
            code = _run(path, arguments, stack, folder)
            if code in (0, INTERRUPTED):
                stack.check()
                summary = _summary(stack.url, folder, time.monotonic() - started)
            else:
                summary = f"{path.name} ended with exit code {code}"
            print(summary, file=sys.stderr)
        finally:
            stack.stop(grace_s=20)
    return code


def _run(path: Path, arguments: Sequence[str], stack: Stack, folder: Path) -> int:
    """Run the program beside the stack; it shares our terminal, so a Ctrl-C reaches it directly."""
    environment = {
        **os.environ,
        "DCP_SCHEDULER_LOCATION": stack.url,
        "DCP_RESOURCE_DIR": str(folder / "deployer"),
    }
    try:
        program = subprocess.Popen([sys.executable, str(path), *arguments], env=environment)
    except OSError as error:
        raise LocalExecError(f"{path} could not be started: {error.strerror}.") from None
    parts = [process for process in (stack.scheduler, stack.worker) if process is not None]
    interrupted = False
    try:
        while program.poll() is None:
            try:
                _wait_for_any([program, *parts])
                if program.poll() is None:
                    stack.check()
            except KeyboardInterrupt:
                interrupted = True  # the program has got it too, and cancels its job; we wait for it
    except StackError:
        program.terminate()
        raise
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(15)
        if program.poll() is None:
            program.kill()
            program.wait()
    if interrupted and program.returncode == 1:
        # Python forgets that it was a KeyboardInterrupt when another thread of it evaluates code at that moment.
        return INTERRUPTED
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


def _wait_for_any(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Sleep until one of them has ended."""
    poll = select.poll()
    files: list[int] = []
    try:
        for process in processes:
            files.append(os.pidfd_open(process.pid))
            poll.register(files[-1], select.POLLIN)
        poll.poll()
    except ProcessLookupError:
        return
    finally:
        for file in files:
            os.close(file)


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield data.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="dcp-localexec-"))
    try:
        yield folder
    except StackError as error:
        raise StackError(f"{error}\nThe logs are kept in {folder / 'logs'}.") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _summary(url: str, folder: Path, seconds: float) -> str:
    """What was computed, how long it took, and what the worker earned by it, as the scheduler has it in
    its books."""
    from loguru import logger

    from .account import account_summary

    logger.disable((__package__ or "").partition(".")[0])  # this is between the user's program and the shell
    try:
        books = account_summary(url, deployer=folder / "deployer", worker=folder / "worker")
    except DcpError as error:
        return f"Done in {seconds:.1f} s (the scheduler's books could not be read: {error})"
    return (
        f"{books.slices} slices of {books.jobs} {'job' if books.jobs == 1 else 'jobs'} in {seconds:.1f} s; "
        f"the worker's account {books.account} has earned {shown_dcc(books.earned)} DCC"
    )


def shown_dcc(amount: Decimal) -> str:
    """An amount for people: no exponent, no trailing zeros."""
    text = f"{amount:.18f}".rstrip("0").rstrip(".")
    return text or "0"
