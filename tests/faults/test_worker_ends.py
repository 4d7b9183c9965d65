"""A worker that is killed, interrupted, or alone: nothing that was finished is lost."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dcp_worker.tests.programs import Program, command, wait_until

CLIENT = """
import sys
from dcp_worker.client import compute_for
count, ms = int(sys.argv[1]), int(sys.argv[2])
work = f"(x) => {{ const end = Date.now() + {ms}; while (Date.now() < end); return x * x; }}"
got = {}
for number, value in compute_for(range(1, count + 1), work).results_as_they_come():
    assert number not in got, number
    got[number] = value
    print("result", len(got), flush=True)
assert got == {n: n * n for n in range(1, count + 1)}, got
print("all there")
"""


class Lab:
    """A scheduler, and workers and deployers beside it, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"DCP_RESOURCE_DIR": str(folder / "resources")}
        self.started: list[Program] = []
        self.scheduler = self.start(
            "scheduler",
            [command("dcp-scheduler"), "--listen", "127.0.0.1:0", "--data", str(folder / "scheduler")],
        )
        self.url = self.scheduler.wait_for(r"listening on (http://\S+)").group(1)
        self.env["DCP_SCHEDULER_LOCATION"] = self.url

    def start(self, name: str, arguments: list[str]) -> Program:
        program = Program(arguments, self.folder / f"{name}.log", env=self.env, cwd=self.folder)
        self.started.append(program)
        return program

    def worker(self, name: str = "worker", *arguments: str) -> Program:
        data = str(self.folder / "data")
        return self.start(name, [command("dcp-worker"), "--data", data, "--cores", "2", *arguments])

    def client(self, count: int, ms: int, name: str = "client") -> Program:
        return self.start(name, [sys.executable, "-c", CLIENT, str(count), str(ms)])

    def stop(self) -> None:
        for program in reversed(self.started):
            program.stop()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.stop()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that has ended and waits for init to take notice does not."""
    left = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def paid(*programs: Program) -> int:
    """How many slices the workers say that they were paid for."""
    lines = [line for program in programs for line in program.output.splitlines() if " paid " in line]
    return sum(int(line.split(" slices of job")[0].split()[-1]) for line in lines)


def test_a_killed_worker_delivers_at_its_next_start(lab: Lab) -> None:
    """kill -9 in the middle: the next one computes the rest, and each slice is paid for once."""
    first = lab.worker("first")
    client = lab.client(150, 20)
    client.wait_for("result 20\n")
    left = first.descendants()
    first.process.kill()
    first.wait()
    wait_until(lambda: not alive(left), "the end of what the worker started")
    second = lab.worker("second")

    assert client.wait() == 0, client.output
    assert "all there" in client.output
    assert second.interrupt() == 0, second.output
    assert 150 - 64 <= paid(first, second) <= 150  # what was paid just before the kill may not be in the log
    assert (
        not (lab.folder / "data" / "outbox.db-wal").exists() or "could not be delivered" not in second.output
    )


def test_an_interrupted_worker_leaves_its_slices_to_others(lab: Lab) -> None:
    """One SIGINT: what runs is finished, the rest goes back at once and another worker does it."""
    first = lab.worker("first")
    client = lab.client(60, 50)
    client.wait_for("result 5\n")
    left = first.descendants()
    assert first.interrupt(30) == 0, first.output
    assert "returned" in first.output
    wait_until(lambda: not alive(left), "the end of what the worker started")
    lab.worker("second")

    assert client.wait() == 0, client.output
    assert "all there" in client.output


def test_the_second_signal_ends_a_worker_at_once(lab: Lab) -> None:
    """Even when a slice runs that would take an hour."""
    worker = lab.worker()
    client = lab.client(2, 3_600_000)
    worker.wait_for("fetched")
    wait_until(lambda: len(worker.descendants()) > 2, "sandboxes")
    left = worker.descendants()
    worker.process.send_signal(signal.SIGINT)
    worker.wait_for("stopping")
    assert worker.interrupt(20) == 130
    wait_until(lambda: not alive(left), "the end of what the worker started")
    client.stop()


def test_a_scheduler_that_restarts_costs_time_only(lab: Lab) -> None:
    """The worker computes on, keeps what it has, and delivers when the scheduler is back."""
    worker = lab.worker()
    client = lab.client(100, 30)
    client.wait_for("result 10\n")
    lab.scheduler.process.kill()
    lab.scheduler.wait()
    address = lab.url.removeprefix("http://").strip("/")
    lab.start(
        "scheduler2", [command("dcp-scheduler"), "--listen", address, "--data", str(lab.folder / "scheduler")]
    )

    assert client.wait(90) == 0, client.output
    assert "all there" in client.output
    assert worker.interrupt() == 0, worker.output


def test_a_scheduler_that_is_not_there_is_said_once_and_waited_for(tmp_path: Path) -> None:
    """One clear line, no traceback, and an orderly end on a signal."""
    env = {"DCP_RESOURCE_DIR": str(tmp_path / "res"), "DCP_SCHEDULER_LOCATION": "http://127.0.0.1:9/"}
    arguments = [command("dcp-worker"), "--data", str(tmp_path / "data"), "--no-local-host"]
    worker = Program(arguments, tmp_path / "worker.log", env=env)
    worker.wait_for("127.0.0.1:9.*does not answer")
    assert worker.interrupt(15) == 0
    assert "Traceback" not in worker.output


def test_two_workers_with_one_data_folder(lab: Lab) -> None:
    """The second one says what is wrong and ends."""
    first = lab.worker("first", "--no-local-host")
    first.wait_for("found the scheduler")
    second = lab.worker("second", "--no-local-host")
    assert second.wait() != 0
    assert "another worker uses the outbox" in second.output
    assert "Traceback" not in second.output
