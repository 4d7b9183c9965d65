"""Unmodified npm dcp-client 5.6.1 deploys to our scheduler; a worker in Python fabricates the results."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcp_worker.tests.lab import HandWorker, inputs_of, party, running_scheduler
from dcp_worker.tests.npm import node_binary, npm_packages

PROGRAM = """
'use strict';
async function main() {
  await require('dcp-client').init();
  const compute = require('dcp/compute');
  const wallet = require('dcp/wallet');
  await wallet.addId(await new wallet.IdKeystore(null, ''));
  const payment = await new wallet.Keystore(null, '');
  async function run(job, ...names) {
    const events = [];
    job.setPaymentAccountKeystore(payment);
    for (const name of names) job.on(name, (event) => events.push([name, event]));
    const results = Array.from(await job.exec());
    return { results, events };
  }
  const said = await (async () => { BODY })();
  console.log('said ' + JSON.stringify(said));
}
main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
"""


def say(tmp_path: Path, body: str, function: Callable[[Any], Any]) -> Any:
    """Run a program against a scheduler of its own, compute its slices by hand, and return what it said."""
    packages = npm_packages({"dcp-client": "5.6.1"})
    program = tmp_path / "program.js"
    program.write_text(PROGRAM.replace("BODY", body))
    (tmp_path / "resources").mkdir()

    async def run() -> str:
        async with (
            running_scheduler(tmp_path / "data") as scheduler,
            party(HandWorker, scheduler.url) as worker,
        ):
            process = await asyncio.create_subprocess_exec(
                str(node_binary()),
                str(program),
                env={
                    **os.environ,
                    "NODE_PATH": str(packages / "node_modules"),
                    "DCP_SCHEDULER_LOCATION": scheduler.url,
                    "DCP_RESOURCE_DIR": str(tmp_path / "resources"),
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            working = asyncio.create_task(work(worker, function))
            try:
                output, _ = await asyncio.wait_for(process.communicate(), 90)
            finally:
                working.cancel()
                if process.returncode is None:
                    process.kill()
            assert process.returncode == 0, output.decode()
            return output.decode()

    output = asyncio.run(run())
    line = next(line for line in output.splitlines() if line.startswith("said "))
    return json.loads(line.removeprefix("said "))


async def work(worker: HandWorker, function: Callable[[Any], Any]) -> None:
    while True:
        task = await worker.request(wait_ms=10_000)
        for job, runs in task["body"].get("runs", {}).items():
            results = [(run["first"], [function(node) for node in inputs_of(task, job, run)]) for run in runs]
            await worker.deliver(task, job, results)


def test_exec_resolves_with_the_results(tmp_path: Path) -> None:
    """compute.for([...]).exec() goes through all its states, gets its events, and the results in order."""
    said = say(
        tmp_path,
        "return run(compute.for([1, 2, 3], function (x) { progress(); return x * x }),"
        " 'readyStateChange', 'status', 'result', 'stop');",
        lambda x: x * x,
    )

    assert said["results"] == [1, 4, 9]
    states = [event for name, event in said["events"] if name == "readyStateChange"]
    assert states[0] == "exec"
    assert states[-1] == "deployed"
    results = {event["sliceNumber"]: event["result"] for name, event in said["events"] if name == "result"}
    assert results == {1: 1, 2: 4, 3: 9}
    stops = [event for name, event in said["events"] if name == "stop"]
    assert stops == [{"runStatus": "finished", "sliceCount": 3}]


def test_a_job_that_is_over_before_its_deployer_listens(tmp_path: Path) -> None:
    """A range job may be computed while its deployer still subscribes; nothing is missed."""
    said = say(
        tmp_path,
        "return run(compute.for(1, 300, function (x) { progress(); return x * x }));",
        lambda x: x * x,
    )

    assert said["results"] == [number * number for number in range(1, 301)]


def test_an_upload_in_portions(tmp_path: Path) -> None:
    """Many inputs come in several uploads, each larger than the one before; text beyond ASCII is kept."""
    said = say(
        tmp_path,
        "return run(compute.for(Array.from({length: 1500}, (_, i) => 'ü%' + i),"
        " function (x) { progress(); return x }));",
        lambda x: x,
    )

    assert said["results"] == [f"ü%{index}" for index in range(1500)]


def test_cancelling(tmp_path: Path) -> None:
    """job.cancel() makes exec() reject with the reason."""
    said = say(
        tmp_path,
        """
        const job = compute.for([1, 2], function (x) { progress(); return x });
        job.setPaymentAccountKeystore(payment);
        job.autoClose = false;
        job.on('accepted', () => setTimeout(() => job.cancel('enough of it'), 100));
        try { await job.exec(); return 'resolved'; } catch (error) { return error.message; }
        """,
        lambda x: x,
    )

    assert "enough of it" in said


def test_a_job_that_its_account_cannot_pay(tmp_path: Path) -> None:
    """exec() rejects with a sentence that says what is missing."""
    said = say(
        tmp_path,
        """
        const job = compute.for([1, 2], function (x) { progress(); return x });
        job.setPaymentAccountKeystore(payment);
        try { await job.exec(5000); return 'resolved'; } catch (error) { return error.message; }
        """,
        lambda x: x,
    )

    assert "holds 1000 DCC, less than the 5000 DCC" in said
