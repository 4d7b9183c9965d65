"""A real scheduler behind a relay, and a worker that computes by hand, on a thread: what client tests run
against."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dcp_worker.protocol.dcp import kvin
from dcp_worker.protocol.dcp.values import body_of, node_of, value_of
from dcp_worker.scheduler.service import Scheduler
from dcp_worker.tests.lab import HandWorker, authorisation, inputs_of, running_scheduler
from dcp_worker.tests.wire import Relay, relaying

Work = Callable[[Any], Any]


class ClientLab:
    """``work`` is called with each input; what it raises becomes the slice's error. ``gate`` closed: it
    waits."""

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder = folder
        self.work = work
        self.url = ""  # through the relay
        self.relay: Relay
        self.scheduler: Scheduler
        self.gate = threading.Event()
        self.gate.set()
        self.emit: list[tuple[str, Any]] = []  # (event, payload) sent for each run before its results
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="client-lab", daemon=True)

    def call(self, work: Awaitable[Any]) -> Any:
        """Do something on the lab's loop, such as asking the scheduler, and wait for it."""

        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(30)

    def soon(self, call: Callable[[], object]) -> None:
        """Do something on the lab's loop."""
        self._loop.call_soon_threadsafe(call)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self.gate.set()
        self.soon(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._ready.set()

    async def _live(self) -> None:
        async with running_scheduler(self.folder) as self.scheduler:
            port = int(self.scheduler.url.rsplit(":", 1)[1].strip("/"))
            async with relaying(port) as self.relay:
                self.url = self.relay.url("/")
                worker = HandWorker(self.scheduler.url)
                working = asyncio.create_task(self._work(worker))
                self._ready.set()
                stopping = asyncio.create_task(self._stop.wait())
                await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
                working.cancel()
                await worker.close()

    async def _work(self, worker: HandWorker) -> None:
        while True:
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
            task = await worker.request(wait_ms=50, maxSlices=100_000)
            for job, runs in task["body"].get("runs", {}).items():
                for event, payload in self.emit:
                    data = {
                        "eventName": event,
                        "payload": payload,
                        "job": job,
                        "slice": runs[0]["first"],
                        "worker": worker.name,
                        "authorizationMessage": authorisation(task),
                    }
                    await worker.ask("eventRouter", "workEmit", data)
                for run in runs:
                    await self._compute(worker, task, job, run)

    async def _compute(self, worker: HandWorker, task: Any, job: str, run: Any) -> None:
        results: list[tuple[int, list[Any]]] = []
        failures = []
        for number, node in enumerate(inputs_of(task, job, run), run["first"]):
            try:
                value = self.work(value_of(node))
            except Exception as error:
                thrown = kvin.JsError(str(error), name=type(error).__name__)
                failures.append({"slice": number, "error": body_of([node_of(thrown)])[1:-1]})
            else:
                results.append((number, [node_of(value)]))
        if len(results) == run["count"]:
            results = [(run["first"], [nodes[0] for _, nodes in results])]
        await worker.deliver(task, job, results, failures)


@contextmanager
def client_lab(folder: Path, work: Work = lambda x: x * x) -> Iterator[ClientLab]:
    """A lab for the length of a test; the scheduler's books must be right at its end."""
    lab = ClientLab(folder, work)
    lab.start()
    try:
        yield lab
    finally:
        lab.stop()
