"""The older dialect of workers, of dcp-client 4.4: its requests in our words, and our tasks in its words.

It calls jobs by the address of their escrow, writes requirements and capabilities as objects where the newer
one has bits, and reads KVIN up to version 8. Everything else is the same, so nothing here knows a store or a
connection.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import DcpError
from ..protocol.dcp.values import needs_v9, node_to_uri, nodes_of, uri_to_node
from .claims import ClaimedJob

V8_ENGINE, SPIDERMONKEY, CHROME, OFFSCREEN_CANVAS, FDLIBM, WEBGPU, KVIN_V9 = 1, 2, 4, 8, 16, 32, 64
"""Bits of requirements and capabilities in the newer dialect."""
BITS = (
    (V8_ENGINE, "engine", "v8"),
    (SPIDERMONKEY, "engine", "spidermonkey"),
    (CHROME, "browser", "chrome"),
    (OFFSCREEN_CANVAS, "environment", "offscreenCanvas"),
    (FDLIBM, "environment", "fdlibm"),
    (WEBGPU, "environment", "webgpu"),
)
"""Each bit, and where the older dialect has it."""

KVIN_URI = "data:application/x-kvin"


def capability_bits(capabilities: Mapping[str, Any]) -> int:
    """What a worker can do, as bits. All have that of KVIN v9: what only v9 can say is kept from them."""
    bits = KVIN_V9
    for bit, group, name in BITS:
        of_group = capabilities.get(group)
        if isinstance(of_group, Mapping) and of_group.get(name) is True:
            bits |= bit
    return bits


def request_of(data: Any) -> Any:
    """The data of ``requestTask`` as those of ``requestTask@3``. What makes no sense is left to its reader."""
    if not isinstance(data, Mapping):
        return data
    request = {**data, "jobIds": data.get("jobAddresses")}
    capabilities = data.get("capabilities")
    if isinstance(capabilities, Mapping):
        request["capabilities"] = capability_bits(capabilities)
    return request


def can_be_said(claimed: ClaimedJob) -> bool:
    """Whether KVIN v8 has words for the arguments of a job and for the inputs that were chosen."""
    try:
        for _, _, body in claimed.inputs:
            if any(map(needs_v9, nodes_of(body))):
                return False
        arguments = [one["value"] for one in claimed.document.get("argumentsLocation", ())]
        return not any(needs_v9(uri_to_node(uri)) for uri in arguments if uri.startswith(KVIN_URI))
    except DcpError:
        return False  # an argument that is no KVIN at all; newer workers tell the deployer about it


def requirements_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """The requirements of a job as an object. Its groups must be there, or the sandbox breaks."""
    requirements: dict[str, Any] = {
        "engine": {},
        "environment": {},
        "browser": {},
        "details": {"offscreenCanvas": {}},
        "discrete": job["discrete"],
        "useStrict": job["useStrict"],
    }
    for bit, group, name in BITS:
        if job["needCapabilities"] & bit:
            requirements[group][name] = True
    return requirements


def _argument(argument: Mapping[str, Any]) -> dict[str, Any]:
    uri = argument["value"]
    if uri.startswith(KVIN_URI):
        uri = node_to_uri(uri_to_node(uri))  # as JSON, or as v8
    return {**argument, "value": uri}


def job_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """A JOB of the newer dialect in the older one."""
    return {
        **job,
        "opaqueId": job["jobId"],
        "argumentsLocation": [_argument(one) for one in job["argumentsLocation"]],
        "requirements": requirements_of(job),
    }


def task_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a task of ``requestTask@3`` in the older dialect; its jobs must be such as can be said."""
    addresses = {job: document["address"] for job, document in body["newJobs"].items()}
    return {
        **body,
        "newJobs": {addresses[job]: job_of(document) for job, document in body["newJobs"].items()},
        "task": {
            addresses[job]: [{**one, "jobAddress": addresses[job]} for one in slices]
            for job, slices in body["task"].items()
        },
        "computeGroupJobs": {},
    }
