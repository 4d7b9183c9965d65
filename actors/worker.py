"""The worker as a process: puts the actors together, waits for a signal, and ends them in order.

First SIGINT or SIGTERM: running slices finish or go back, results are delivered, then the process leaves,
all within the deadline. A second one ends it at once; what was not delivered is in the outbox, and the next
start delivers it.
"""

import os
import secrets
import select
import shutil
import signal
import string
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loguru import logger

from ..errors import DcpError
from ..protocol.curve import Authenticator, AuthorisedHosts, CurveKey
from ..protocol.dcp.address import parse_address
from ..protocol.switchboard import Address, Switchboard
from .local_host import LocalHost
from .local_messages import PeerGone, StopWork
from .outbox import Outbox
from .planning import Planner
from .requests import PUBLIC_GROUP, Group, WorkerFacts
from .supervisor import Supervisor
from .uploader import MAX_OUTBOX_BYTES, ResultUploader
from .wallet import Wallet, load_or_create_key, resource_dir

EXIT_FAILED = 5
"""Exit status after an actor failed; the next start delivers what is in the outbox."""
_SUPERVISOR = Address(b"", "supervisor")
_ID_LETTERS = string.ascii_letters + string.digits


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
    local_host_command: tuple[str, ...] = (sys.executable, "-m", "dcp_worker.cli.evaluator_manager")
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
    outbox_max_bytes: int = MAX_OUTBOX_BYTES
    stop_within_s: float = 30.0


def run_worker(settings: WorkerSettings, *, on_bound: Callable[[str], None] | None = None) -> int:
    """Work until told to stop; gives the exit status. Raises DcpError when it cannot start.

    ``on_bound`` is told the tcp endpoint for other boxes' hosts once it is known. Call it on the main thread.
    """
    state = _State()
    resources = settings.resource_dir or resource_dir()
    keys = {key: load_or_create_key(resources, key) for key in ("identity", "payment")}
    payment = parse_address(settings.payment_address) if settings.payment_address else keys["payment"].address
    outbox = Outbox(settings.data_dir / "outbox.db", durable=settings.durable)
    runtime = _runtime_dir()
    local: LocalHost | None = None
    if settings.start_local_host:  # at once: it starts beside us, and connects when our socket is there
        local = LocalHost(_host_command(settings, f"ipc://{runtime}/supervisor"))
        local.start()
    from .scheduler_link import SchedulerLink, WalletSigner  # the DCP wire takes a while to import

    board = Switchboard("supervisor", on_failure=state.on_failure)
    link: SchedulerLink | None = None
    try:
        facts = WorkerFacts(
            worker=_worker_id(settings.data_dir),
            payment_address=payment,
            groups=_groups(settings),
            only_jobs=settings.job_ids,
            minimum_wage=settings.minimum_wage,
        )
        signer = WalletSigner(board, keys["identity"].address)
        link = SchedulerLink(board, settings.scheduler, signer, tell=("supervisor", "uploader"))
        planner = Planner(
            life=secrets.token_hex(4),
            first_run=time.time_ns() // 1_000_000,
            window_s=settings.prefetch_s,
            watch_s=settings.watch_s,
            lost_after_s=settings.host_lost_after_s,
        )
        board.start()
        Wallet.start(board, "wallet", keys)
        Supervisor.start(
            board,
            "supervisor",
            planner=planner,
            link=link,
            facts=facts,
            lost_after_s=settings.host_lost_after_s,
            on_done=state.end,
        )
        ResultUploader.start(
            board, "uploader", outbox=outbox, link=link, facts=facts, max_bytes=settings.outbox_max_bytes
        )
        board.bind(f"ipc://{runtime}/supervisor", None, partial(_on_gone, board))
        _bind_for_others(settings, resources, board, on_bound)
        link.start()
        logger.info(
            "worker {} earns for {}; it waits for work from {}", facts.worker, payment, settings.scheduler
        )
        with _Signals(state, board, local, settings.stop_within_s):
            state.wait()
        return state.status
    finally:
        patient = state.status == 0
        if local is not None:
            local.expect_end()
        if link is not None:
            link.close(2.0 if patient else 0.2)
        board.stop(1.0 if patient else 0.0)
        if local is not None:
            local.stop(3.0 if patient else 0.0)
        outbox.close()
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

    def __init__(self, state: _State, board: Switchboard, local: LocalHost | None, within_s: float) -> None:
        self._state = state
        self._board = board
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
            self._board.tell(_SUPERVISOR, StopWork(self._within_s))
            self._state.give_up_in(self._within_s)
        else:
            self._state.end(128 + number)


def _groups(settings: WorkerSettings) -> tuple[Group, ...]:
    groups = tuple(Group.with_secret(key, secret) for key, secret in settings.compute_groups)
    return groups if settings.leave_public_group else (*groups, PUBLIC_GROUP)


def _host_command(settings: WorkerSettings, endpoint: str) -> list[str]:
    command = [*settings.local_host_command, "--supervisor", endpoint, "--exit-with-parent"]
    if settings.cores is not None:
        command += ["--cores", f"{settings.cores:g}"]
    if settings.max_sandboxes is not None:
        command += ["--max-sandboxes", str(settings.max_sandboxes)]
    return command + list(settings.local_host_arguments)


def _bind_for_others(
    settings: WorkerSettings, resources: Path, board: Switchboard, on_bound: Callable[[str], None] | None
) -> None:
    if settings.evaluator_hosts is None:
        return
    if not settings.evaluator_hosts.startswith("tcp://"):
        raise WorkerError(
            f"hosts of other boxes attach over tcp://ADDRESS:PORT, not {settings.evaluator_hosts}"
        )
    key = CurveKey.load_or_create(settings.host_key_file or resources / "supervisor.key")
    hosts = AuthorisedHosts(settings.authorised_hosts or resources / "hosts")
    bound = board.bind(settings.evaluator_hosts, Authenticator(key, hosts), partial(_on_gone, board))
    logger.info("hosts of other boxes attach at {} with --supervisor-key {}", bound, key.public)
    if on_bound is not None:
        on_bound(bound)


def _on_gone(board: Switchboard, peer: bytes) -> None:
    """A host that is killed is known to be gone at once, not only by its silence."""
    board.tell(_SUPERVISOR, PeerGone(peer))


def _runtime_dir() -> Path:
    """A new folder that only this user can enter, for the socket of the local host."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    usable = base is not None and len(base) < 60 and os.access(base, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="dcp-worker-", dir=base if usable else None))


def _worker_id(data_dir: Path) -> str:
    """The id that the scheduler knows this worker by; it stays the same over restarts."""
    path = data_dir / "worker.id"
    try:
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_text("".join(secrets.choice(_ID_LETTERS) for _ in range(22)) + "\n")
            temporary.replace(path)
        known = path.read_text().strip()
    except OSError as error:
        raise WorkerError(f"cannot keep the worker's id in {path}: {error.strerror or error}") from error
    if not known.isalnum() or not known.isascii() or not 1 <= len(known) <= 100:
        raise WorkerError(f"{path} does not hold a worker id; remove it to get a new one")
    return known
