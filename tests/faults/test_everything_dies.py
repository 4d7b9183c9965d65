"""One job, and in the middle of it kill -9 of everything that takes part, one after the other."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.lab import books
from dcp_worker.tests.programs import Program, command, is_alive, wait_until

SLICES = 400
PRICE = 10**11  # the market price of a slice, in 10^-18 DCC
DEPLOY = f"""
from dcp_worker.client import compute_for
work = "x => {{ const end = Date.now() + 20; while (Date.now() < end); return x * x }}"
job = compute_for(range(1, {SLICES} + 1), work)
print("job", job.id, flush=True)
"""
ATTACH = """
import sys
from dcp_worker.client import Job
job = Job.attach(sys.argv[1])
"""
FOLLOW = f"""
got = {{}}
for number, value in job.results_as_they_come():
    assert number not in got, number
    got[number] = value
    print("result", len(got), flush=True)
assert got == {{n: n * n for n in range(1, {SLICES} + 1)}}, got
print("all there")
"""


class Parts:
    """Scheduler, worker and deployer, each a program of its own that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, Program] = {}
        self.started = 0
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.address = f"127.0.0.1:{server.getsockname()[1]}"

    def start(self, part: str, *arguments: str) -> Program:
        self.started += 1
        environment = {
            "DCP_ETCDIR": str(self.folder),
            "DCP_RESOURCE_DIR": str(self.folder / part / "resources"),
            "DCP_SCHEDULER_LOCATION": f"http://{self.address}/",
        }
        log = self.folder / f"{self.started}-{part}.log"
        self.running[part] = Program(arguments, log, env=environment, cwd=self.folder)
        return self.running[part]

    def scheduler(self) -> None:
        data = str(self.folder / "scheduler")
        program = self.start("scheduler", command("dcp-scheduler"), "--listen", self.address, "--data", data)
        program.wait_for("listening on")

    def worker(self) -> None:
        data = str(self.folder / "worker")
        self.start("worker", command("dcp-worker"), "--cores", "2", "--data", data)

    def deployer(self, source: str, *arguments: str) -> Program:
        return self.start("deployer", sys.executable, "-c", source + FOLLOW, *arguments)

    def kill(self, part: str) -> None:
        """kill -9, and wait until what it had started is gone, too."""
        program = self.running[part]
        left = program.descendants()
        program.process.kill()
        program.wait()
        wait_until(lambda: not any(map(is_alive, left)), f"the end of what the {part} had started")

    def kill_below_worker(self, words: str) -> None:
        def there() -> list[psutil.Process]:
            return [one for one in self.running["worker"].descendants() if words in command_line(one)]

        wait_until(there, f"a process with {words!r}")
        there()[0].kill()

    def stop(self) -> None:
        for program in self.running.values():
            program.stop()


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    skip_unless_confined()
    parts = Parts(tmp_path)
    try:
        yield parts
    finally:
        parts.stop()


def test_each_part_is_killed_in_the_middle_of_one_job(parts: Parts) -> None:
    """All results are there, each slice is paid for once, and the books sum to zero."""
    parts.scheduler()
    parts.worker()
    deployer = parts.deployer(DEPLOY)
    job = deployer.wait_for(r"job (\S+)").group(1)

    deployer.wait_for("result 10\n")
    parts.kill_below_worker("--v8-flags")
    deployer.wait_for("result 30\n")
    parts.kill_below_worker("dcp_worker.cli.evaluator_manager")
    deployer.wait_for("result 60\n")
    parts.kill("deployer")
    assert "all there" not in deployer.output
    deployer = parts.deployer(ATTACH, job)
    deployer.wait_for("result 100\n")
    parts.kill("worker")
    parts.worker()
    deployer.wait_for("result 180\n")
    parts.kill("scheduler")
    parts.kill("worker")  # with results that nobody has taken
    parts.scheduler()
    parts.worker()

    assert deployer.wait(120) == 0, deployer.output
    assert "all there" in deployer.output
    assert parts.running["worker"].interrupt() == 0
    assert parts.running["scheduler"].interrupt() in (0, 130)
    balances = {account: amount for account, amount in books(parts.folder / "scheduler").items() if amount}
    keystore = json.loads((parts.folder / "worker" / "resources" / "default.keystore").read_text())
    earner = keystore["address"].removeprefix("0x").lower()
    assert sum(balances.values()) == 0
    assert {account.lower()[2:]: amount for account, amount in balances.items()}[earner] == SLICES * PRICE
    assert len(balances) == 3, balances  # the issuer, the deployer, the worker: nothing is left in escrow
