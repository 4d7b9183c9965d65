"""The process of an evaluator host: puts its actors together, waits for a reason to leave, and leaves."""

import os
import secrets
import select
import shlex
import signal
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil
from loguru import logger

from ..actors.load import LoadSettings
from ..actors.load_governor import LoadGovernor
from ..actors.sandbox_limits import SandboxLimits
from ..errors import DcpError
from ..protocol.curve import CurveKey, DialIn, parse_key
from ..protocol.messages import PROTOCOL_VERSION, HostHello
from ..protocol.switchboard import Address, LinkEvent, Switchboard
from .confinement import Limits
from .evaluator import EvaluatorProcess, EvaluatorProgram
from .host import CAPABILITIES, WORKTIMES, EvaluatorHost, Leave
from .pipes import EvaluatorPipes

EXIT_DEFECT = 5


class HostError(DcpError):
    """The evaluator host cannot run as it is set up."""

    code = "EHOST"


@dataclass(frozen=True, slots=True)
class HostSettings:
    """All that an evaluator host needs to know."""

    supervisor: str  # ipc:///PATH or tcp://ADDRESS:PORT
    supervisor_key: str = ""  # public key of the supervisor, or a file with it; needed for tcp
    key_file: Path | None = None  # this host's own key, made on first use; needed for tcp
    name: str = field(default_factory=socket.gethostname)
    load: LoadSettings = field(default_factory=LoadSettings)
    governor_every_s: float = 5.0
    spares: int = 1
    sandbox: SandboxLimits = field(default_factory=SandboxLimits)
    evaluator: Limits = field(default_factory=Limits)
    allow_weaker: frozenset[str] = frozenset()  # layers of confinement that may be missing
    parent: int | None = None  # leave when this process, which started this one, is gone; 0: whoever it is


def run_host(settings: HostSettings) -> int:
    """Be an evaluator host until told to leave; gives the exit status. DcpError when it cannot start."""
    curve = _dial_in(settings)
    program = EvaluatorProgram(limits=settings.evaluator, allow_weaker=settings.allow_weaker)
    reasons = _Reasons()
    board = Switchboard("host", on_failure=lambda actor, _error: reasons.fail(actor))
    pipes = EvaluatorPipes()
    hello = HostHello(
        version=PROTOCOL_VERSION,
        host=secrets.token_hex(8),
        name=settings.name[:100],
        cores=os.cpu_count() or 1,
        memory=int(psutil.virtual_memory().total),
        capabilities=CAPABILITIES,
        worktimes=WORKTIMES,
    )
    board.start()
    try:
        _start(settings, board, pipes, program, hello, curve, reasons)
        with _Signals(board, settings.parent is not None):
            reasons.wait(settings.parent, board)
    finally:
        board.stop(1.0)
        pipes.stop()  # evaluators that are still alive die with it
    return EXIT_DEFECT if reasons.failed else 0


def _start(
    settings: HostSettings,
    board: Switchboard,
    pipes: EvaluatorPipes,
    program: EvaluatorProgram,
    hello: HostHello,
    curve: DialIn | None,
    reasons: "_Reasons",
) -> None:
    living: dict[str, str] = {}
    EvaluatorHost.start(
        board,
        "host",
        hello=hello,
        factory=lambda feed: EvaluatorProcess(pipes, program, feed),
        spares=settings.spares,
        limits=settings.sandbox,
        living=living,
        on_end=reasons.left,
    )
    LoadGovernor.start(
        board,
        "governor",
        host=hello.host,
        settings=settings.load,
        sandboxes=lambda: len(living),
        every_s=settings.governor_every_s,
    )
    refused = _Refusals(settings, curve)

    def on_link(event: LinkEvent) -> None:
        refused.note(event)
        board.tell(Address(b"", "host"), event)

    board.connect(b"supervisor", settings.supervisor, curve, on_link)


def _dial_in(settings: HostSettings) -> DialIn | None:
    if not settings.supervisor.startswith("tcp://"):
        return None
    if not settings.supervisor_key or settings.key_file is None:
        raise HostError(
            f"{settings.supervisor} is reached over the network, so this host needs the supervisor's public "
            "key; on the supervisor's box run `dcp host key`, and give the answer here as --supervisor-key"
        )
    return DialIn(CurveKey.load_or_create(settings.key_file), parse_key(settings.supervisor_key))


class _Refusals:
    """Tells the operator, once, what to do about a connection that is not accepted."""

    def __init__(self, settings: HostSettings, curve: DialIn | None) -> None:
        self._settings = settings
        self._curve = curve
        self._told: set[str] = set()
        self._broken = 0

    def note(self, event: LinkEvent) -> None:
        if event is LinkEvent.UP:
            self._told.clear()
            self._broken = 0
        elif event is LinkEvent.REFUSED and self._curve is not None:
            self._tell(
                "refused",
                "the supervisor does not know this host yet; on its box run: "
                f"dcp host authorise {self._curve.key.public} --name {shlex.quote(self._settings.name)}",
            )
        else:
            self._broken += 1
            if self._broken == 3 and self._curve is not None:
                self._tell(
                    "broken",
                    f"{self._settings.supervisor} closes every connection at once; is {self._curve.server} "
                    "really its key? `dcp host key` on its box prints it",
                )

    def _tell(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("{}", text)


class _Reasons:
    """Why the process is to end; the main thread waits here."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self.failed = False

    def left(self, _reason: str) -> None:
        os.write(self._writer, b"L")

    def fail(self, actor: str) -> None:
        logger.critical("{} has failed, so this evaluator host ends", actor)
        self.failed = True
        os.write(self._writer, b"F")

    def wait(self, parent: int | None, board: Switchboard) -> None:
        """Sleep until the host has left or something has failed; notice the end of the parent meanwhile."""
        gone = Leave("the process that started this host is gone")
        watched = [self._reader]
        watch = -1 if parent is None else _watch_parent(parent)
        if watch >= 0:
            watched.append(watch)
        elif parent is not None:
            board.tell(Address(b"", "host"), gone)
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self._reader in ready:
                break
            watched.remove(watch)
            board.tell(Address(b"", "host"), gone)
        if watch >= 0:
            os.close(watch)


def _watch_parent(parent: int) -> int:
    """A descriptor that can be read when our parent has ended; -1 when it has already."""
    present = os.getppid()
    try:
        watch = os.pidfd_open(parent or present)
    except ProcessLookupError:
        return -1
    if os.getppid() != (parent or present):  # it has ended, and somebody else got its number or its children
        os.close(watch)
        return -1
    return watch


class _Signals:
    """SIGTERM and SIGINT make the host leave; the second one ends the process at once.

    Ctrl-C on a terminal reaches every process of the program. A host that belongs to a worker leaves
    SIGINT to it: the worker finishes what is under way, and then stops its host.
    """

    def __init__(self, board: Switchboard, ignore_interrupt: bool) -> None:
        self._board = board
        self._ignore_interrupt = ignore_interrupt
        self._before: dict[int, object] = {}
        self._seen = 0

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._ignore_interrupt:
            return
        self._seen += 1
        name = signal.Signals(number).name
        if self._seen > 1:
            os._exit(128 + number)  # evaluators die with this process
        self._board.tell(Address(b"", "host"), Leave(f"{name} was received"))
