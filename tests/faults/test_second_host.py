"""An evaluator host on another box: its own folder, its own key, CURVE between it and the worker of `dcp up`."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.npm import node_binary, npm_packages
from dcp_worker.tests.programs import Program, command, is_alive, wait_until
from dcp_worker.tests.stack import Stack, running_stack

SLICES = 200
SQUARES = [x * x for x in range(1, SLICES + 1)]
DEPLOYER = f"""
'use strict';
async function main() {{
  await require('dcp-client').init();
  const job = require('dcp/compute').for(1, {SLICES}, function (x) {{
    const end = Date.now() + 40;
    while (Date.now() < end) progress();
    return x * x;
  }});
  let came = 0;
  job.on('result', (event) => console.log('result ' + ++came + ' is of slice ' + event.sliceNumber));
  console.log('results ' + JSON.stringify(Array.from(await job.exec())));
}}
main().then(() => process.exit(0), (error) => {{ console.error(error); process.exit(1); }});
"""


class Boxes:
    """`dcp up` on one box, and an evaluator host on another; they share nothing but what people type."""

    def __init__(self, stack: Stack, endpoint: str, folder: Path) -> None:
        self.stack = stack
        self.key = self.dcp("host", "key").strip()
        self.host = Program(
            [
                command("dcp-evaluator-manager"),
                *("--supervisor", endpoint, "--supervisor-key", self.key, "--name", "box-2"),
            ],
            folder / "box-2.log",
            env={"DCP_RESOURCE_DIR": str(folder / "box-2"), "DCP_ETCDIR": str(folder)},
            cwd=folder,
        )

    def dcp(self, *arguments: str) -> str:
        """What a command prints on the worker's box."""
        done = subprocess.run(
            [command("dcp"), *arguments],
            env={**os.environ, **self.stack.environment},
            cwd=self.stack.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def deploy(self) -> Program:
        """An unmodified npm dcp-client with a job that takes both hosts a while."""
        packages = npm_packages({"dcp-client": "5.6.1"})
        program = self.stack.folder / "deployer.js"
        program.write_text(DEPLOYER)
        self.stack.environment["NODE_PATH"] = str(packages / "node_modules")
        return self.stack.run([str(node_binary()), str(program)], "node")

    def finished_by(self, name: str) -> int:
        """How many slices a host has finished, as the worker says."""
        counts = re.findall(rf"host {re.escape(name)} has finished (\d+) slices", self.stack.program.output)
        return sum(map(int, counts))


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    skip_unless_confined()
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    here = {"DCP_LOG_LEVEL": "debug", "DCP_EVALUATOR_HOST_NAME": "box-1"}
    with running_stack(tmp_path / "up", ["--evaluator-hosts", endpoint], here) as stack:
        boxes = Boxes(stack, endpoint, tmp_path)
        try:
            yield boxes
        finally:
            boxes.host.stop()


def check(deployer: Program) -> None:
    """Every slice had one result, and the right one."""
    assert deployer.wait(120) == 0, deployer.output
    last = next(line for line in deployer.output.splitlines() if line.startswith("results "))
    assert json.loads(last.removeprefix("results ")) == SQUARES
    told = re.findall(r"result \d+ is of slice (\d+)", deployer.output)
    assert sorted(map(int, told)) == list(range(1, SLICES + 1))


def test_a_second_host_takes_its_share_and_may_die(boxes: Boxes) -> None:
    """Refused until it is authorised, as its own log says how; then it computes, and kill -9 loses nothing."""
    word = boxes.host.wait_for(r"dcp host authorise ([0-9a-f]{64}) --name (\S+)")
    boxes.stack.program.wait_for(rf"its key is not authorised.*dcp host authorise {word.group(1)}")
    assert "host box-2 attached" not in boxes.stack.program.output
    assert "may attach" in boxes.dcp("host", "authorise", word.group(1), "--name", word.group(2))
    boxes.stack.program.wait_for("host box-2 attached")
    boxes.stack.program.wait_for("host box-1 attached")

    deployer = boxes.deploy()
    deployer.wait_for("result 20 ")
    wait_until(
        lambda: boxes.finished_by("box-1") and boxes.finished_by("box-2"), "both hosts to finish slices"
    )
    assert f"result {SLICES} " not in deployer.output
    left = boxes.host.descendants()
    boxes.host.process.kill()
    boxes.host.wait()

    check(deployer)
    boxes.stack.program.wait_for("the connection of host .* has ended")
    wait_until(lambda: not any(map(is_alive, left)), "the evaluators of the killed host to be gone")


def test_a_host_that_is_revoked_in_the_middle_loses_nothing(boxes: Boxes) -> None:
    """What it had is computed by the other host."""
    word = boxes.host.wait_for(r"dcp host authorise ([0-9a-f]{64})")
    boxes.dcp("host", "authorise", word.group(1), "--name", "box-2")
    boxes.stack.program.wait_for("host box-2 attached")

    deployer = boxes.deploy()
    wait_until(lambda: boxes.finished_by("box-2"), "the second host to finish slices")
    assert f"result {SLICES} " not in deployer.output
    boxes.dcp("host", "revoke", "box-2")

    check(deployer)
