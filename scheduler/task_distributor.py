"""Giving work to workers: ``requestTask@3``, slice by slice, and ``requestRuns@1``, in bulk; ``requestTask`` of
the older dialect.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import Field

from ..protocol.dcp.envelope import open_envelope
from ..protocol.dcp.hashing import eh1, salted
from ..protocol.dcp.values import node_to_uri, nodes_of
from . import dialect4
from .claims import ClaimedJob, claim
from .core import Call, Core, Form, Operations, read
from .planning import Wants
from .refusal import Refused
from .store import slices
from .store.jobs import Job

MOST_CORES = 100_000.0
MOST_NUMBERED = 500
"""Slices in one task of a worker that gets them one by one: each costs some 500 bytes of JSON."""

NORMAL, NOTIFY, STARTUP, ROUND_ROBIN, RETURN_ALL = 1, 2, 4, 8, 16
"""Bits of ``fetchState``."""
PUBLIC_JOIN_HASH = eh1("public undefined")

MOST_UNSAID = 1000
"""Jobs that are remembered to be beyond the words of older workers; the one met first is forgotten first."""

Ids = Annotated[list[str], Field(max_length=10_000)]


class TargetLoad(Form):
    cpu: float = 0.0
    gpu: float = 0.0


class CoreStats(Form):
    worker: Annotated[str, Field(min_length=1, max_length=100)]


class WorkerWorktime(Form):
    name: Annotated[str, Field(max_length=100)]


class Membership(Form):
    joinKey: Annotated[str, Field(max_length=1000)] = ""  # noqa: N815
    joinHashHash: Annotated[str, Field(max_length=1000)] = ""  # noqa: N815


class RequestTask(Form):
    """``requestTask@3``; the last two fields belong to ``requestRuns@1``."""

    coreStats: CoreStats  # noqa: N815
    targetLoad: TargetLoad | None = None  # noqa: N815
    capabilities: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    fetchState: Annotated[int, Field(ge=0, lt=1 << 16)] = NORMAL  # noqa: N815
    worktimes: Annotated[list[WorkerWorktime], Field(max_length=100)] = []  # noqa: RUF012
    workerComputeGroups: Annotated[list[Membership], Field(max_length=1000)] | None = None  # noqa: N815
    jobIds: Ids | None = None  # noqa: N815
    rejectedJobs: Ids | None = None  # noqa: N815
    unresolvedJobs: Ids | None = None  # noqa: N815
    returnAllSlices: str | None = None  # noqa: N815
    waitMs: Annotated[float, Field(ge=0)] = 0.0  # noqa: N815
    maxSlices: Annotated[int, Field(ge=0)] | None = None  # noqa: N815


def holder(worker: str, owner: str) -> str:
    """Who a lease belongs to: worker ids are chosen by workers, so the identity that proved itself stands
    with it.
    """
    return f"{worker}/{owner}"


def in_public_group(groups: Iterable[Membership] | None, dcpsid: str) -> bool:
    """Whether the worker has joined the public compute group. One that names no groups at all is taken as
    public.
    """
    if groups is None:
        return True
    expected = salted(dcpsid, PUBLIC_JOIN_HASH)
    return any(group.joinKey == "public" and group.joinHashHash == expected for group in groups)


def wants_of(request: RequestTask, owner: str, dcpsid: str, most_slices: int) -> Wants:
    """What a request for work asks for."""
    load = request.targetLoad
    cores = 0.0 if load is None else min(max(load.cpu, 0.0), MOST_CORES)
    most = most_slices if request.maxSlices is None else min(most_slices, request.maxSlices)
    return Wants(
        worker=holder(request.coreStats.worker, owner),
        cores=cores,
        most_slices=most,
        capabilities=request.capabilities,
        worktimes=frozenset(worktime.name for worktime in request.worktimes),
        public=in_public_group(request.workerComputeGroups, dcpsid),
        only_jobs=frozenset(request.jobIds or ()),
        not_jobs=frozenset((*(request.rejectedJobs or ()), *(request.unresolvedJobs or ()))),
    )


def job_metrics(job: Job) -> dict[str, Any]:
    """What is known about the cost of a job's slices, in the ten fields of the wire."""
    count = max(job.measured_slices, 1)
    wall = job.wall_ms / count
    cpu, gpu = job.cpu_ms / count, job.gpu_ms / count
    return {
        "sliceCPUTime": cpu,
        "sliceGPUTime": gpu,
        "sliceCPUDensity": min(cpu / wall, 1.0) if wall else 0.0,
        "sliceGPUDensity": min(gpu / wall, 1.0) if wall else 0.0,
        "sliceInDataSize": job.in_bytes / count,
        "sliceOutDataSize": job.out_bytes / count,
        "lastSliceNumber": job.total,
        "measuredSlices": job.measured_slices,
        "alpha": 0.1,
        "running": job.leased,
    }


def _new_job(claimed: ClaimedJob) -> dict[str, Any]:
    return {**claimed.document, "almostDone": False, "metrics": job_metrics(claimed.job)}


def _slices(claimed: ClaimedJob) -> list[dict[str, Any]]:
    uris: dict[int, str] = {}
    for first, last, body in claimed.inputs:
        uris.update(enumerate(map(node_to_uri, nodes_of(body, expected=last - first + 1)), first))
    messages = []
    for first, count in claimed.slices:
        for number in range(first, first + count):
            message = {
                "jobId": claimed.job.id,
                "sliceNumber": number,
                "isEstimationSlice": False,
                "isLongSlice": False,
                "cotaskCount": 0,
                "resultStorageType": "values",
                "resultStorageDetails": None,
                "resultStorageParams": None,
            }
            if number in uris:
                message["datumUri"] = uris[number]
            messages.append(message)
    return messages


def _runs(claimed: ClaimedJob) -> list[dict[str, Any]]:
    if claimed.job.ranged:
        return [{"first": first, "count": count} for first, count in claimed.slices]
    return [
        {"first": first, "count": last - first + 1, "values": body} for first, last, body in claimed.inputs
    ]


def _body(core: Core, claimed: list[ClaimedJob]) -> dict[str, Any]:
    return {
        "newJobs": {one.job.id: _new_job(one) for one in claimed},
        "computeGroupOrigins": {},
        "schedulerConfig": {"shared": {}, "targetTaskDuration": core.settings.target_task_s},
    }


def task_message(core: Core, worker: str, claimed: list[ClaimedJob], *, bulk: bool) -> dict[str, Any]:
    """The answer to a request for work; an empty body when there is none."""
    if not claimed:
        return {"body": {}}
    body = _body(core, claimed)
    if bulk:
        body["runs"] = {one.job.id: _runs(one) for one in claimed}
    else:
        body["task"] = {one.job.id: _slices(one) for one in claimed}
    given = {one.job.id: one.slices for one in claimed}
    return {**core.authority.issue(worker, given, numbered=not bulk), "body": body}


def old_task_message(core: Core, worker: str, claimed: list[ClaimedJob]) -> dict[str, Any]:
    """The same for a worker of the older dialect."""
    if not claimed:
        return {"body": {}}
    body = {**_body(core, claimed), "task": {one.job.id: _slices(one) for one in claimed}}
    given = {one.job.id: one.slices for one in claimed}
    addresses = {one.job.id: one.job.address for one in claimed}
    message = core.authority.issue(worker, given, numbered=True, addresses=addresses)
    return {**message, "body": dialect4.task_of(body)}


async def _release_all(core: Core, call: Call, request: RequestTask) -> None:
    """Take back all that the worker holds, on its signed word."""
    if request.fetchState & (STARTUP | RETURN_ALL) == 0 or request.returnAllSlices is None:
        return
    opened = open_envelope(request.returnAllSlices)
    if opened.owner != call.peer.owner or opened.body.get("id") != request.coreStats.worker:
        raise Refused("EAUTH", "Only a worker itself may return all its slices.")
    name = holder(request.coreStats.worker, call.peer.owner)
    if await core.store.write(lambda connection: slices.release_worker(connection, name)):
        core.work.announce()


async def _take(
    core: Core,
    call: Call,
    request: RequestTask,
    most: int,
    fits: Callable[[ClaimedJob], bool] = lambda _: True,
) -> list[ClaimedJob]:
    now = core.now()
    wants = wants_of(request, call.peer.owner, call.peer.dcpsid, most)
    core.workers.heard(wants.worker, now, wants.cores)
    peers = core.workers.active(now)
    claimed = await core.store.write(
        lambda connection: claim(connection, wants, peers, core.settings, core.now(), fits)
    )
    if claimed:
        core.leases_changed.set()
    return claimed


def operations(core: Core) -> Operations:
    """The operations of this service by their names on the wire."""

    newest: dict[str, object] = {}
    # The last request of each worker. An older one that is still held belongs to an earlier life of it, whose
    # connection may seem alive for long; work must not go there.

    def supersede(call: Call, request: RequestTask) -> tuple[str, object]:
        name, token = holder(request.coreStats.worker, call.peer.owner), object()
        newest[name] = token
        return name, token

    async def request_task(call: Call) -> Any:
        request = read(RequestTask, call.data)
        if request.returnAllSlices is not None:
            newest.pop(holder(request.coreStats.worker, call.peer.owner), None)
        await _release_all(core, call, request)
        if not request.fetchState & NORMAL or request.targetLoad is None:
            return {"body": {}}
        claimed = await _take(core, call, request, MOST_NUMBERED)
        return task_message(core, request.coreStats.worker, claimed, bulk=False)

    async def request_runs(call: Call) -> Any:
        request = read(RequestTask, call.data)
        name, token = supersede(call, request)
        try:
            return await hold(call, request, lambda: newest.get(name) is token)
        finally:
            if newest.get(name) is token:
                del newest[name]

    async def hold(call: Call, request: RequestTask, wanted: Callable[[], bool]) -> Any:
        await _release_all(core, call, request)
        if not request.fetchState & NORMAL or request.targetLoad is None:
            return {"body": {}}
        loop = asyncio.get_running_loop()
        until = loop.time() + min(request.waitMs / 1000, core.settings.max_wait_s)
        while True:
            ticket = core.work.ticket()
            claimed = await _take(core, call, request, core.settings.max_task_slices)
            left = until - loop.time()
            if claimed or left <= 0 or core.stopping.is_set():
                return task_message(core, request.coreStats.worker, claimed, bulk=True)
            await _first_of(left, ticket, call.peer.closed, core.stopping)
            if call.peer.closed.is_set() or not wanted():
                return {"body": {}}

    unsaid: dict[str, None] = {}
    # Jobs that older workers would not understand. They are looked at once, not with each request.

    async def old_request_task(call: Call) -> Any:
        request = read(RequestTask, dialect4.request_of(call.data))
        await _release_all(core, call, request)
        if not request.fetchState & NORMAL or request.targetLoad is None:
            return {"body": {}}
        refused: list[str] = []

        def fits(claimed: ClaimedJob) -> bool:
            if dialect4.can_be_said(claimed):
                return True
            refused.append(claimed.job.id)
            return False

        while True:
            rejected = [*(request.rejectedJobs or ()), *unsaid]
            asked = request.model_copy(update={"rejectedJobs": rejected})
            refused.clear()
            claimed = await _take(core, call, asked, MOST_NUMBERED, fits)
            unsaid.update(dict.fromkeys(refused))
            while len(unsaid) > MOST_UNSAID:
                del unsaid[next(iter(unsaid))]
            if claimed or not refused:
                return old_task_message(core, request.coreStats.worker, claimed)

    return {"requestTask@3": request_task, "requestRuns@1": request_runs, "requestTask": old_request_task}


async def _first_of(timeout: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, or the time is over."""
    if not math.isfinite(timeout):
        timeout = 0.0
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
