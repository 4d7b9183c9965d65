"""The worker as a process: starts it, waits for a signal, and ends it in order.

First SIGINT or SIGTERM: running slices finish or go back, results are delivered, then the process leaves,
all within the deadline. A second one ends it at once; what was not delivered is in the outbox, and the next
start delivers it.
"""

import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from ..errors import DcpError
from .local_host import LocalHost

if TYPE_CHECKING:
    from .assembly import Assembly

EXIT_FAILED = 5
"""Exit status after an actor failed; the next start delivers what is in the outbox."""


class WorkerError(DcpError):
    """The worker cannot start as it is set up."""

    code = "EWORKER"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """All that a worker process needs to know. Times in seconds, money in DCC."""

    scheduler: str  # URL
    data_dir: Path  # outbox and worker id; of one worker only
    resource_dir: Path | None = None  # keystores and CURVE keys; None: $DCP_RESOURCE_DIR or ~/.dcp
    evaluator_hosts: str | None = None  # tcp://ADDRESS:PORT that hosts of other boxes attach to
    host_key_file: Path | None = None  # our CURVE key for them; None: supervisor.key in the resource folder
    authorised_hosts: Path | None = None  # folder with a file a host; None: hosts in the resource folder
    start_local_host: bool = True
    local_host_command: tuple[str, ...] = (sys.executable, "-P", "-m", "dcp_worker.cli.evaluator_manager")
    local_host_arguments: tuple[str, ...] = ()
    cores: float | None = None  # of the local host; None: all of the box
    max_sandboxes: int | None = None  # of the local host
    payment_address: str | None = None  # None: the address of default.keystore
    compute_groups: tuple[tuple[str, str], ...] = ()  # (joinKey, joinSecret or eh1- hash)
    leave_public_group: bool = False
    job_ids: tuple[str, ...] = ()
    minimum_wage: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # CPU h, GPU h, MB in, MB out
    prefetch_s: float = 5.0  # work that shall lie ready
    watch_s: float = 30.0  # longest rest between requests when there is no work
    host_lost_after_s: float = 15.0
    durable: bool = True  # the outbox survives a power cut, not only a killed process
    outbox_max_bytes: int = 4 * 1024**3  # when more waits, no more work is fetched
    stop_within_s: float = 30.0


def run_worker(settings: WorkerSettings, *, on_bound: Callable[[str], None] | None = None) -> int:
    """Work until told to stop; gives the exit status. Raises DcpError when it cannot start.

    ``on_bound`` is told the tcp endpoint for other boxes' hosts once it is known. Call it on the main thread.
    """
    state = _State()
    runtime = _runtime_dir()
    endpoint = f"ipc://{runtime}/supervisor"
    local: LocalHost | None = None
    worker: Assembly | None = None
    try:
        if settings.start_local_host:
            # first of all: it starts while we do, and dials until we answer
            local = LocalHost(_host_command(settings, endpoint))
            local.start()
        from . import assembly  # the heavy imports

        worker = assembly.Assembly(settings, on_done=state.end, on_failure=state.on_failure)
        worker.start(endpoint, on_bound)
        with _Signals(state, worker, local, settings.stop_within_s):
            state.wait()
        return state.status
    finally:
        patient = state.status == 0
        if local is not None:
            local.expect_end()
        if worker is not None:
            worker.close(patient)
        if local is not None:
            local.stop(3.0 if patient and worker is not None else 0.0)
        shutil.rmtree(runtime, ignore_errors=True)


class _State:
    """Why and how the process ends.

    A signal handler may take no lock, so a descriptor wakes the main thread.
    """

    def __init__(self) -> None:
        self.status = 0
        self.give_up_at: float | None = None
        self._done = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)

    def end(self, status: int = 0) -> None:
        """End now (any thread)."""
        self.status = self.status or status
        self._done = True
        os.eventfd_write(self._wake, 1)

    def give_up_in(self, seconds: float) -> None:
        """End after so long, whatever happens."""
        self.give_up_at = time.monotonic() + seconds
        os.eventfd_write(self._wake, 1)

    def on_failure(self, actor: str, error: BaseException) -> None:
        """An actor has failed: end, and let the service manager start anew."""
        logger.error("{} failed: {}; the worker ends", actor, error)
        self.end(EXIT_FAILED)

    def wait(self) -> None:
        """Until the supervisor is done, or the deadline has passed."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while not self._done:
            left = None if self.give_up_at is None else self.give_up_at - time.monotonic()
            if left is not None and left <= 0:
                logger.warning("the time for stopping is over; what is left is in the outbox")
                return
            if poll.poll(None if left is None else left * 1000):
                os.eventfd_read(self._wake)


class _Signals:
    """SIGINT and SIGTERM while the worker runs; the handlers of before afterwards."""

    def __init__(self, state: _State, worker: "Assembly", local: LocalHost | None, within_s: float) -> None:
        self._state = state
        self._worker = worker
        self._local = local
        self._within_s = within_s
        self._old: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, _frame: object) -> None:
        # Runs on the main thread, which only waits; it takes no lock that the thread could hold.
        if self._state.give_up_at is None:
            if self._local is not None:
                self._local.expect_end()
            self._worker.stop_work(self._within_s)
            self._state.give_up_in(self._within_s)
        else:
            self._state.end(128 + number)


def _host_command(settings: WorkerSettings, endpoint: str) -> list[str]:
    command = [*settings.local_host_command, "--supervisor", endpoint, f"--exit-with-parent={os.getpid()}"]
    if settings.cores is not None:
        command += ["--cores", f"{settings.cores:g}"]
    if settings.max_sandboxes is not None:
        command += ["--max-sandboxes", str(settings.max_sandboxes)]
    return command + list(settings.local_host_arguments)


def _runtime_dir() -> Path:
    """A new folder that only this user can enter, for the socket of the local host."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    usable = base is not None and len(base) < 60 and os.access(base, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="dcp-worker-", dir=base if usable else None))
