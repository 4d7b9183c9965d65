"""What a sandbox actor needs of an evaluator; the evaluator host provides it."""

import threading
from collections.abc import Callable
from typing import Protocol


class Ended(Protocol):
    """How an evaluator process ended."""

    @property
    def cause(self) -> str: ...  # "closed", "memory", "crash", "killed", "exit" or "flood"
    @property
    def returncode(self) -> int: ...
    @property
    def detail(self) -> str: ...

    @property
    def words(self) -> str: ...


class Listener(Protocol):
    """Who listens to one evaluator. Called on the thread of the pipes; must not block."""

    def lines(self, lines: list[bytes]) -> None:
        """Complete lines, without their line feeds."""

    def ended(self, end: Ended) -> None:
        """The process is gone; nothing follows."""


class Evaluator(Protocol):
    """A running evaluator. Any thread may call; nothing blocks."""

    pid: int

    def write(self, data: bytes) -> None:
        """Send whole lines. Raises DcpError when too much waits for it already."""

    def kill(self, cause: str = ..., detail: str = ...) -> None:
        """End it at once."""


EvaluatorFactory = Callable[[Listener], Evaluator]
"""Starts an evaluator whose output goes to the listener. Raises DcpError."""


class Feed:
    """Keeps what an evaluator says until somebody listens: the sandbox actor of the job that gets it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[list[bytes] | Ended] = []
        self._listener: Listener | None = None
        self.on_early_end: Callable[[], None] | None = None
        """Called when the evaluator ends before anybody listens."""

    def lines(self, lines: list[bytes]) -> None:
        with self._lock:
            if self._listener is None:
                self._kept.append(lines)
            else:
                self._listener.lines(lines)

    def ended(self, end: Ended) -> None:
        with self._lock:
            listener = self._listener
            if listener is None:
                self._kept.append(end)
            else:
                listener.ended(end)
        if listener is None and self.on_early_end is not None:
            self.on_early_end()

    def listen(self, listener: Listener) -> None:
        """From now on the listener gets everything, first what was kept."""
        with self._lock:
            for item in self._kept:
                if isinstance(item, list):
                    listener.lines(item)
                else:
                    listener.ended(item)
            self._kept.clear()
            self._listener = listener
