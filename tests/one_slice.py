"""A DCP scheduler that has only the operations of the wire: none of ours in bulk, and it never speaks of them."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dcp_worker.protocol.dcp import bootstrap, kvin
from dcp_worker.scheduler import service
from dcp_worker.scheduler.core import Call, Core, Operations
from dcp_worker.scheduler.refusal import Refused
from dcp_worker.tests.lab import running_scheduler
from dcp_worker.tests.programs import Program, command

BULK_OPERATIONS = frozenset({"requestRuns@1", "results@1", "fetchResults@1"})


@dataclass
class Plain:
    """The scheduler, and what it was asked: (operation, data) in the order of arrival, and what it refused."""

    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    bulk_asked: list[str] = field(default_factory=list)

    def data_of(self, operation: str) -> list[Any]:
        """The data of all requests for one operation so far."""
        return [data for name, data in list(self.asked) if name == operation]

    def statuses(self, job: str, state: str) -> list[int]:
        """The slice numbers of a job that workers said this of, sorted."""
        entries = [entry for data in self.data_of("status") for entry in data["slices"]]
        return sorted(
            number
            for entry in entries
            if entry["job"] == job and entry["status"] == state
            for number in entry["sliceNumbers"]
        )

    def operations(self, make: Callable[[Core], Operations]) -> Callable[[Core], Operations]:
        """The operations of a service, less those in bulk."""

        def of(core: Core) -> Operations:
            return {
                name: self._watched(name, operation)
                for name, operation in make(core).items()
                if name not in BULK_OPERATIONS
            } | {name: self._watched(name, _missing) for name in BULK_OPERATIONS}

        return of

    def _watched(self, name: str, operation: Any) -> Any:
        async def watched(call: Call) -> Any:
            self.asked.append((name, call.data))
            if name in BULK_OPERATIONS or _in_bulk(call.data):
                self.bulk_asked.append(name)
                raise Refused("ENOOP", f"This service has no operation {name!r} of that form.")
            return await operation(call)

        return watched


async def _missing(_call: Call) -> Any:
    raise AssertionError("refused before it gets here")


def _in_bulk(data: Any) -> bool:
    """Whether a request of the wire has something in it that only our own schedulers know."""
    if not isinstance(data, Mapping):
        return False
    labels = [*data.get("reliableEvents", ()), *data.get("optionalEvents", ())]
    entries = data.get("slices") if isinstance(data.get("slices"), list) else []
    return (
        "results" in labels
        or "waitMs" in data
        or "maxSlices" in data
        or any("runs" in one for one in entries)
    )


def _without_bulk(*arguments: Any) -> str:
    version = _DOCUMENT(*arguments)
    document = kvin.deserialize(version)
    del document["scheduler"]["bulk"]
    return kvin.serialize(document, "v8" if arguments[2:] == ("2.0.0",) else "v9")


_DOCUMENT = bootstrap.config_document


@contextmanager
def plain_scheduler(folder: Path) -> Iterator[Plain]:
    """A scheduler without bulk operations in a thread of this process; its books must be right at the end."""
    plain = Plain()
    ready, failures = threading.Event(), list[BaseException]()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def live() -> None:
        async with running_scheduler(folder) as scheduler:
            plain.url = scheduler.url
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(live())
        except BaseException as failure:
            failures.append(failure)
        finally:
            ready.set()

    services = {name: (path, plain.operations(make)) for name, (path, make) in service.SERVICES.items()}
    with (
        patch.object(service, "SERVICES", services),
        patch.object(bootstrap, "config_document", _without_bulk),
    ):
        thread = threading.Thread(target=run, name="plain-scheduler", daemon=True)
        thread.start()
        assert ready.wait(60)
        try:
            if not failures:
                yield plain
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
    if failures:
        raise failures[0]


@contextmanager
def running_worker(folder: Path, url: str, *arguments: str) -> Iterator[Program]:
    """The real ``dcp-worker`` with its evaluator host, working for the scheduler at an address."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"DCP_RESOURCE_DIR": str(folder / "resources"), "DCP_SCHEDULER_LOCATION": url}
    worker = Program(
        [command("dcp-worker"), "--data", str(folder / "data"), "--cores", "2", *arguments],
        folder / "worker.log",
        env=environment,
        cwd=folder,
    )
    try:
        worker.wait_for("found the scheduler")
        yield worker
    finally:
        worker.stop()
