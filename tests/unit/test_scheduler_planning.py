"""How much work is given out, to whom, for how long."""

from dataclasses import replace
from pathlib import Path

import pytest

from dcp_worker.scheduler.planning import Wants, extended_deadline, lease_s, may_have, share, task_size
from dcp_worker.scheduler.ranges import length_of
from dcp_worker.scheduler.refusal import Refused
from dcp_worker.scheduler.settings import SchedulerSettings
from dcp_worker.scheduler.store.jobs import Job, Status
from dcp_worker.scheduler.store.runs import SliceRun, State

SETTINGS = SchedulerSettings(data_dir=Path("/nowhere"))
JOB = Job(
    id="j" * 22,
    address="0x" + "1" * 40,
    owner="0x" + "2" * 40,
    payment_account="0x" + "3" * 40,
    status=Status.RUNNING,
    closed=True,
    total=10,
    pending=10,
    leased=0,
    done=0,
    failed=0,
    slice_price=1,
    requirements=64,
    worktime="map-basic",
    local_exec=False,
    ranged=True,
    created=0.0,
    ended=None,
    measured_slices=0,
    wall_ms=0.0,
    cpu_ms=0.0,
    gpu_ms=0.0,
    in_bytes=0.0,
    out_bytes=0.0,
)
WANTS = Wants("w", 2.0, 100, 64 | 16, frozenset({"map-basic"}))


def test_a_task_starts_small_and_grows_to_the_target_duration() -> None:
    """Four slices a core at first, then what lasts for the target duration, never more than the cap."""
    assert task_size(None, 0, 2.0, 10**9, SETTINGS) == 8
    assert task_size(0.001, 8, 2.0, 10**9, SETTINGS) == 8 + 8 * 8
    assert task_size(0.001, 10**6, 2.0, 10**9, SETTINGS) == 50_000
    assert task_size(1.0, 10**6, 2.0, 10**9, SETTINGS) == 120
    assert task_size(3600.0, 10**6, 2.0, 10**9, SETTINGS) == 2
    assert task_size(0.0, 10**9, 2.0, 10**9, SETTINGS) == 50_000
    assert task_size(0.001, 10**6, 2.0, 3, SETTINGS) == 3
    assert task_size(None, 0, 0.0, 10, SETTINGS) == 0
    assert task_size(None, 0, 0.1, 10, SETTINGS) == 1


def test_what_is_left_is_shared_by_cores() -> None:
    """A worker alone may have all; beside others it gets its part, but enough to begin with."""
    assert share(1000, 2.0, 2.0, {"a"}) == 1000
    assert share(1000, 2.0, 8.0, {"a", "b"}) == 250
    assert share(10, 2.0, 800.0, {"a", "b"}) == 8
    assert share(1, 2.0, 800.0, {"a", "b"}) == 1


def test_a_lease_lasts_three_times_what_it_should_within_bounds() -> None:
    """The floor holds for short work, the ceiling for long."""
    assert lease_s(None, 8, 2.0, SETTINGS) == SETTINGS.lease_floor_s
    assert lease_s(100.0, 2, 2.0, SETTINGS) == 300.0
    assert lease_s(1e6, 2, 2.0, SETTINGS) == SETTINGS.lease_max_s


def test_only_a_worker_in_contact_keeps_an_overdue_lease() -> None:
    """Silence, or too long without a result, ends it."""
    run = SliceRun(1, 1, State.LEASED, "w", claimed=1000.0, deadline=1120.0)

    assert extended_deadline(run, worker_seen=1110.0, now=1120.0, settings=SETTINGS) == 1240.0
    assert extended_deadline(run, worker_seen=1000.0, now=1120.0, settings=SETTINGS) is None
    assert extended_deadline(run, worker_seen=4599.0, now=4600.0, settings=SETTINGS) is None


@pytest.mark.parametrize(
    ("wants", "job", "expected"),
    [
        (WANTS, JOB, True),
        (replace(WANTS, capabilities=16), JOB, False),
        (replace(WANTS, worktimes=frozenset({"pyodide"})), JOB, False),
        (replace(WANTS, not_jobs=frozenset({JOB.id})), JOB, False),
        (replace(WANTS, only_jobs=frozenset({"other"})), JOB, False),
        (replace(WANTS, only_jobs=frozenset({JOB.address}), public=False), JOB, True),
        (replace(WANTS, public=False), JOB, False),
        (WANTS, replace(JOB, local_exec=True), False),
        (replace(WANTS, only_jobs=frozenset({JOB.id})), replace(JOB, local_exec=True), True),
    ],
)
def test_a_worker_gets_only_what_it_can_and_wants_to_compute(wants: Wants, job: Job, expected: bool) -> None:
    """Capabilities, worktimes, groups, refused jobs and jobs asked for by name decide."""
    assert may_have(wants, job) is expected


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ({"start": 1, "end": 10, "step": 2}, 5),
        ({"start": 1, "end": 10}, 10),
        ({"start": 10, "end": 1}, 10),
        ({"start": 3, "end": 3}, 1),
        ({"start": 0, "end": 1, "step": 0.25}, 5),
        ({"start": 1, "end": 10, "step": 1, "group": 3}, 4),
        ({"start": 1, "end": 1_000_000_000}, 1_000_000_000),
        ({"ranges": [{"start": 1, "end": 3}, {"start": 1, "end": 4}]}, 12),
        ({"ranges": [{"start": 1, "end": 3}, ["a", "b"], 7]}, 6),
        ({"sparse": True, "ranges": [{"start": 1, "end": 3}, {"start": 10, "end": 14}]}, 8),
        ({"length": 9, "dist": "normalRNG", "params": [0, 1]}, 9),
    ],
)
def test_ranges_have_the_length_that_javascript_says(value: object, length: int) -> None:
    """Steps, groups, products, sparse ranges and distributions count as npm dcp-client counts them."""
    assert length_of(value) == length


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "1..10",
        {},
        {"start": 1},
        {"start": "1", "end": 2},
        {"start": True, "end": 2},
        {"start": 1, "end": 10, "step": -1},
        {"start": 1, "end": 10, "step": 0},
        {"start": 1, "end": 10, "step": 1, "group": 0},
        {"start": 1, "end": 10, "group": 2.5},
        {"start": 0, "end": 1e300, "step": 1e-300},
        {"start": 0, "end": 1e400},
        {"ranges": []},
        {"ranges": 5},
        {"ranges": [{"ranges": [{"ranges": [{"ranges": [{"ranges": [{"start": 1, "end": 2}]}]}]}]}]},
        {"length": -1, "dist": "x", "params": []},
        {"length": "9", "dist": "x", "params": []},
    ],
)
def test_a_range_that_makes_no_sense_is_refused(value: object) -> None:
    """Whatever a deployer sends, the answer is one code and a sentence."""
    with pytest.raises(Refused) as refusal:
        length_of(value)

    assert refusal.value.code == "ERANGE"
