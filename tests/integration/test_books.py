"""`dcp job` and `dcp bank` against a running scheduler, as the identity that has deployed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from dcp_worker.tests.programs import Program, command, wait_until

DEPLOY = "from dcp_worker.client import compute_for\ncompute_for([1, 2, 3], 'x => x * x').exec()\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A scheduler without workers, and the variables that point at it."""
    folder = tmp_path_factory.mktemp("books")
    own = {"DCP_ETCDIR": str(folder), "DCP_RESOURCE_DIR": str(folder / "resources")}
    program = Program(
        [command("dcp-scheduler"), "--listen", "127.0.0.1:0", "--data", str(folder / "data")],
        folder / "output",
        env=own,
        cwd=folder,
    )
    try:
        url = program.wait_for(r"listening on (http://\S+)").group(1)
        yield {**os.environ, **own, "DCP_SCHEDULER_LOCATION": url, "PWD": str(folder)}
    finally:
        program.stop()


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command("dcp"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=environment["PWD"],
        timeout=60,
    )


def test_a_job_is_listed_shown_and_cancelled(environment: dict[str, str], tmp_path: Path) -> None:
    """The deployer is told, and the escrow comes back to the account."""
    deployer = Program([sys.executable, "-c", DEPLOY], tmp_path / "output", env=environment, cwd=tmp_path)
    try:
        listed: list[dict[str, object]] = []

        def uploaded() -> bool:
            done = run(environment, "job", "list", "--json")
            assert done.returncode == 0, done.stderr
            listed[:] = json.loads(done.stdout)
            return [job["total"] for job in listed] == [3]

        wait_until(uploaded, "the job with its three slices")
        job = str(listed[0]["id"])
        shown = run(environment, "job", "show", job, "--json")
        in_escrow = balance(environment)
        cancelled = run(environment, "job", "cancel", job, "--reason", "enough of it", "--json")

        assert json.loads(shown.stdout) == listed
        assert (listed[0]["done"], listed[0]["failed"]) == (0, 0)
        assert Decimal(999) < in_escrow < Decimal(1000)
        assert json.loads(cancelled.stdout) == {"job": job, "status": "cancelled"}
        assert balance(environment) == Decimal(1000)
        assert deployer.wait() != 0
        assert f"Job {job} was cancelled" in deployer.output
    finally:
        deployer.stop()


def balance(environment: dict[str, str]) -> Decimal:
    done = run(environment, "bank", "balance", "--json")
    assert done.returncode == 0, done.stderr
    return Decimal(json.loads(done.stdout)["balance"])


def test_a_job_that_is_not_there_is_a_clear_error(environment: dict[str, str]) -> None:
    for action in ("show", "cancel"):
        done = run(environment, "job", action, "0" * 22)

        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr


def test_no_scheduler_is_a_clear_error(environment: dict[str, str]) -> None:
    done = run(environment, "job", "list", "--dcp-scheduler", "http://127.0.0.1:1/")

    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
