"""The pipes of all evaluators of this process, watched by one thread.

Lines are handed over in batches, as bytes without their line feed. What an evaluator writes is hostile: a
line has a longest length, and all of it together a rate; past either the evaluator is killed. An idle
evaluator costs nothing, because the thread sleeps in epoll. Writing is done by whoever has something to
write, and by the thread only when the pipe is full.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from loguru import logger

READ_AT_ONCE = 1 << 20  # bytes; one evaluator's turn, so that none starves the others
_EVENTS_AT_ONCE = 64


class LineSink(Protocol):
    """Who listens to one evaluator. Both are called on the pipes' thread and must not block."""

    def lines(self, lines: list[bytes]) -> None:
        """Complete lines, in order, without their line feeds."""

    def ended(self, end: "EvaluatorEnd") -> None:
        """The process is gone and reaped; nothing follows."""


@dataclass(frozen=True, slots=True)
class EvaluatorEnd:
    """How an evaluator process ended."""

    cause: (
        str  # "closed" (by us), "flood", "memory", "crash", "killed" (from outside, or for CPU time), "exit"
    )
    returncode: int  # as of subprocess: negative for a signal
    detail: str  # a sentence for people; it goes as far as the deployer
    words: str = ""  # its last words on stderr, for the log of this box: they tell its paths and addresses


@dataclass(frozen=True, slots=True)
class PipeLimits:
    """How much an evaluator may write, in bytes."""

    line: int = 64 << 20
    per_second: int = 256 << 20
    queued: int = 512 << 20  # waiting to be written to it


class LineAssembler:
    """Cuts a stream of chunks into lines, without copying a long line again and again.

    ``feed`` raises ValueError for a line longer than ``longest``.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._parts:
                self._parts.append(lines[0])
                lines[0] = b"".join(self._parts)
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > self._longest or any(len(line) > self._longest for line in lines):
            raise ValueError(f"a line of more than {self._longest} bytes")
        return lines


class FloodGate:
    """Counts bytes in windows of one second. ``pass_`` raises ValueError when a window is over its limit."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._window = 0.0
        self._seen = 0

    def pass_(self, count: int, now: float) -> None:
        if now - self._window >= 1.0:
            self._window, self._seen = now, 0
        self._seen += count
        if self._seen > self._per_second:
            raise ValueError(f"more than {self._per_second} bytes of output in a second")


class Channel(Protocol):
    """What the thread watches: one evaluator's descriptors."""

    def on_readable(self, descriptor: int) -> None: ...

    def on_writable(self, descriptor: int) -> None: ...

    def kill(self, cause: str, detail: str) -> None: ...


class EvaluatorPipes:
    """The thread, and the starter: every evaluator of a process hangs on one of these."""

    def __init__(self, name: str = "evaluator-pipes") -> None:
        self._epoll = select.epoll()
        self._channels: dict[int, Channel] = {}
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll.register(self._wake_reader, select.EPOLLIN)
        self._stopping = False
        self._jobs: list[Callable[[], None]] = []
        self._jobs_lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)
        self._starter = threading.Thread(target=self._start_evaluators, name=f"{name}-starter", daemon=True)
        self._to_start: list[Callable[[], None]] = []
        self._start_wanted = threading.Condition()
        self._thread.start()
        self._starter.start()

    def watch(self, descriptor: int, channel: Channel) -> None:
        """Call the channel when the descriptor can be read. Any thread."""
        self._channels[descriptor] = channel
        self._epoll.register(descriptor, select.EPOLLIN)

    def watch_writing(self, descriptor: int, channel: Channel, wanted: bool) -> None:
        """Call the channel when the descriptor can be written, or no longer. Any thread."""
        with contextlib.suppress(FileNotFoundError):
            if wanted:
                self._channels[descriptor] = channel
                self._epoll.register(descriptor, select.EPOLLOUT)
            else:  # not modified to nothing: an error on the other side would be told again and again
                self.forget(descriptor)

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._channels

    def forget(self, descriptor: int) -> None:
        """Stop watching. Any thread, before the descriptor is closed."""
        if self._channels.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    def call(self, job: Callable[[], None]) -> None:
        """Run a job on the pipes' thread soon. Any thread."""
        with self._jobs_lock:
            self._jobs.append(job)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def start_process(self, job: Callable[[], None]) -> None:
        """Run a job on the starter thread, and wait for it.

        A child that asked to die with its parent dies with the *thread* that forked it, so evaluators are
        forked by a thread that lives as long as they may.
        """
        done = threading.Event()
        failures: list[BaseException] = []

        def guarded() -> None:
            try:
                job()
            except BaseException as error:
                failures.append(error)
            finally:
                done.set()

        with self._start_wanted:
            if self._stopping:
                raise RuntimeError("the evaluator pipes are stopped")
            self._to_start.append(guarded)
            self._start_wanted.notify()
        done.wait()
        if failures:
            raise failures[0]

    def stop(self) -> None:
        """End both threads. Evaluators that are still alive die with the starter thread."""
        with self._start_wanted:
            self._stopping = True
            self._start_wanted.notify()
        self.call(lambda: None)
        for thread in (self._thread, self._starter):
            if thread is not threading.current_thread():
                thread.join()

    def _start_evaluators(self) -> None:
        while True:
            with self._start_wanted:
                while not self._to_start and not self._stopping:
                    self._start_wanted.wait()
                if not self._to_start:
                    return
                job = self._to_start.pop(0)
            job()

    def _watch(self) -> None:
        while not self._stopping:
            for descriptor, event in self._epoll.poll(maxevents=_EVENTS_AT_ONCE):
                if descriptor == self._wake_reader:
                    self._run_jobs()
                    continue
                channel = self._channels.get(descriptor)
                if channel is None:
                    continue
                try:
                    if event & (select.EPOLLOUT | select.EPOLLERR) and not event & select.EPOLLIN:
                        channel.on_writable(descriptor)
                    else:
                        channel.on_readable(descriptor)
                except Exception as error:
                    logger.exception("an evaluator's pipe could not be served")
                    channel.kill("crash", f"a defect of the evaluator host: {error!r}")
        self._epoll.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _run_jobs(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)
        with self._jobs_lock:
            jobs, self._jobs = self._jobs, []
        for job in jobs:
            try:
                job()
            except Exception:
                logger.exception("a job of the evaluator pipes failed")


def now() -> float:
    return time.monotonic()
