"""Questions that wait for their reply, and other things that a switchboard must do at a certain time."""

import heapq
import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from loguru import logger

from .links import SwitchboardError


class _Ask(NamedTuple):
    peer: bytes
    future: "Future[Any]"


class Asks:
    """The open questions of a process, by number. Any thread may open and settle them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, _Ask] = {}

    def open(self, peer: bytes) -> "tuple[int, Future[Any]]":
        """Give a new question its number and its future; only ``peer`` may answer it."""
        number = next(self._numbers)
        future: Future[Any] = Future()
        self._open[number] = _Ask(peer, future)
        return number, future

    def settle(self, number: int, peer: bytes, reply: Any) -> None:
        """Answer a question. A reply from anybody but the asked peer is dropped."""
        ask = self._open.get(number)
        if ask is None or ask.peer != peer:
            logger.debug("a reply came that nobody waits for")
            return
        if self._open.pop(number, None) and ask.future.set_running_or_notify_cancel():
            ask.future.set_result(reply)

    def fail(self, number: int, error: BaseException, peer: bytes | None = None) -> None:
        """End a question without a reply; with ``peer``, only if that peer was asked."""
        ask = self._open.get(number)
        if ask is None or (peer is not None and ask.peer != peer):
            return
        if self._open.pop(number, None) and ask.future.set_running_or_notify_cancel():
            ask.future.set_exception(error)

    def expire(self, number: int) -> None:
        """Its time is over."""
        self.fail(number, TimeoutError("the reply did not come in time"))

    def fail_all(self) -> None:
        """The switchboard has ended."""
        for number in list(self._open):
            self.fail(number, SwitchboardError("the switchboard has stopped"))

    def is_open(self, number: int) -> bool:
        """Tell whether somebody still waits."""
        return number in self._open


class Agenda:
    """Calls to make at a certain time, for one thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, Callable[[], None], Callable[[], bool]]] = []

    def at(self, due: float, call: Callable[[], None], wanted: Callable[[], bool] = lambda: True) -> None:
        """Make a call at a time of the monotonic clock, if it is still ``wanted`` then."""
        heapq.heappush(self._heap, (due, next(self._numbers), call, wanted))

    def work_off(self) -> int | None:
        """Do what is due; gives milliseconds until the next thing is, None when there is none."""
        while self._heap:
            due, _, call, wanted = self._heap[0]
            if wanted():
                remaining = due - time.monotonic()
                if remaining > 0:
                    return int(remaining * 1000) + 1
                heapq.heappop(self._heap)
                call()
            else:
                heapq.heappop(self._heap)
        return None
