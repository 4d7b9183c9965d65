"""However `dcp up` ends, what it has started ends with it."""

import contextlib
import signal
from pathlib import Path

import psutil
import pytest

from dcp_worker.tests.programs import wait_until
from dcp_worker.tests.stack import Stack


def started_by(stack: Stack) -> list[psutil.Process]:
    """All its processes, once the worker's evaluator host has attached and has its spare evaluator."""
    stack.program.wait_for("attached to the supervisor")
    wait_until(lambda: len(stack.program.descendants()) >= 4, "scheduler, worker, host, evaluator")
    return stack.program.descendants()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that has ended and waits for init to take notice does not."""
    left = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    """kill -9 of `dcp up`: scheduler, worker, evaluator host and evaluators are gone soon."""
    stack = Stack(tmp_path / "up")
    processes: list[psutil.Process] = []
    try:
        processes = started_by(stack)
        stack.program.process.kill()
        stack.program.wait()
        wait_until(lambda: not alive(processes), "the end of them all")
    finally:
        stack.program.stop()
        for process in alive(processes):
            process.kill()


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_all_ends_when_a_part_dies(tmp_path: Path, part: str) -> None:
    """The error names the part; nothing stays behind; the exit status is not 0."""
    stack = Stack(tmp_path / "up")
    try:
        processes = started_by(stack)
        (victim,) = [process for process in processes if f"dcp_worker.cli.{part}" in process.cmdline()]
        victim.kill()

        assert stack.program.wait() == 1
        assert f"dcp: The {part} ended" in stack.program.output
        wait_until(lambda: not alive(processes), "the end of them all")
    finally:
        stack.program.stop()


def test_sigterm_stops_in_order(tmp_path: Path) -> None:
    """As a service manager stops it: status 0, and the worker said goodbye before the scheduler ended."""
    stack = Stack(tmp_path / "up")
    try:
        processes = started_by(stack)
        stack.program.process.send_signal(signal.SIGTERM)

        assert stack.program.wait() == 0
        assert alive(processes) == []
        assert "Traceback" not in stack.program.output
    finally:
        stack.program.stop()
