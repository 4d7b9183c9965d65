"""Evaluators and evaluator hosts that die in the middle of a job cost time, never a result."""

import sys
from pathlib import Path

from dcp_worker.tests.programs import wait_until
from dcp_worker.tests.stack import Stack, running_stack

CLIENT = """
import sys
from dcp_worker.client import compute_for
work = "(x) => { const end = Date.now() + 50; while (Date.now() < end); return x * x; }"
got = {}
for number, value in compute_for(range(1, 61), work).results_as_they_come():
    assert number not in got, number
    got[number] = value
    print("result", len(got), flush=True)
assert got == {n: n * n for n in range(1, 61)}, got
print("all there")
"""


def kill_all(stack: Stack, what: str) -> int:
    """kill -9 of every process of the stack whose command line says so; gives how many there were."""
    victims = [process for process in stack.program.descendants() if what in " ".join(process.cmdline())]
    for victim in victims:
        victim.kill()
    return len(victims)


def run_job_and_kill(stack: Stack, what: str) -> None:
    client = stack.run([sys.executable, "-c", CLIENT])
    client.wait_for("result 10\n")
    assert kill_all(stack, what) >= 1

    assert client.wait() == 0, client.output
    assert "all there" in client.output


def test_a_host_that_is_killed(tmp_path: Path) -> None:
    """The worker starts it again; each slice has exactly one result, and the right one."""
    with running_stack(tmp_path / "up") as stack:
        stack.program.wait_for("attached to the supervisor")
        run_job_and_kill(stack, "dcp_worker.cli.evaluator_manager")


def test_evaluators_that_are_killed(tmp_path: Path) -> None:
    """All at once: the host opens new ones, and the job goes on."""
    with running_stack(tmp_path / "up") as stack:
        stack.program.wait_for("attached to the supervisor")
        wait_until(lambda: any("deno" in process.name() for process in stack.program.descendants()), "spares")
        run_job_and_kill(stack, "--v8-flags")
