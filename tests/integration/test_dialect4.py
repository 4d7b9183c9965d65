"""The older dialect of workers over the real wire: what it is given, and how it speaks of it."""

import asyncio
from pathlib import Path
from typing import Any

from dcp_worker.protocol.dcp.hashing import eh1, salted
from dcp_worker.protocol.dcp.values import node_of, result_from_node
from dcp_worker.tests.lab import Deployer, HandWorker, authorisation, books, party, running_scheduler

SYMBOL = {"symbol": "z"}


async def request_task(worker: HandWorker, **fields: Any) -> Any:
    """``requestTask`` as dcp-worker 3.3.19 sends it."""
    connection = await worker.connection("taskDistributor")
    join_hash = salted(connection.dcpsid or "", eh1("public undefined"))
    data = {
        "supervisor": "2.0.0",
        "targetLoad": {"cpu": 1, "gpu": 0.75, "longSlices": 2},
        "coreStats": {"worker": worker.name, "lCores": 2, "pCores": 2, "sandbox": 10},
        "capabilities": {"environment": {"webgpu": False, "offscreenCanvas": False, "fdlibm": True}},
        "paymentAddress": str(worker.payment.address),
        "jobAddresses": [],
        "workerComputeGroups": [{"joinKey": "public", "joinHashHash": join_hash}],
        "soteriaJobs": None,
        "rejectedJobs": [],
        "unresolvedJobs": [],
        "fetchState": 1,
        "worktimes": [{"name": "map-basic", "versions": ["1.0.0"]}],
        **fields,
    }
    return await connection.request("requestTask", data)


def test_jobs_go_by_their_address(tmp_path: Path) -> None:
    """Slices, a return, an emission and a result that name the job by its address reach the job; it is paid."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit()
            await deployer.watch(job, "console", "result")
            await deployer.add(job, [3, 4])
            await deployer.close_job(job)
            label = {"label": "schedmsg::broadcast", "options": {"filter": {"$or": [{"broadcast": True}]}}}
            assert (await worker.ask("eventRouter", "subscribe", label))["token"]

            task = await request_task(worker)
            (address,) = task["body"]["newJobs"]
            assert task["auth"]["authSlices"] == {address: [1, 2]}
            assert [one["jobAddress"] for one in task["body"]["task"][address]] == [address, address]
            about = {"worker": worker.name, "authorizationMessage": authorisation(task), "job": address}
            back = {**about, "status": "return", "sliceNumbers": [2], "reason": "too busy"}
            await worker.ask("resultSubmitter", "status", {"worker": worker.name, "slices": [back]})
            again = await request_task(worker, jobAddresses=[address])
            assert again["auth"]["authSlices"] == {address: [2]}
            console = {"eventName": "console", "payload": {"level": "log", "message": "hi", "same": 1}}
            assert await worker.ask("eventRouter", "workEmit", {**about, **console, "slice": 1})
            for number, given in ((1, task), (2, again)):
                result = {
                    **about,
                    "authorizationMessage": authorisation(given),
                    "slice": number,
                    "paymentAddress": str(worker.payment.address),
                    "resultV2": result_from_node(node_of(number), "v8"),
                }
                assert (await worker.ask("resultSubmitter", "result", result))["success"] is True
            await deployer.wait_for_stop()
            assert [event["eventName"] for event in deployer.events].count("console") == 1
            assert [event["eventName"] for event in deployer.events].count("result") == 2
            assert await request_task(worker) == {"body": {}}
            payee = str(worker.payment.address)
        assert books(tmp_path)[payee] == 2 * 10**11

    asyncio.run(run())


def test_jobs_that_only_v9_can_say_stand_in_nobodys_way(tmp_path: Path) -> None:
    """The older worker gets the job behind them; a newer worker gets them."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as older,
            party(HandWorker, scheduler.url) as newer,
        ):
            beyond = [await deployer.submit() for _ in range(3)]
            for job in beyond:
                await deployer.add(job, [1, SYMBOL])
            plain = await deployer.submit()
            await deployer.add(plain, [1])

            task = await request_task(older)
            assert [job["jobId"] for job in task["body"]["newJobs"].values()] == [plain]
            assert await request_task(older) == {"body": {}}
            others = await newer.request(bulk=False, cores=4.0)
            assert set(others["body"]["task"]) == set(beyond)

    asyncio.run(run())
