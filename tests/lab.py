"""A scheduler in this process, with a deployer and a worker that speak the wire to it and compute by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from dcp_worker.protocol.dcp.hashing import eh1, salted
from dcp_worker.protocol.dcp.initiator import Connection
from dcp_worker.protocol.dcp.signature import PrivateKey
from dcp_worker.protocol.dcp.signer import LocalSigner
from dcp_worker.protocol.dcp.values import body_of, nodes_of
from dcp_worker.scheduler.service import SERVICES, Scheduler
from dcp_worker.scheduler.settings import SchedulerSettings
from dcp_worker.scheduler.store import ledger
from dcp_worker.scheduler.store.writer import Store

OnEvent = Callable[[str, Any], Awaitable[Any]]


class Party:
    """Somebody with a key, who opens a connection to each service that is used."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = LocalSigner(PrivateKey.generate())
        self.payment = LocalSigner(PrivateKey.generate())
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._connections: dict[str, Connection] = {}

    async def connection(self, service: str) -> Connection:
        if service not in self._connections:
            url = self.url.rstrip("/") + SERVICES[service][0]
            self._connections[service] = Connection(url, self.key, on_request=self._on_request)
            await self._connections[service].connect()
        return self._connections[service]

    async def ask(self, service: str, operation: str, data: Any, **options: Any) -> Any:
        return await (await self.connection(service)).request(operation, data, **options)

    async def _on_request(self, operation: str, data: Any) -> Any:
        assert operation == "event"
        async with self._news:
            self.events.append(data["event"]["data"])
            self._news.notify_all()
        return "success"

    async def wait_for(self, seen: Callable[[list[dict[str, Any]]], object], timeout_s: float = 20.0) -> None:
        """Wait until the events that have come satisfy a condition."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: seen(self.events))

    async def wait_for_stop(self) -> dict[str, Any]:
        await self.wait_for(lambda events: any(event["eventName"] == "stop" for event in events))
        return next(event for event in self.events if event["eventName"] == "stop")

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close()
        self._connections.clear()


class Deployer(Party):
    """Submits jobs and watches them."""

    async def submit(self, **fields: Any) -> str:
        job = fields.pop("job", token_hex(11))
        data = {
            "job": job,
            "paymentAccount": str(self.payment.address),
            "workFunctionURI": "data:,function(x)%7Breturn%20x*x;%7D",
            "mvMultSlicePayment": 1,
            "absoluteSlicePayment": 0,
            "requirements": 64,
            "isOpen": False,
            "worktime": {"name": "map-basic", "version": "^1.0.0", "custom": False},
            "marshaledArguments": {"_serializeVerId": "v9", "what": {"raw": []}},
            **fields,
        }
        payment = [self.payment.address]
        await self.ask("jobSubmit", "submit@5", data, allow=payment, authorise=[self.payment])
        return str(job)

    async def add(self, job: str, items: list[Any]) -> Any:
        values = {"_serializeVerId": "v9", "what": {"arr": items}}
        return await self.ask("jobSubmit", "addSliceData", {"job": job, "dataValues": values})

    async def close_job(self, job: str) -> Any:
        return await self.ask("resultSubmitter", "closeJob", {"job": job})

    async def watch(self, job: str, *labels: str) -> list[dict[str, str]]:
        data = {
            "reliableEvents": ["stop"],
            "optionalEvents": list(labels),
            "options": {"filter": {"job": job}},
        }
        answer = await self.ask("eventRouter", "subscribeMany", data)
        return list(answer["tokens"])

    async def fetch(self, job: str, *runs: list[int]) -> tuple[dict[int, Any], dict[int, str]]:
        """Results and errors by slice."""
        answer = await self.ask("resultSubmitter", "fetchResults@1", {"job": job, "runs": list(runs)})
        results: dict[int, Any] = {}
        for run in answer["runs"]:
            results.update(enumerate(nodes_of(run["values"], expected=run["count"]), run["first"]))
        return results, {one["slice"]: one["error"] for one in answer["failures"]}

    async def results_seen(self, job: str, first: int, last: int) -> dict[int, Any]:
        """Results that have come as events."""
        return {
            number: node
            for event in self.events
            if event["eventName"] == "results"
            for run in event["runs"]
            for number, node in enumerate(nodes_of(run["values"]), run["first"])
            if first <= number <= last and job
        }


class HandWorker(Party):
    """A worker without sandboxes: the test says what the results are."""

    def __init__(self, url: str, name: str = "") -> None:
        super().__init__(url)
        self.name = name or token_hex(11)

    async def request(
        self, *, cores: float = 2.0, wait_ms: float = 0, bulk: bool = True, **fields: Any
    ) -> Any:
        connection = await self.connection("taskDistributor")
        data = {
            "targetLoad": {"cpu": cores, "gpu": 0, "longSlices": 1},
            "coreStats": {"worker": self.name, "lCores": 2, "pCores": 2, "sandbox": 2},
            "jobQuanta": {"CPU": {"0": 1}, "GPU": {"0": 1}},
            "capabilities": 80,
            "gpuSpeed": -1,
            "paymentAddress": str(self.payment.address),
            "jobIds": [],
            "workerComputeGroups": [
                {
                    "joinKey": "public",
                    "joinHashHash": salted(connection.dcpsid or "", eh1("public undefined")),
                }
            ],
            "minimumWage": {"CPU": 0, "GPU": 0, "in": 0, "out": 0},
            "previouslyWorkedJobs": [],
            "rejectedJobs": [],
            "unresolvedJobs": [],
            "fetchState": 1,
            "worktimes": [
                {"name": "pyodide", "version": "0.28.0"},
                {"name": "map-basic", "version": "1.0.0"},
            ],
            "seq": 0,
            **({"waitMs": wait_ms} if bulk else {}),
            **fields,
        }
        return await connection.request("requestRuns@1" if bulk else "requestTask@3", data)

    async def deliver(
        self,
        task: dict[str, Any],
        job: str,
        runs: list[tuple[int, list[Any]]],
        failures: list[dict[str, Any]] | None = None,
        wall_ms: float = 1.0,
    ) -> Any:
        batch = {
            "job": job,
            "authorizationMessage": authorisation(task),
            "runs": [
                {
                    "first": first,
                    "count": len(nodes),
                    "values": body_of(nodes),
                    "metrics": {"slices": len(nodes), "wallTime": wall_ms * len(nodes), "CPUTime": 0.5},
                }
                for first, nodes in runs
            ],
            "failures": failures or [],
        }
        answer = await self.deliver_batches([batch])
        return answer["batches"][0]

    async def deliver_batches(self, batches: list[Any]) -> Any:
        return await self.ask(
            "resultSubmitter",
            "results@1",
            {"worker": self.name, "paymentAddress": str(self.payment.address), "batches": batches},
        )

    async def give_back(
        self, task: dict[str, Any], job: str, runs: list[list[int]], reason: Any = None
    ) -> Any:
        entry = {"job": job, "authorizationMessage": authorisation(task), "status": "return", "runs": runs}
        if reason is not None:
            entry["reason"] = reason
        return await self.ask("resultSubmitter", "status", {"worker": self.name, "slices": [entry]})

    async def compute(self, function: Callable[[Any], Any], until: Callable[[], bool] = lambda: False) -> int:
        """Fetch and deliver until there is no more work. Returns how many slices were computed."""
        computed = 0
        while not until():
            task = await self.request(wait_ms=100)
            if "runs" not in task["body"]:
                break
            for job, runs in task["body"]["runs"].items():
                results = [
                    (run["first"], [function(node) for node in inputs_of(task, job, run)]) for run in runs
                ]
                await self.deliver(task, job, results)
                computed += sum(len(nodes) for _, nodes in results)
        return computed


def authorisation(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker sends back of a task: all but its body, after a trip through JSON."""
    kept: dict[str, Any] = json.loads(json.dumps({name: task[name] for name in task if name != "body"}))
    return kept


def inputs_of(task: dict[str, Any], job: str, run: dict[str, Any]) -> list[Any]:
    """The inputs of a run; of a range job the slice numbers themselves."""
    if "values" in run:
        return nodes_of(run["values"], expected=run["count"])
    assert "MROLocation" in task["body"]["newJobs"][job]
    return list(range(run["first"], run["first"] + run["count"]))


@asynccontextmanager
async def running_scheduler(folder: Path, **changes: Any) -> AsyncIterator[Scheduler]:
    """A scheduler that keeps its data in a folder; the books must be right when it has stopped."""
    settings = replace(SchedulerSettings(data_dir=folder, synchronous="NORMAL"), **changes)
    scheduler = Scheduler(settings)
    await scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.stop()
    assert sum(books(folder).values()) == 0


def books(folder: Path) -> dict[str, int]:
    """The balances of a stopped scheduler, added up anew from all entries."""
    store = Store(f"sqlite:///{folder / 'scheduler.sqlite'}", "NORMAL")
    try:
        return store.submit(ledger.audit).result()
    finally:
        store.close()


@asynccontextmanager
async def party(kind: type[Deployer] | type[HandWorker], url: str) -> AsyncIterator[Any]:
    """A deployer or a worker whose connections are closed at the end."""
    somebody = kind(url)
    try:
        yield somebody
    finally:
        await somebody.close()
