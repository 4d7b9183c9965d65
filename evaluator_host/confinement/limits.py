"""Resource limits of one evaluator, and its place behind everybody else on the box."""

import contextlib
import os
import resource
from dataclasses import dataclass

MEBIBYTE = 1 << 20

IDLE_DATA = 545 * MEBIBYTE
"""RLIMIT_DATA counts what V8 has mapped, not what it uses: an idle deno 2.9.8 stands at 544 MB for 32 MB
resident.
"""

_STACK = 8 * MEBIBYTE
_MEASURED_CORES, _MOST_WORKERS = 2, 16
"""V8 starts a worker thread for each core, up to this many; each has a stack that counts as data."""

_THREADS = 22
"""Threads of a deno on a box of no cores; V8 adds about one for each core."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one evaluator may use."""

    memory_mb: int = (
        1024  # MiB beyond the idle engine: JavaScript heap, array buffers and WebAssembly memory together
    )
    cpu_seconds: int | None = (
        None  # CPU time of the whole evaluator, None: no limit here (the host watches the clock)
    )
    open_files: int = 128
    nice: int = 10

    @property
    def heap_mb(self) -> int:
        """V8's own cap on the JavaScript heap. A little below the budget, so that V8 meets its cap first
        and says so.
        """
        return max(64, self.memory_mb * 7 // 8)

    def data_bytes(self, cores: int) -> int:
        """RLIMIT_DATA on a box of so many cores."""
        more_workers = max(0, min(cores, _MOST_WORKERS) - _MEASURED_CORES)
        return IDLE_DATA + more_workers * _STACK + self.memory_mb * MEBIBYTE

    def apply_priority(self) -> None:
        """Be the first to go when memory is short, and the last to get a core. Failing at it is no danger
        to anybody.
        """
        with contextlib.suppress(OSError):
            handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(handle, b"1000")
            finally:
                os.close(handle)
        with contextlib.suppress(OSError):
            os.nice(self.nice)

    def apply(self, *, own_user: bool) -> None:
        """Set the limits for good. Raises OSError or ValueError.

        The number of threads is limited only in a user namespace of its own: otherwise the count is
        shared with everything that runs under the same uid.
        """
        for which, value in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_NOFILE, self.open_files),
            (resource.RLIMIT_DATA, self.data_bytes(os.cpu_count() or _MEASURED_CORES)),
        ):
            _lower(which, value)
        if self.cpu_seconds is not None:
            _lower(resource.RLIMIT_CPU, self.cpu_seconds)
        if own_user:
            _lower(resource.RLIMIT_NPROC, _THREADS + (os.cpu_count() or 2))


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
