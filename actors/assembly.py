"""The actors of a worker, put together and taken apart."""

import os
import secrets
import string
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pykka
from loguru import logger

from ..protocol.curve import Authenticator, AuthorisedHosts, CurveKey
from ..protocol.dcp.address import parse_address
from ..protocol.switchboard import Address, Switchboard
from .local_messages import PeerGone, StopWork
from .outbox import Outbox
from .planning import Planner
from .requests import PUBLIC_GROUP, Group, WorkerFacts
from .scheduler_link import SchedulerLink, WalletSigner
from .supervisor import Supervisor
from .uploader import ResultUploader
from .wallet import Wallet, load_or_create_key, resource_dir
from .worker import WorkerError, WorkerSettings

_SUPERVISOR = Address(b"", "supervisor")
_ID_LETTERS = string.ascii_letters + string.digits


class Assembly:
    """Wallet, supervisor, uploader, their switchboard, and the link to the scheduler."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        on_done: Callable[[], None],
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        """Open what is on disk; raises DcpError when that cannot be. ``on_done``: all was stopped in order."""
        self._settings = settings
        self._on_done = on_done
        self._resources = settings.resource_dir or resource_dir()
        self._keys = {key: load_or_create_key(self._resources, key) for key in ("identity", "payment")}
        self._outbox = Outbox(settings.data_dir / "outbox.db", durable=settings.durable)
        given = settings.payment_address
        self._facts = WorkerFacts(
            worker=_worker_id(settings.data_dir),
            payment_address=parse_address(given) if given else self._keys["payment"].address,
            groups=_groups(settings),
            only_jobs=settings.job_ids,
            minimum_wage=settings.minimum_wage,
        )
        self._board = Switchboard("supervisor", on_failure=on_failure)
        signer = WalletSigner(self._board, self._keys["identity"].address)
        self._link = SchedulerLink(self._board, settings.scheduler, signer, tell=("supervisor", "uploader"))
        self._uploader: pykka.ActorRef[ResultUploader] | None = None

    def start(self, endpoint: str, on_bound: Callable[[str], None] | None) -> None:
        """Start the actors, then let hosts in at the endpoint, then look for the scheduler."""
        settings, board, facts = self._settings, self._board, self._facts
        planner = Planner(
            life=secrets.token_hex(4),
            first_run=time.time_ns() // 1_000_000,
            window_s=settings.prefetch_s,
            watch_s=settings.watch_s,
            lost_after_s=settings.host_lost_after_s,
        )
        board.start()
        Wallet.start(board, "wallet", self._keys)
        Supervisor.start(
            board,
            "supervisor",
            planner=planner,
            link=self._link,
            facts=facts,
            lost_after_s=settings.host_lost_after_s,
            on_done=self._on_done,
        )
        self._uploader = ResultUploader.start(
            board,
            "uploader",
            outbox=self._outbox,
            link=self._link,
            facts=facts,
            max_bytes=settings.outbox_max_bytes,
        )
        board.bind(endpoint, None, partial(_on_gone, board))
        _bind_for_others(settings, self._resources, board, on_bound)
        self._link.start()
        what = "worker {} earns for {}; it waits for work from {}"
        logger.info(what, facts.worker, facts.payment_address, settings.scheduler)

    def stop_work(self, deadline_s: float) -> None:
        """Begin to leave in order; ``on_done`` follows (from a signal handler, too: it takes no lock)."""
        self._board.tell(_SUPERVISOR, StopWork(deadline_s))

    def close(self, patient: bool) -> None:
        """End everything. Without patience nothing is waited for; what was committed is safe either way."""
        self._link.close(2.0 if patient else 0.2)
        self._board.stop(1.0 if patient else 0.0)
        if patient and self._uploader is not None and self._uploader.is_alive():
            self._uploader.stop(timeout=2.0)
            self._outbox.close()


def _groups(settings: WorkerSettings) -> tuple[Group, ...]:
    groups = tuple(Group.with_secret(key, secret) for key, secret in settings.compute_groups)
    return groups if settings.leave_public_group else (*groups, PUBLIC_GROUP)


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
