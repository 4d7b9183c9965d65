"""What the worker says to the services of a scheduler: the data of its requests, as plain functions.

Source of the forms: the DCP wire (``requestTask@3``, ``status``, ``result``, ``workEmit``), and
docs/architecture.md for ``requestRuns@1`` and ``results@1``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol.dcp import js_json
from ..protocol.dcp.hashing import eh1, salted
from ..protocol.dcp.values import join_bodies, nodes_of, result_from_node
from ..protocol.intervals import Interval
from ..protocol.messages import Metrics
from .emitting import Emission
from .outbox import OutcomeRow, Task

NORMAL, NOTIFY, START_UP, RETURN_ALL = 1, 2, 4, 16
"""Bits of ``fetchState``."""

MAX_NUMBERED = 100_000
"""Slice numbers that are listed one by one in a message to a scheduler without bulk operations."""

HUMAN_DCC = 10**18


@dataclass(frozen=True, slots=True)
class Group:
    """A compute group to work for."""

    join_key: str
    join_hash: str

    @classmethod
    def with_secret(cls, join_key: str, join_secret: str) -> "Group":
        """The group that people join with this secret; an ``eh1-`` hash may stand in its place."""
        if join_secret.startswith("eh1-") and len(join_secret) == 68:
            return cls(join_key, join_secret)
        return cls(join_key, eh1(f"{join_key} {join_secret}"))


PUBLIC_GROUP = Group("public", eh1("public undefined"))


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What the scheduler is told about this worker with each request for work."""

    worker: str  # id of 22 characters that it keeps over restarts
    payment_address: str
    groups: tuple[Group, ...] = (PUBLIC_GROUP,)
    only_jobs: tuple[str, ...] = ()  # empty: any
    minimum_wage: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # DCC: CPU h, GPU h, MB in, MB out


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the hosts have together, and what is asked for now."""

    cores: int
    sandboxes: int
    capabilities: int
    worktimes: tuple[tuple[str, str], ...]
    cpu: float
    slices: int
    rejected_jobs: tuple[str, ...] = ()


def request_work(
    facts: WorkerFacts,
    capacity: Capacity,
    dcpsid: str,
    *,
    sequence: int,
    wait_ms: int | None,
    return_all: str | None,
) -> dict[str, Any]:
    """The data of ``requestTask@3``; with ``wait_ms`` that of ``requestRuns@1``.

    ``return_all`` is the signed text that lets the scheduler take back everything this worker id still holds.
    """
    cpu, gpu, inbound, outbound = facts.minimum_wage
    data: dict[str, Any] = {
        "targetLoad": {"cpu": capacity.cpu, "gpu": 0, "longSlices": max(1, int(capacity.cpu))},
        "coreStats": {
            "worker": facts.worker,
            "lCores": capacity.cores,
            "pCores": capacity.cores,
            "sandbox": capacity.sandboxes,
        },
        "jobQuanta": {"CPU": {"0": 1}, "GPU": {"0": 1}},
        "capabilities": capacity.capabilities,
        "gpuSpeed": -1,
        "paymentAddress": facts.payment_address,
        "jobIds": list(facts.only_jobs),
        "workerComputeGroups": [
            {"joinKey": group.join_key, "joinHashHash": salted(dcpsid, group.join_hash)}
            for group in facts.groups
        ],
        "minimumWage": {"CPU": cpu, "GPU": gpu, "in": inbound, "out": outbound},
        "soteriaJobs": None,
        "overdueSlices": None,
        "previouslyWorkedJobs": [],
        "rejectedJobs": list(capacity.rejected_jobs),
        "unresolvedJobs": [],
        "fetchState": NORMAL if return_all is None else NORMAL | START_UP,
        "worktimes": [{"name": name, "version": version} for name, version in capacity.worktimes],
        "seq": sequence,
    }
    if return_all is not None:
        data["returnAllSlices"] = return_all
    if wait_ms is not None:
        data |= {"waitMs": wait_ms, "maxSlices": capacity.slices}
    return data


def notify(facts: WorkerFacts, held: Mapping[str, Sequence[Interval]]) -> dict[str, Any]:
    """A ``requestTask@3`` that asks for nothing and tells which slices are still in good hands."""
    return {
        "coreStats": {"worker": facts.worker},
        "paymentAddress": facts.payment_address,
        "soteriaJobs": {job: _numbers(slices) for job, slices in held.items()},
        "overdueSlices": None,
        "fetchState": NOTIFY,
    }


def goodbye(facts: WorkerFacts, return_all: str) -> dict[str, Any]:
    """A ``requestTask@3`` that gives everything back."""
    return {
        "coreStats": {"worker": facts.worker},
        "paymentAddress": facts.payment_address,
        "fetchState": RETURN_ALL,
        "returnAllSlices": return_all,
    }


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """Slices whose state has changed, under one authorisation."""

    job: str
    authorisation: bytes
    slices: tuple[Interval, ...]
    status: str  # "begin" or "return"
    code: str = ""
    reason: str = ""
    estimation: bool = False


def status(worker: str, entries: Iterable[StatusEntry], *, bulk: bool) -> dict[str, Any]:
    """The data of ``status``; without entries it is a sign of life."""
    slices = []
    for entry in entries:
        data: dict[str, Any] = {
            "job": entry.job,
            "authorizationMessage": js_json.loads(entry.authorisation),
            "status": entry.status,
        }
        if bulk:
            data["runs"] = [list(interval) for interval in entry.slices]
        else:
            data["sliceNumbers"] = _numbers(entry.slices)
        if entry.status == "return":
            data["isEstimationSlice"] = entry.estimation
            data["reason"] = (
                {"message": entry.reason, "errorCode": entry.code} if entry.code else entry.reason
            )
        slices.append(data)
    return {"worker": worker, "slices": slices}


def results(facts: WorkerFacts, batches: Iterable[tuple[Task, Sequence[OutcomeRow]]]) -> dict[str, Any]:
    """The data of ``results@1``: for each authorisation its outcomes, neighbours joined."""
    return {
        "worker": facts.worker,
        "paymentAddress": facts.payment_address,
        "batches": [_batch(task, rows) for task, rows in batches],
    }


def _batch(task: Task, rows: Sequence[OutcomeRow]) -> dict[str, Any]:
    runs: list[list[OutcomeRow]] = []
    for row in sorted((row for row in rows if not row.failed), key=lambda row: row.first):
        if runs and runs[-1][-1].first + runs[-1][-1].count == row.first:
            runs[-1].append(row)
        else:
            runs.append([row])
    return {
        "job": task.job,
        "authorizationMessage": js_json.loads(task.authorisation),
        "runs": [
            {
                "first": run[0].first,
                "count": sum(row.count for row in run),
                "values": join_bodies(row.body.decode() for row in run),
                "metrics": _sums(row.metrics for row in run),
            }
            for run in runs
        ],
        "failures": [
            {"slice": row.first, "error": row.body.decode(), "metrics": _sums([row.metrics])}
            for row in rows
            if row.failed
        ],
    }


def _sums(metrics: Iterable[Metrics]) -> dict[str, Any]:
    parts = list(metrics)
    return {
        "slices": sum(part.slices for part in parts),
        "CPUTime": sum(part.cpu_ms for part in parts),
        "GPUTime": sum(part.gpu_ms for part in parts),
        "wallTime": sum(part.wall_ms for part in parts),
        "InDataSize": sum(part.in_bytes for part in parts),
        "OutDataSize": sum(part.out_bytes for part in parts),
    }


def single_results(facts: WorkerFacts, task: Task, row: OutcomeRow) -> list[dict[str, Any]]:
    """The data of one ``result`` for each slice of a row.

    An error is the result of its slice, as the wire has it.
    """
    nodes = nodes_of(b"[" + row.body + b"]" if row.failed else row.body, expected=row.count)
    cost = row.metrics
    slices = max(1, cost.slices)
    # the reference never reports less than a millisecond
    cpu = max(1.0, cost.cpu_ms / slices)
    wall = max(cpu, cost.wall_ms / slices)
    metrics = {
        "CPUTime": cpu,
        "GPUTime": cost.gpu_ms / slices,
        "CPUDensity": cpu / wall,
        "GPUDensity": min(1.0, cost.gpu_ms / slices / wall),
        "InDataSize": cost.in_bytes // slices,
        "OutDataSize": cost.out_bytes // slices,
    }
    authorisation = js_json.loads(task.authorisation)
    return [
        {
            "slice": number,
            "job": task.job,
            "worker": facts.worker,
            "paymentAddress": facts.payment_address,
            "metrics": metrics,
            "authorizationMessage": authorisation,
            "resultV2": result_from_node(node, task.kvin),
        }
        for number, node in enumerate(nodes, row.first)
    ]


def work_emit(
    worker: str, job: str, number: int, event: str, payload: Any, authorisation: bytes
) -> dict[str, Any]:
    """The data of ``workEmit``: something that a sandbox or this worker tells the job's owner."""
    return {
        "eventName": event,
        "payload": payload,
        "job": job,
        "slice": number,
        "worker": worker,
        "authorizationMessage": js_json.loads(authorisation),
    }


def work_emits(worker: str, job: str, emissions: Sequence[Emission], authorisation: bytes) -> dict[str, Any]:
    """The data of ``workEmits@1``: many events of one job."""
    return {
        "worker": worker,
        "job": job,
        "authorizationMessage": js_json.loads(authorisation),
        "events": [{"eventName": one.event, "slice": one.slice, "payload": one.payload} for one in emissions],
    }


def _numbers(slices: Iterable[Interval]) -> list[int]:
    numbers: list[int] = []
    for first, count in slices:
        numbers += range(first, first + min(count, MAX_NUMBERED - len(numbers)))
    return numbers


def dcc(amount: int) -> str:
    """An amount in 10^-18 DCC, for people."""
    whole, part = divmod(amount, HUMAN_DCC)
    text = f"{whole}.{part:018d}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text
