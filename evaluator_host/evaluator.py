"""One evaluator: a confined deno process with our sandbox, or somebody else's, on its standard input and
output.
"""

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import threading
from collections import deque

from .pipes import (
    READ_AT_ONCE,
    EvaluatorEnd,
    EvaluatorPipes,
    FloodGate,
    LineAssembler,
    LineSink,
    PipeLimits,
    now,
)
from .program import EvaluatorError, EvaluatorProgram, spawn

__all__ = ["EvaluatorError", "EvaluatorProcess", "EvaluatorProgram", "classify"]

_PIPE = 1 << 18  # bytes; with the usual 64 KiB a value of a megabyte wakes each side four times as often
_STDERR_KEPT = 2048  # bytes of its first words, and as many of its last ones
_MEMORY_WORDS = re.compile(
    rb"out ?of ?memory|Reached heap limit|Allocation failed|memory allocation|Cannot allocate memory"
    rb"|worker threads?|spawn thread|os error 1[12]\b",  # a thread is refused when there is no memory for its stack
    re.IGNORECASE,
)


class EvaluatorProcess:
    """A running evaluator. ``write`` and ``kill`` may be called from any thread and never block.

    The sink gets its lines, and once, at last, how it ended.
    """

    def __init__(
        self,
        pipes: EvaluatorPipes,
        program: EvaluatorProgram,
        sink: LineSink,
        limits: PipeLimits | None = None,
    ) -> None:
        self._pipes = pipes
        self._sink = sink
        self._limits = limits or PipeLimits()
        self._lines = LineAssembler(self._limits.line)
        self._gate = FloodGate(self._limits.per_second)
        self._stderr_head = self._stderr_tail = b""
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._write_lock = threading.Lock()
        self._cause = ""  # why we killed it, when we did
        self._detail = ""
        self._gone = False
        self.returncode: int | None = None
        pipes.start_process(lambda: self._start(program))

    def _start(self, program: EvaluatorProgram) -> None:
        self._process = spawn(program, subprocess.PIPE, subprocess.PIPE, subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self._stdin = self._process.stdin.fileno()
        self._stdout = self._process.stdout.fileno()
        self._stderr = self._process.stderr.fileno()
        self._pidfd = os.pidfd_open(self.pid)
        for descriptor in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):  # the user has no more pipe memory to give: slower, no more
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE)
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        for descriptor in (self._stdout, self._stderr, self._pidfd):
            self._pipes.watch(descriptor, self)

    def write(self, data: bytes) -> None:
        """Send bytes (whole lines) to the evaluator, or queue them. Does nothing when it is gone.

        Raises EvaluatorError when more than the limit would wait.
        """
        with self._write_lock:
            if self._gone or not data:
                return
            view = memoryview(data)
            if not self._queue:
                view = view[self._write_some(view) :]
                if not view:
                    return
            if self._queued + len(view) > self._limits.queued:
                raise EvaluatorError(f"the evaluator does not read; {self._queued} bytes wait for it already")
            if not self._queue:
                self._pipes.watch_writing(self._stdin, self, True)
            self._queue.append(view)
            self._queued += len(view)

    def kill(self, cause: str = "closed", detail: str = "killed as asked") -> None:
        """End it at once, whatever it does. The first cause given is the one reported."""
        with self._write_lock:
            if self._gone:
                return
            self._cause = self._cause or cause
            self._detail = self._detail or detail
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    # -- on the pipes' thread

    def on_readable(self, descriptor: int) -> None:
        if descriptor == self._pidfd:
            self._on_exit()
        elif descriptor == self._stdout:
            if not self._read_output():
                self._pipes.forget(self._stdout)
                self.kill("exit", "closed its standard output")
        elif not self._read_stderr():
            self._pipes.forget(self._stderr)

    def on_writable(self, descriptor: int) -> None:  # noqa: ARG002 (there is only stdin to write to)
        with self._write_lock:
            while self._queue:
                view = self._queue[0]
                done = self._write_some(view)
                self._queued -= done
                if done < len(view):
                    self._queue[0] = view[done:]
                    if done == 0:
                        break
                else:
                    self._queue.popleft()
            if not self._queue:
                self._pipes.watch_writing(self._stdin, self, False)

    def _write_some(self, view: memoryview) -> int:
        try:
            return os.write(self._stdin, view)
        except BlockingIOError:
            return 0
        except OSError:
            return len(view)  # it is dying; the pidfd will tell

    def _read_output(self) -> bool:
        """Read once; False at the end of the stream."""
        try:
            chunk = os.read(self._stdout, READ_AT_ONCE)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        if self._cause == "flood":
            return True
        try:
            self._gate.pass_(len(chunk), now())
            lines = self._lines.feed(chunk)
        except ValueError as error:
            self.kill("flood", str(error))
            return True
        if lines:
            self._sink.lines(lines)
        return True

    def _read_stderr(self) -> bool:
        try:
            chunk = os.read(self._stderr, READ_AT_ONCE)
        except BlockingIOError:
            return True
        room = _STDERR_KEPT - len(self._stderr_head)
        self._stderr_head += chunk[:room]
        self._stderr_tail = (self._stderr_tail + chunk[room:])[-_STDERR_KEPT:]
        try:
            self._gate.pass_(len(chunk), now())
        except ValueError as error:
            self.kill("flood", str(error))
        return bool(chunk)

    def _on_exit(self) -> None:
        if self._process.poll() is None:
            return  # an event of an evaluator that had this descriptor before
        for read, descriptor in ((self._read_output, self._stdout), (self._read_stderr, self._stderr)):
            if descriptor in self._pipes:
                while read_more(descriptor):
                    if not read():
                        break
        with self._write_lock:
            self._gone = True
            self._queue.clear()
            for descriptor in (self._stdin, self._stdout, self._stderr, self._pidfd):
                self._pipes.forget(descriptor)
            os.close(self._pidfd)
        self.returncode = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._sink.ended(
            classify(self.returncode, self._stderr_head + self._stderr_tail, self._cause, self._detail)
        )


def classify(returncode: int, stderr: bytes, cause: str = "", detail: str = "") -> EvaluatorEnd:
    """Say how an evaluator ended, from its exit status, its last words and why we killed it, if we did.

    V8 ends with a trap (SIGTRAP, SIGILL) or SIGABRT when memory runs out, and for its own bugs too; deno may
    exit with a status of its own then, e.g. when a thread gets no stack. Its words tell which, and where
    there are none after a trap memory is by far the likelier. The first ones tell the reason, the last ones
    where.
    """
    said = b" ".join(stderr.split()).decode(errors="replace")
    words = said if len(said) <= 500 else f"{said[:200]} … {said[-300:]}"
    if cause and returncode == -signal.SIGKILL:
        return EvaluatorEnd(cause, returncode, detail)
    if returncode != 0 and _MEMORY_WORDS.search(stderr):
        return EvaluatorEnd("memory", returncode, "needed more memory than a sandbox may use", words)
    if returncode >= 0:
        return EvaluatorEnd("exit", returncode, f"ended by itself with status {returncode}", words)
    name = signal.Signals(-returncode).name
    if -returncode in (signal.SIGTRAP, signal.SIGILL, signal.SIGABRT) and b"panicked" not in stderr:
        detail = f"crashed ({name}), most likely for more memory than a sandbox may use"
        return EvaluatorEnd("memory", returncode, detail, words)
    if -returncode in (signal.SIGKILL, signal.SIGXCPU):
        return EvaluatorEnd("killed", returncode, f"killed from outside or for its CPU time ({name})")
    return EvaluatorEnd("crash", returncode, f"crashed ({name})", words)


def read_more(descriptor: int) -> bool:
    """Whether the descriptor has something to read, or is at its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
