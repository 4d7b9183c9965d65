"""One background thread with an event loop for all jobs of a program: acks and events are served while
it computes."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")
LEAVE_S = 3.0  # how long the end of the program waits for goodbyes


class Network:
    """The thread. It is started by the first job and ends with the program."""

    _lock = threading.Lock()
    _instance: "Network | None" = None

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._goodbyes: set[concurrent.futures.Future[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="dcp-network", daemon=True)
        self._thread.start()

    @classmethod
    def shared(cls) -> "Network":
        """The one of this process."""
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
                atexit.register(cls._instance.leave)
            return cls._instance

    def submit(self, work: Coroutine[Any, Any, Answer]) -> "concurrent.futures.Future[Answer]":
        """Run a coroutine on the thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def goodbye(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine that nobody waits for, but the end of the program, for a little while."""
        future = self.submit(work)
        self._goodbyes.add(future)
        future.add_done_callback(self._goodbyes.discard)

    def leave(self) -> None:
        """Say the goodbyes and stop."""
        waiting = list(self._goodbyes)
        if waiting:
            concurrent.futures.wait(waiting, timeout=LEAVE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        with contextlib.suppress(RuntimeError):
            self.loop.run_forever()
            self.loop.run_until_complete(_unwind())


async def _unwind() -> None:
    """End what still runs, and what that starts at its end; or the interpreter complains at its own end."""
    for _ in range(3):
        unfinished = asyncio.all_tasks() - {asyncio.current_task()}
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await asyncio.sleep(0)
