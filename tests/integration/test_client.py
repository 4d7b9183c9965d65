"""The Compute API against a real scheduler over the real wire; a worker made by hand gives the results."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcp_worker.client import (
    ClientError,
    Job,
    JobCancelled,
    SliceError,
    SliceErrors,
    compute_for,
)
from dcp_worker.client.account import JobSummary, account_summary, list_jobs
from dcp_worker.client.identity import load_identity
from dcp_worker.client.services import Services
from dcp_worker.errors import DcpError
from dcp_worker.protocol.dcp import bootstrap
from dcp_worker.protocol.dcp.initiator import RequestRefused
from dcp_worker.tests.client_lab import ClientLab, client_lab
from dcp_worker.tests.programs import wait_until

WORK = "x => x * x"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientLab]:
    """One scheduler and one deployer for the tests that do it no harm."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch, client_lab(folder / "scheduler") as lab:
        patch.setenv("DCP_RESOURCE_DIR", str(folder / "resources"))
        patch.setenv("DCP_SCHEDULER_LOCATION", lab.url)
        yield lab


@pytest.fixture
def working(lab: ClientLab) -> Iterator[ClientLab]:
    """The lab as it was at first."""
    yield lab
    lab.work = lambda x: x * x
    lab.emit = []
    lab.gate.set()
    lab.soon(lambda: lab.relay.refuse(False))


def summary_of(lab: ClientLab, job: str) -> JobSummary | None:
    """What the scheduler says about a job of ours; None when it does not know it."""

    async def ask() -> JobSummary | None:
        services = await Services.open(lab.url, load_identity(), no_events, lambda _: None)
        try:
            [summary] = await list_jobs(services, job)
        except RequestRefused:
            return None
        else:
            return summary
        finally:
            await services.close()

    return asyncio.run(ask())


def status_of(lab: ClientLab, job: str) -> str:
    summary = summary_of(lab, job)
    assert summary is not None
    return summary.status


def wait_for_upload(lab: ClientLab, job: Job) -> None:
    """Wait until the scheduler has all inputs of a job."""

    def uploaded() -> bool:
        summary = summary_of(lab, job.id)
        return summary is not None and summary.total == job.total

    wait_until(uploaded, "the upload")


async def no_events(_operation: str, _data: Any) -> str:
    return "success"


# -- The three kinds of inputs, and the ways to wait ---------------------------------------------------------


@pytest.mark.usefixtures("working")
def test_a_list_comes_back_in_order() -> None:
    """The call of the README, with its result."""
    assert compute_for([1, 2, 3], WORK).exec() == [1, 4, 9]


def test_every_value_survives_both_ways(working: ClientLab) -> None:
    """What Python deploys, a work function gets, and what it returns, Python gets."""
    working.work = lambda x: [x]
    values = [b"\x00\xff", {"a": [None, {"b": "ü\U0001f600"}]}, -0.5, 2**53 - 1, "", True, []]

    assert compute_for(values, WORK).exec() == [[value] for value in values]


def test_a_range_is_counted_by_the_worker(working: ClientLab) -> None:
    """A Python range, and start and end as in JavaScript, cost one row; results stand in slice order."""
    working.work = lambda slice_number: slice_number  # the hand worker sees only slice numbers

    assert compute_for(range(10, 30, 5), WORK).exec() == [1, 2, 3, 4]
    assert compute_for(1, 3, WORK).exec() == [1, 2, 3]
    assert compute_for(1, 2, 0.5, WORK).exec() == [1, 2, 3]


@pytest.mark.usefixtures("working")
def test_a_generator_is_uploaded_as_it_goes() -> None:
    """Nobody needs to know how many inputs there are, and results come before all inputs are made."""
    seen: list[int] = []
    wait = threading.Event()

    def inputs() -> Iterator[int]:
        yield from range(30)
        assert wait.wait(30)  # holds the second pile up until a result of the first has come
        yield from range(30, 500)

    job = compute_for(inputs(), WORK)
    pairs = {}
    for number, value in job.results_as_they_come():
        pairs[number] = value
        seen.append(number)
        wait.set()

    assert pairs == {number: (number - 1) ** 2 for number in range(1, 501)}
    assert len(seen) == 500
    assert job.total == 500


@pytest.mark.usefixtures("working")
def test_await_and_async_iteration() -> None:
    """The same job in a coroutine."""

    async def program() -> None:
        assert await compute_for([4, 5], WORK) == [16, 25]
        async with compute_for(range(1, 4), WORK) as job:
            assert sorted([pair async for pair in job]) == [(1, 1), (2, 4), (3, 9)]

    asyncio.run(program())


def test_no_inputs_need_no_scheduler() -> None:
    """A job over nothing is over at once."""
    assert compute_for([], WORK, scheduler="http://127.0.0.1:1/").exec() == []


# -- Failing slices ------------------------------------------------------------------------------------------


def test_slices_that_throw_are_told_at_the_end(working: ClientLab) -> None:
    """All other slices are done, and the exception carries everything."""

    def work(x: Any) -> Any:
        if x == 2:
            raise TypeError("x is two")
        return x

    working.work = work
    heard: list[SliceError] = []
    job = compute_for([1, 2, 3], WORK).on("error", heard.append)

    with pytest.raises(SliceErrors, match="slice 2: TypeError: x is two") as raised:
        job.exec()

    assert list(raised.value.errors) == [2]
    assert raised.value.results[0::2] == [1, 3]
    assert [failure.slice for failure in heard] == [2]
    results = compute_for([1, 2, 3], WORK, errors="return").exec()
    assert results[0::2] == [1, 3]
    assert isinstance(results[1], SliceError)
    assert results[1].message == "TypeError: x is two"


def test_console_and_custom_events_reach_their_listeners(working: ClientLab) -> None:
    """What the work function says while it runs is heard where the job is waited for."""
    working.emit = [
        ("console", {"level": "log", "message": "hello", "same": 1}),
        ("custom", {"customEvent": "heat", "value": 3}),
    ]
    job = compute_for([1], WORK)
    heard: list[Any] = []
    threads: set[int] = set()
    for name in ("console", "custom", "result", "status", "state"):
        job.on(
            name, lambda event, name=name: (heard.append((name, event)), threads.add(threading.get_ident()))
        )

    job.exec()

    by_name = dict(heard)
    assert by_name["console"].message == "hello"
    assert by_name["custom"].name == "heat"
    assert by_name["custom"].value == 3
    assert (by_name["result"].slice, by_name["result"].value) == (1, 1)
    assert by_name["state"] == "finished"
    assert threads == {threading.get_ident()}


# -- Cancelling ----------------------------------------------------------------------------------------------


def test_a_cancelled_job_raises_where_it_is_waited_for(working: ClientLab) -> None:
    """cancel() from another thread ends exec(), and the scheduler knows."""
    working.gate.clear()
    job = compute_for([1, 2, 3], WORK)
    job.on(
        "state",
        lambda state: state == "running" and threading.Thread(target=job.cancel, args=("enough",)).start(),
    )

    with pytest.raises(JobCancelled, match="enough"):
        job.exec()

    assert job.state == "cancelled"
    assert status_of(working, job.id) == "cancelled"


def test_leaving_an_async_block_cancels(working: ClientLab) -> None:
    """A program that leaves its job behind does not pay for it."""
    working.gate.clear()

    async def program() -> str:
        async with compute_for([1, 2, 3], WORK) as job:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await job
        return job.id

    assert status_of(working, asyncio.run(program())) == "cancelled"


def test_inputs_that_fail_cancel_the_job(working: ClientLab) -> None:
    """An exception out of a generator reaches the program as it is; the half-deployed job is cancelled."""

    def inputs() -> Iterator[int]:
        yield from range(50)
        raise RuntimeError("disk full")

    job = compute_for(inputs(), WORK)

    with pytest.raises(RuntimeError, match="disk full"):
        job.exec()

    assert status_of(working, job.id) == "cancelled"


def test_ctrl_c_cancels_politely(working: ClientLab, tmp_path: Path) -> None:
    """A program that is interrupted tells the scheduler, and ends as programs do that were interrupted."""
    working.gate.clear()
    program = tmp_path / "program.py"
    program.write_text(
        "from dcp_worker.client import compute_for\n"
        f"job = compute_for([1, 2, 3], {WORK!r})\n"
        "job.on('state', lambda state: print(state, job.id, flush=True))\n"
        "job.exec()\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("running"):
        assert line, process.communicate()
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in errors
    assert time.monotonic() - started < 10
    assert status_of(working, line.split()[1]) == "cancelled"


# -- Broken connections --------------------------------------------------------------------------------------


def test_nothing_is_lost_when_the_connection_breaks(working: ClientLab) -> None:
    """Sockets are cut again and again while results come; every result arrives, once."""
    job = compute_for(range(1, 3001), WORK)
    count = 0
    cuts = 0
    working.work = lambda x: x
    for count, _ in enumerate(job.results_as_they_come(), 1):
        if count in (1, 1000, 2000):
            working.soon(working.relay.cut)
            cuts += 1

    assert count == 3000
    assert cuts == 3
    assert job.exec() == list(range(1, 3001))


def test_results_that_came_while_we_were_away_are_fetched(working: ClientLab) -> None:
    """The job finishes while the deployer cannot be reached; afterwards it has everything."""
    working.gate.clear()
    job = compute_for([1, 2, 3], WORK).start()
    wait_for_upload(working, job)
    working.soon(working.relay.refuse)
    working.gate.set()
    threading.Timer(1.0, lambda: working.soon(lambda: working.relay.refuse(False))).start()

    assert job.exec() == [1, 4, 9]


def test_a_job_is_picked_up_by_its_id(working: ClientLab) -> None:
    """Another program of the same owner follows a job that is under way, and one that is over."""
    working.gate.clear()
    job = compute_for(list(range(200)), WORK).start()
    wait_for_upload(working, job)
    other = Job.attach(job.id).start()
    working.gate.set()

    assert other.exec() == [x * x for x in range(200)]
    assert job.exec() == [x * x for x in range(200)]
    assert Job.attach(job.id).exec() == [x * x for x in range(200)]


@pytest.mark.usefixtures("working")
def test_a_job_that_is_not_ours_cannot_be_picked_up() -> None:
    """An unknown id is an error at once, not a wait for ever."""
    with pytest.raises(DcpError, match="no job"):
        Job.attach("Nobody1Knows2This3Job4").exec()


# -- Other schedulers ----------------------------------------------------------------------------------------


def test_without_bulk_operations_it_works_the_same(
    working: ClientLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that has only the one-slice operations of the wire gives the same results and errors."""
    fetch = bootstrap.fetch_config

    async def plain(url: str, **options: Any) -> bootstrap.SchedulerConfig:
        return replace(await fetch(url, **options), bulk=0)

    monkeypatch.setattr(bootstrap, "fetch_config", plain)

    def work(x: Any) -> Any:
        if x == 7:
            raise ValueError("seven % of ü")
        return {"square": x * x}

    working.work = work
    results = compute_for(list(range(50)), WORK, errors="return").exec()

    assert [r for r in results if not isinstance(r, SliceError)] == [
        {"square": x * x} for x in range(50) if x != 7
    ]
    assert results[7].message == "ValueError: seven % of ü"


def test_a_scheduler_that_is_not_there_is_told_at_once() -> None:
    """A wrong address is no reason to wait for minutes."""
    started = time.monotonic()

    with pytest.raises(DcpError, match="cannot be reached"):
        compute_for([1], WORK, scheduler="http://127.0.0.1:9/").exec()

    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("working")
def test_only_one_may_wait_for_a_job() -> None:
    """A second waiter would steal events from the first."""
    job = compute_for([1, 2], WORK)
    for _ in job.results_as_they_come():
        with pytest.raises(ClientError, match="only one"):
            job.exec()
    assert job.exec() == [1, 4]


def test_the_books_tell_what_was_earned(working: ClientLab) -> None:
    """Slices are paid as offered, out of the deployer's account."""
    folder = Path(os.environ["DCP_RESOURCE_DIR"])
    before = account_summary(working.url, deployer=folder, worker=folder)
    job = compute_for([1, 2, 3, 4], WORK, slice_payment=0.25)
    job.exec()
    cost = job.cost()

    after = account_summary(working.url, deployer=folder, worker=folder)

    assert cost == 1
    assert before.earned - after.earned == 1
    assert after.slices - before.slices == 4
