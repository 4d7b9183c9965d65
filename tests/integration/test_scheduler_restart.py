"""A scheduler process that is killed in the middle of a job, and one that cannot start."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from dcp_worker.protocol.dcp.initiator import Connection
from dcp_worker.scheduler.data_dir import DataDirError
from dcp_worker.scheduler.service import ListenError, Scheduler
from dcp_worker.scheduler.settings import SchedulerSettings
from dcp_worker.tests.lab import Deployer, HandWorker, books, running_scheduler
from dcp_worker.tests.programs import Program, command


def test_a_killed_scheduler_goes_on_where_it_was(tmp_path: Path) -> None:
    """After kill -9 the same identity serves; what was acknowledged is there; late work is paid once."""
    data = tmp_path / "data"

    def start(port: int) -> tuple[Program, str]:
        program = Program(
            [command("dcp-scheduler"), "--listen", f"127.0.0.1:{port}", "--data", str(data)],
            tmp_path / f"scheduler-{port}.log",
            cwd=tmp_path,
        )
        return program, program.wait_for(r"listening on (http://\S+)").group(1)

    program, url = start(0)

    async def before() -> tuple[Deployer, HandWorker, str, object, object]:
        deployer, worker = Deployer(url), HandWorker(url)
        job = await deployer.submit()
        await deployer.add(job, list(range(1, 31)))
        await deployer.close_job(job)
        task = await worker.request()
        await worker.deliver(task, job, [(1, [1, 4, 9])])
        connection: Connection = await worker.connection("taskDistributor")
        identity = connection.peer_address
        os.kill(program.process.pid, signal.SIGKILL)
        await deployer.close()
        await worker.close()
        return deployer, worker, job, task, identity

    async def after(deployer: Deployer, worker: HandWorker, job: str, task: object, identity: object) -> None:
        assert isinstance(task, dict)
        again = await worker.deliver(task, job, [(1, [0, 0, 0]), (4, [16, 25])])
        assert again["accepted"] == 2
        connection = await worker.connection("resultSubmitter")
        assert connection.peer_address == identity
        await deployer.watch(job, "results")
        await worker.give_back(task, job, [[6, 3]])
        await worker.compute(lambda x: x * x)
        await deployer.wait_for_stop()
        results, failures = await deployer.fetch(job, [1, 30])
        assert results == {number: number * number for number in range(1, 31)}
        assert failures == {}
        await deployer.close()
        await worker.close()

    async def whole() -> tuple[str, Program]:
        nonlocal program
        state = await before()
        await asyncio.to_thread(program.wait)
        second, second_url = await asyncio.to_thread(start, int(url.rstrip("/").rpartition(":")[2]))
        assert second_url == url
        await after(*state)
        return str(state[1].payment.address), second

    payee, second = asyncio.run(whole())
    try:
        assert second.interrupt() in (0, 130)
    finally:
        second.stop()
    balances = books(data)
    assert sum(balances.values()) == 0
    assert balances[payee] == 30 * 10**11


def test_two_schedulers_do_not_share_a_directory(tmp_path: Path) -> None:
    """The second one says who is there, and leaves the first one alone."""

    async def run() -> None:
        async with running_scheduler(tmp_path) as scheduler:
            with pytest.raises(DataDirError, match=f"process {os.getpid()}"):
                await Scheduler(SchedulerSettings(data_dir=tmp_path)).start()
            async with running_deployer(scheduler.url) as deployer:
                assert await deployer.submit()

    asyncio.run(run())


class running_deployer:  # noqa: N801
    def __init__(self, url: str) -> None:
        self.deployer = Deployer(url)

    async def __aenter__(self) -> Deployer:
        return self.deployer

    async def __aexit__(self, *_: object) -> None:
        await self.deployer.close()


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """The error names the port; the directory is free again."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ListenError, match=str(port)):
                await Scheduler(SchedulerSettings(data_dir=tmp_path, port=port)).start()
        async with running_scheduler(tmp_path, port=port) as scheduler:
            assert f":{port}/" in scheduler.url

    asyncio.run(run())


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file in the way, or a file system that takes nothing: one sentence, no traceback."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("x")
    for path in (in_the_way, Path("/proc/scheduler")):
        with pytest.raises(DataDirError, match="cannot be written"):
            asyncio.run(Scheduler(SchedulerSettings(data_dir=path)).start())


def test_the_key_is_private_and_stays(tmp_path: Path) -> None:
    """Mode 0600, the same address after a restart; a key that others can read is refused."""

    async def address() -> str:
        async with running_scheduler(tmp_path) as scheduler:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(scheduler.url.rstrip("/")[-5:]))
            writer.write(b"GET /health HTTP/1.0\r\nHost: x\r\n\r\n")
            body = (await reader.read()).partition(b"\r\n\r\n")[2]
            writer.close()
            return str(json.loads(body)["address"])

    first, second = asyncio.run(address()), asyncio.run(address())
    assert first == second
    key = tmp_path / "identity.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(DataDirError, match="chmod 600"):
        asyncio.run(address())
