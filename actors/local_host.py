"""The evaluator host that a worker starts on its own box: a child process, started again when it dies."""

import subprocess
import threading
import time
from collections.abc import Sequence

from loguru import logger

RESTART_MAX_S = 30.0
STEADY_S = 60.0
"""A host that lived for so long was all right; the next restart is quick again."""


class LocalHost:
    """Keeps one evaluator host running."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._ending = False
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="local-host", daemon=True)

    def start(self) -> None:
        """Start it; returns at once."""
        self._thread.start()

    def expect_end(self) -> None:
        """From now on its end is no accident (from a signal handler, too: it takes no lock)."""
        self._ending = True

    def stop(self, grace_s: float) -> None:
        """Wait for its end for a while, then see to it."""
        self._ending = True
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is None:
            return
        for end, wait_s in ((None, grace_s), (process.terminate, 2.0), (process.kill, 5.0)):
            if end is not None:
                end()
            try:
                process.wait(wait_s)
                return
            except subprocess.TimeoutExpired:
                continue

    def _run(self) -> None:
        failures = 0
        while not self._ending:
            started = time.monotonic()
            try:
                with self._lock:
                    # a group of its own: Ctrl-C at a terminal is for the worker, which ends its host in order
                    self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, process_group=0)
                status: int | str = self._process.wait()
            except OSError as error:
                status = error.strerror or str(error)
            if self._ending:
                return
            failures = 1 if time.monotonic() - started > STEADY_S else failures + 1
            rest = min(RESTART_MAX_S, 0.5 * 2.0 ** (failures - 1))
            logger.error("the local evaluator host has ended ({}); it starts again in {} s", status, rest)
            self._stopping.wait(rest)
