"""What must not cross a border: secrets to other processes, files to other users, idle sockets to everybody's cost."""

import asyncio
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import aiohttp
import psutil
import pytest

from dcp_worker.scheduler import impatience
from dcp_worker.tests import wire
from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.lab import running_scheduler
from dcp_worker.tests.programs import Program, command, wait_until

SECRET = "hunter2hunter2"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[tuple[Program, Program]]:
    """A scheduler and a worker in a folder of somebody who means no good; a umask that hides nothing."""
    skip_unless_confined()
    for name in ("dcp_worker", "pykka", "zmq", "msgpack", "loguru"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")
    environment = {"DCP_RESOURCE_DIR": str(tmp_path / "resources")}
    data = tmp_path / "scheduler"
    data.mkdir(mode=0o755)
    scheduler = Program(
        [command("dcp-scheduler"), "--listen", "127.0.0.1:0", "--data", str(data)],
        tmp_path / "scheduler.log",
        env=environment,
        cwd=tmp_path,
    )
    programs = [scheduler]
    try:
        url = scheduler.wait_for(r"listening on (http://\S+)").group(1)
        arguments = ["--dcp-scheduler", url, "--data", str(tmp_path / "data"), "--cores", "1", "-vv"]
        worker = Program(
            [command("dcp-worker"), *arguments, "--join", f"lab,{SECRET}"],
            tmp_path / "worker.log",
            env=environment,
            cwd=tmp_path,
        )
        programs.append(worker)
        worker.wait_for(r"host .* attached")
        yield scheduler, worker
    finally:
        for program in reversed(programs):
            program.stop()


def test_secrets_and_files_stay_ours(stack: tuple[Program, Program], tmp_path: Path) -> None:
    """The evaluator host and its evaluators get no join secret, neither as argument nor as variable; no log has
    it; what is written is for its owner; there will be no core dump; modules in the working folder are not ours.
    """
    scheduler, worker = stack
    wait_until(lambda: len(worker.descendants()) >= 2, "an evaluator to start")
    for process in worker.descendants():
        try:
            assert SECRET not in " ".join([*process.cmdline(), *process.environ().values()])
        except psutil.NoSuchProcess:
            continue
    assert SECRET not in worker.output
    assert "taken over" not in worker.output
    for program in stack:
        assert resource.prlimit(program.process.pid, resource.RLIMIT_CORE)[0] == 0

    written = [path for part in ("scheduler", "data", "resources") for path in (tmp_path / part).rglob("*")]
    assert {"scheduler.sqlite", "identity.key", "id.keystore", "outbox.db"} <= {path.name for path in written}
    shared = [str(path) for path in written if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert shared == []
    assert scheduler.process.poll() is None


async def dialled(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


def test_who_asks_for_nothing_is_dropped(tmp_path: Path) -> None:
    """A connection without a request, or with half of one, ends; one that has asked may rest."""

    async def run() -> None:
        async with running_scheduler(tmp_path / "data") as scheduler:
            port = int(scheduler.url.rsplit(":", 1)[1].strip("/"))
            asked, asking = await dialled(port, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200 OK" in await asked.readuntil(b"}")
            silent, one = await dialled(port, b"")
            half, two = await dialled(port, b"GET /health HTTP/1.1\r\nHost: ")
            for reader in (silent, half):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            asking.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200 OK" in await asked.readuntil(b"}")
            for writer in (one, two, asking):
                writer.close()

    with patch.object(impatience, "FIRST_REQUEST_S", 0.3):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /etc/dcp-config.kvin HTTP/1.1\r\nHost: x:99999999\r\n\r\n", b"400"),
        (b"GET /etc/dcp-config.kvin HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /nothing/here HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", b"405"),
        (
            b"POST /job-submit/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
            b"400",
        ),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
    ],
)
def test_bad_requests_get_an_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], request_: bytes, status: bytes
) -> None:
    """Each is refused with a status of the 4xx, and no traceback fills the logs."""

    async def run() -> None:
        async with running_scheduler(tmp_path / "data") as scheduler:
            port = int(scheduler.url.rsplit(":", 1)[1].strip("/"))
            reader, writer = await dialled(port, request_)
            assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == status
            writer.close()

    asyncio.run(run())
    assert "Traceback" not in capfd.readouterr().err


def test_pages_of_other_origins_are_shut_out() -> None:
    """A page that somebody looks at must not deploy to the scheduler of that box; programs send no origin."""

    async def statuses(allowed: tuple[str, ...]) -> list[int]:
        async def nothing(_peer: object, _request: object) -> None:
            return None

        found = []
        async with (
            wire.serving({"/a/": nothing}, origins=allowed) as server,
            aiohttp.ClientSession() as session,
        ):
            for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "https://lab.example"}):
                url = server.url("/a/dcp5/socketio/?EIO=4&transport=polling")
                async with session.get(url, headers=headers) as answer:
                    found.append(answer.status)
        return found

    assert asyncio.run(statuses(())) == [200, 400, 400]
    assert asyncio.run(statuses(("https://lab.example",))) == [200, 400, 200]
    assert asyncio.run(statuses(("*",))) == [200, 200, 200]
