"""Timers for all actors of a process, on one small thread."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class TimerHandle:
    """A call that will be made later, unless it is cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not make the call. Harmless when it was made already."""
        self.call = None


class Timers:
    """Makes calls at their time. A call must be quick: actors only put a message into a mailbox."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerHandle]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Make a call ``seconds`` from now, on the timer thread."""
        handle = TimerHandle(call)
        entry = (time.monotonic() + seconds, next(self._numbers), handle)
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
                self._thread.start()
            heapq.heappush(self._heap, entry)
            if self._heap[0] is entry:
                self._changed.notify()
        return handle

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                handle = heapq.heappop(self._heap)[2]
            call = handle.call
            if call is not None:
                call()


timers = Timers()
"""The timers of this process. The thread starts with the first one."""
