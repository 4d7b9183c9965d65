"""What a scheduler answers is taken apart into jobs and stretches; nonsense is an error and hurts no other job."""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.actors.artifacts import ArtifactsError
from dcp_worker.actors.local_messages import WorkFetched
from dcp_worker.actors.tasks import read_work
from dcp_worker.errors import DcpError

JOB: dict[str, Any] = {
    "codeLocation": "data:,x%20=%3E%20x",
    "argumentsLocation": [
        {"argIndex": 1, "value": "data:application/json,[1,2]"},
        {"argIndex": 0, "value": "data:,hi"},
    ],
    "worktime": {"name": "map-basic", "version": "^1.0.0"},
    "public": {"name": "squares", "description": "d", "link": ""},
    "needCapabilities": 64,
}
RANGED = {**JOB, "MROLocation": 'data:application/json,{"start":1,"end":9,"step":1}'}


def read(payload: Any) -> WorkFetched:
    async def fetch(uri: str) -> str:
        raise ArtifactsError(f"not to be fetched: {uri}", code="EPERM_ORIGIN")

    return asyncio.run(read_work(payload, 5, fetch))


def runs(job: Any, *entries: Any) -> dict[str, Any]:
    return {"owner": "0x1", "auth": {"a": 1}, "body": {"newJobs": {"j": job}, "runs": {"j": list(entries)}}}


def test_runs_with_inputs() -> None:
    """Each run is a stretch with its inputs; everything but the body is the authorisation."""
    work = read(
        runs(JOB, {"first": 3, "count": 2, "values": "[1,[2,3]]"}, {"first": 9, "count": 1, "values": "[4]"})
    )

    (job,) = work.jobs
    assert job.source == b"x => x"
    assert job.arguments == b'["hi",{"raw":[1,2]}]'
    assert (job.artifacts.name, job.artifacts.kvin_version, job.artifacts.input_range) == (
        "squares",
        "v9",
        "",
    )
    (task,) = work.tasks
    assert (task.task, task.authorisation, task.one_by_one) == (
        "5/j",
        b'{"owner":"0x1","auth":{"a":1}}',
        False,
    )
    first, second = work.arrivals[0].stretches
    assert (first.first, first.count, second.first, second.count) == (3, 2, 9, 1)
    assert first.inputs is not None
    assert first.inputs.cut(4, 1) == b"[[2,3]]"


def test_runs_of_a_range_have_no_inputs() -> None:
    """The range itself goes to the sandboxes."""
    work = read(runs(RANGED, {"first": 1, "count": 9}))
    assert work.arrivals[0].stretches[0].inputs is None
    assert work.jobs[0].artifacts.input_range == '{"start":1,"end":9,"step":1}'


def test_slices_one_by_one_become_stretches() -> None:
    """Neighbours travel together, whatever order they came in."""
    slices = [{"sliceNumber": n, "datumUri": f"data:application/json,{n * 10}"} for n in (2, 1, 7)]
    work = read({"body": {"newJobs": {"j": JOB}, "task": {"j": slices}}})
    parts = [
        (part.first, part.inputs and part.inputs.cut(part.first, part.count))
        for part in work.arrivals[0].stretches
    ]
    assert parts == [(1, b"[10,20]"), (7, b"[70]")]
    assert work.tasks[0].one_by_one


@pytest.mark.parametrize(
    ("job", "entry", "code"),
    [
        (JOB, {"first": 1, "count": 2, "values": "[1]"}, "EVALUES"),
        (JOB, {"first": 1, "count": 2}, "ETASK"),
        (None, {"first": 1, "count": 2, "values": "[1,2]"}, "ETASK"),
        (
            {**JOB, "codeLocation": "http://elsewhere/"},
            {"first": 1, "count": 1, "values": "[1]"},
            "EPERM_ORIGIN",
        ),
        ({**JOB, "dependencies": ["a/b"]}, {"first": 1, "count": 1, "values": "[1]"}, "ENOMODULE"),
        ({**JOB, "worktime": 7}, {"first": 1, "count": 1, "values": "[1]"}, "EJOBFETCH"),
    ],
)
def test_slices_that_cannot_be_worked_on(job: Any, entry: Any, code: str) -> None:
    """They are named with the reason, so that they can go back."""
    work = read(runs(job, entry))
    (one,) = work.unusable
    assert (one.job, one.slices, one.code) == ("j", ((1, entry["count"]),), code)
    assert work.arrivals == ()


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 5)
    | st.text(max_size=4)
    | st.sampled_from(["[1]", "data:,x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["first", "count", "values", "sliceNumber", "datumUri", "j", "worktime", "name"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JUNK, JUNK, JUNK)
def test_junk_is_an_error_of_ours(new_jobs: Any, some_runs: Any, some_slices: Any) -> None:
    """Whatever comes, the answer is WorkFetched or a DcpError."""
    body = {"newJobs": {"j": new_jobs}, "runs": {"j": some_runs}, "task": {"k": some_slices}}
    for payload in ({"body": body}, {"body": new_jobs}, some_runs):
        with contextlib.suppress(DcpError):
            assert isinstance(read(payload), WorkFetched)
