"""Our worker and client at a scheduler that has only the one-slice operations of the DCP wire."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcp_worker.client import SliceError, compute_for
from dcp_worker.protocol.dcp.kvin import UNDEFINED
from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.one_slice import Plain, plain_scheduler, running_worker
from dcp_worker.tests.programs import Program, is_alive, wait_until

IDENTITY = "x => x"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """A scheduler without bulk operations; nobody may even try them."""
    folder = tmp_path_factory.mktemp("plain")
    with plain_scheduler(folder / "scheduler") as plain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCP_RESOURCE_DIR", str(folder / "deployer"))
        patch.setenv("DCP_SCHEDULER_LOCATION", plain.url)
        yield plain
    assert plain.bulk_asked == []


@pytest.fixture(scope="module")
def worker(plain: Plain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The real worker process."""
    skip_unless_confined()
    with running_worker(tmp_path_factory.mktemp("worker"), plain.url) as worker:
        yield worker


@pytest.mark.usefixtures("worker")
def test_values_of_all_kinds(plain: Plain) -> None:
    """Each input arrives by its datumUri, each result leaves by itself, whatever it is."""
    inputs = [1, -0.5, 1.5e300, True, None, "ünï \U0001f600 100% #?&", "", [1, [2, []]], {"a": {"b": [None]}}]
    inputs += [b"\x00\xff", UNDEFINED, math.inf, "x" * 100_000]
    job = compute_for(inputs, IDENTITY)

    assert job.exec() == inputs

    numbers = list(range(1, len(inputs) + 1))
    results = [data for data in plain.data_of("result") if data["job"] == job.id]
    assert sorted(data["slice"] for data in results) == numbers
    assert plain.statuses(job.id, "begin") == numbers
    assert all(data["metrics"]["CPUTime"] >= 1 for data in results)


@pytest.mark.usefixtures("worker")
def test_a_range(plain: Plain) -> None:
    """A range has no datumUri; the sandbox makes the inputs. More slices than one answer holds are fetched in
    several.
    """
    job = compute_for(range(0, 1400, 2), "x => x + 0.5")

    assert job.exec() == [x + 0.5 for x in range(0, 1400, 2)]
    assert len({data["slice"] for data in plain.data_of("result") if data["job"] == job.id}) == 700


@pytest.mark.usefixtures("worker")
def test_an_error_is_the_result_of_its_slice() -> None:
    """What a work function throws goes as KVIN of an Error; the other slices are not touched by it."""
    work = "x => { if (x === 3) throw new RangeError('three % of ü'); return x }"
    results = compute_for([1, 2, 3, 4], work, errors="return").exec()

    assert [results[0], results[1], results[3]] == [1, 2, 4]
    assert isinstance(results[2], SliceError)
    assert "three % of ü" in results[2].message
    assert "RangeError" in results[2].message


@pytest.mark.usefixtures("worker")
def test_a_rejected_slice_is_returned(plain: Plain) -> None:
    """work.reject() gives the slice back, with its number and reason, until the scheduler wants it no more."""
    work = "x => { if (x === 2) work.reject('not for me'); return x }"
    job = compute_for([1, 2, 3], work, errors="return")
    results = job.exec()

    assert [results[0], results[2]] == [1, 3]
    assert results[1].error.message.startswith("EWORKREJECT")
    assert "not for me" in results[1].error.message
    assert set(plain.statuses(job.id, "return")) == {2}


def test_an_orderly_stop_gives_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first SIGINT: what waits is returned, and the last request tells so (fetchState 16). Nothing stays."""
    skip_unless_confined()
    slow = "x => { const end = Date.now() + 300; while (Date.now() < end); return x }"
    monkeypatch.setenv("DCP_RESOURCE_DIR", str(tmp_path / "deployer"))
    with plain_scheduler(tmp_path / "scheduler") as plain:
        monkeypatch.setenv("DCP_SCHEDULER_LOCATION", plain.url)
        with running_worker(tmp_path / "one", plain.url) as one:
            job = compute_for(list(range(40)), slow).start()
            wait_until(lambda: plain.data_of("result"), "a first result")
            started = one.descendants()
            assert one.interrupt() == 0, one.output
            wait_until(lambda: not any(map(is_alive, started)), "everything that it started to be gone", 10)

        last = plain.data_of("requestTask@3")[-1]
        assert last["fetchState"] == 16
        assert last["coreStats"]["worker"] in one.output
        done = {data["slice"] for data in plain.data_of("result")}
        assert 0 < len(done) < 40
        assert done.isdisjoint(plain.statuses(job.id, "return"))

        with running_worker(tmp_path / "two", plain.url):
            assert job.exec() == list(range(40))
    assert plain.bulk_asked == []
