"""The older dialect of workers: requests into our words, tasks into its words, and what it cannot say."""

from typing import Any

import pytest

from dcp_worker.protocol.dcp.kvin import Symbol
from dcp_worker.protocol.dcp.values import body_of, needs_v9, node_of, node_to_document_text, node_to_uri
from dcp_worker.scheduler.authorisation import Authority
from dcp_worker.scheduler.claims import ClaimedJob
from dcp_worker.scheduler.dialect4 import can_be_said, capability_bits, request_of, task_of
from dcp_worker.scheduler.task_distributor import RequestTask
from dcp_worker.tests.unit.test_scheduler_planning import JOB

V9_SEVEN = "data:application/x-kvin," + node_to_document_text(7, "v9")
V9_BYTES = node_to_uri(node_of(b"\1\2"), "v9")
DOCUMENT: dict[str, Any] = {
    "jobId": JOB.id,
    "address": JOB.address,
    "argumentsLocation": [{"argIndex": 0, "value": V9_SEVEN}, {"argIndex": 1, "value": V9_BYTES}],
    "needCapabilities": 64 | 16,
    "discrete": False,
    "useStrict": True,
}


def claimed(*inputs: Any, arguments: tuple[str, ...] = ()) -> ClaimedJob:
    locations = [{"argIndex": index, "value": uri} for index, uri in enumerate(arguments)]
    body = body_of(map(node_of, inputs))
    return ClaimedJob(JOB, {"argumentsLocation": locations}, [(1, len(inputs))], [(1, len(inputs), body)])


def test_a_request_is_read_as_one_of_ours() -> None:
    """Observed from dcp-worker 3.3.19: capabilities as an object, jobs by address, worktimes with versions."""
    data = {
        "supervisor": "2.0.0",
        "targetLoad": {"cpu": 2, "gpu": 0.75, "longSlices": 2},
        "coreStats": {"worker": "H0p0xDDXSz5cTn9UUwCqlH", "lCores": 2, "pCores": 2, "sandbox": 10},
        "capabilities": {"environment": {"webgpu": False, "offscreenCanvas": False, "fdlibm": True}},
        "jobAddresses": [JOB.address],
        "fetchState": 5,
        "worktimes": [{"name": "map-basic", "versions": ["1.0.0"]}],
    }

    request = RequestTask.model_validate(request_of(data))

    assert request.jobIds == [JOB.address]
    assert request.capabilities == 64 | 16
    assert [worktime.name for worktime in request.worktimes] == ["map-basic"]


@pytest.mark.parametrize("data", [None, 5, [], {"capabilities": [1]}, {"capabilities": {"environment": 3}}])
def test_nonsense_is_left_to_the_reader(data: Any) -> None:
    """A hostile request does no more here than come out as nonsense."""
    with pytest.raises(ValueError, match="validation error"):
        RequestTask.model_validate(request_of(data))


def test_only_what_is_true_is_a_capability() -> None:
    assert capability_bits({}) == 64
    assert capability_bits({"environment": {"webgpu": 1, "fdlibm": "yes"}, "browser": None}) == 64
    assert capability_bits({"engine": {"spidermonkey": True}, "environment": {"webgpu": True}}) == 64 | 2 | 32


def test_a_task_is_keyed_by_address_and_says_nothing_in_v9() -> None:
    """Jobs and slices by the address of the escrow; arguments as JSON or v8; requirements as an object."""
    one = {"jobId": JOB.id, "sliceNumber": 1, "datumUri": "data:application/json,1"}
    body = task_of({"newJobs": {JOB.id: DOCUMENT}, "task": {JOB.id: [one]}, "computeGroupOrigins": {}})

    job = body["newJobs"][JOB.address]
    assert list(body["newJobs"]) == list(body["task"]) == [JOB.address]
    assert body["task"][JOB.address] == [{**one, "jobAddress": JOB.address}]
    assert body["computeGroupJobs"] == body["computeGroupOrigins"] == {}
    assert (job["address"], job["opaqueId"]) == (JOB.address, JOB.id)
    assert job["argumentsLocation"][0]["value"] == "data:application/json,7"
    assert job["argumentsLocation"][1]["value"] == V9_BYTES.replace("%22v9%22", "%22v8%22")
    assert job["requirements"] == {
        "engine": {},
        "environment": {"fdlibm": True},
        "browser": {},
        "details": {"offscreenCanvas": {}},
        "discrete": False,
        "useStrict": True,
    }


def test_what_only_v9_can_say_is_kept_from_older_workers() -> None:
    """A symbol among the inputs or in an argument; an argument that is no KVIN; everything else passes."""
    symbol = node_to_uri(node_of([Symbol("z")]))

    assert can_be_said(claimed(1, "a", b"\1", {"symbol": 1}, arguments=(V9_SEVEN, V9_BYTES, "https://a/b")))
    assert not can_be_said(claimed(1, Symbol("z")))
    assert not can_be_said(claimed(1, arguments=(symbol,)))
    assert not can_be_said(claimed(1, arguments=("data:application/x-kvin,nonsense",)))
    assert needs_v9(node_of({"a": Symbol("z")}))


def test_an_authorisation_of_the_older_dialect_grants_by_address() -> None:
    """It names the scheduler by an object, the slices by address, and what the job is called by all others."""
    authority = Authority(b"secret", "0xS")
    message = authority.issue("w", {JOB.id: [(1, 2), (5, 1)]}, numbered=True, addresses={JOB.id: JOB.address})

    grant = authority.verify(message)

    assert message["auth"]["schedulerId"] == {"address": "0xS"}
    assert message["auth"]["authSlices"] == {JOB.address: [1, 2, 5]}
    assert grant.covers(JOB.address, (1, 2))
    assert not grant.covers(JOB.address, (3, 1))
    assert grant.ids == {JOB.address: JOB.id}
