"""A whole stack on this box as child processes: a scheduler and a worker, which brings its own evaluator
host.

Who needs this: ``dcp up`` and ``dcp localexec``. Everything is started at once: the listening socket is opened
here and inherited by the scheduler, so that whoever connects early waits in its queue and nobody has to poll.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import DcpError

STEP_S = 0.01  # between looks at what has no event to wait for
LISTEN_FD = "DCP_LISTEN_FD"
"""Environment variable that names the listening socket which a scheduler inherits; it wins over
``--listen``."""


class StackError(DcpError):
    """A part of the stack could not be started, or ended by itself."""

    code = "ESTACK"


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What to start, and where it keeps its things."""

    data: Path  # databases, outbox, caches
    resources: Path  # the worker's keystores, config.toml
    listen: str = "127.0.0.1:0"  # HOST:PORT, port 0 for any free one
    scheduler_arguments: Sequence[str] = ()
    worker_arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    logs: Path | None = None  # folder for what the parts print; None: they print where we do
    output: Callable[[str], IO[bytes]] | None = None  # gives a part its output file, instead of ``logs``


class Stack:
    """The running parts. Use as a context manager, or call ``stop`` in a ``finally``.

    The children live in sessions of their own, so a Ctrl-C on the terminal reaches only this process, which then
    stops them in order: the worker first, because it still has results to hand in. They end too when this
    process is killed.
    """

    def __init__(self, plan: StackPlan) -> None:
        self.plan = plan
        self.url = ""
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Start everything and return the scheduler's URL at once; ``wait_until_serving`` waits for it
        to answer.

        Raises StackError when the address cannot be listened on.
        """
        plan = self.plan
        for folder in (plan.data, plan.resources, *([plan.logs] if plan.logs else [])):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise StackError(f"The folder {folder} cannot be made: {error.strerror}.") from None
        listener = _listen(plan.listen)
        try:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            self.url = f"http://{shown}:{port}/"
            reach = self.url if host not in ("0.0.0.0", "::") else f"http://127.0.0.1:{port}/"
            self.scheduler = self._spawn(
                "scheduler",
                [
                    "--listen",
                    f"{shown}:{port}",
                    "--data",
                    str(plan.data / "scheduler"),
                    *plan.scheduler_arguments,
                ],
                inherit=listener,
            )
            self.worker = self._spawn(
                "worker",
                ["--dcp-scheduler", reach, "--data", str(plan.data / "worker"), *plan.worker_arguments],
            )
        except BaseException:
            self.stop(grace_s=1)
            raise
        finally:
            listener.close()
        return self.url

    def wait_until_serving(self, timeout_s: float = 60) -> None:
        """Wait until the scheduler answers over http. Raises StackError when it ends or stays silent."""
        import http.client
        from urllib.parse import urlsplit

        parts = urlsplit(self.url)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check()
            connection = http.client.HTTPConnection(
                host, parts.port, timeout=max(0.1, deadline - time.monotonic())
            )
            try:
                connection.request("GET", "/etc/dcp-config.kvin?ver=2.1.0")
                if connection.getresponse().status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(STEP_S)
        raise StackError(
            f"The scheduler at {self.url} did not answer within {timeout_s:.0f} s.{self._logs_hint()}"
        )

    def check(self) -> None:
        """Raise StackError when a part has ended by itself."""
        for name, process in (("scheduler", self.scheduler), ("worker", self.worker)):
            if process is not None and process.poll() is not None:
                raise StackError(
                    f"The {name} ended with exit code "
                    f"{process.returncode}.{self._logs_hint()}{self._last_words(name)}"
                )

    def stop(self, grace_s: float = 70) -> None:
        """Stop the worker, then the scheduler: a signal first, a second one (at once) when the time is
        up, then the axe. SIGTERM, because a Python that still loads its modules ends by it without a word."""
        for process in (self.worker, self.scheduler):
            if process is None:
                continue
            for action, patience in ((signal.SIGTERM, grace_s), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
                if process.poll() is not None:
                    break
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(action)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)

    def _spawn(
        self, part: str, arguments: Sequence[str], inherit: socket.socket | None = None
    ) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "DCP_RESOURCE_DIR": str(self.plan.resources), **self.plan.environment}
        if inherit is not None:
            environment[LISTEN_FD] = str(inherit.fileno())
        output: IO[bytes] | None = None
        if self.plan.logs is not None:
            output = (self.plan.logs / f"{part}.log").open("ab")
        elif self.plan.output is not None:
            output = self.plan.output(part)
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__.rpartition('.')[0]}.cli.{part}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
                pass_fds=[] if inherit is None else [inherit.fileno()],
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise StackError(f"The {part} could not be started: {error.strerror}.") from None
        finally:
            if output is not None:
                output.close()

    def _logs_hint(self) -> str:
        return f" See {self.plan.logs}." if self.plan.logs is not None else ""

    def _last_words(self, part: str) -> str:
        if self.plan.logs is None:
            return ""
        try:
            lines = (self.plan.logs / f"{part}.log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "".join(f"\n  {line}" for line in lines[-8:])


_LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Runs in the child: when the starting process is killed, the child gets a polite signal and cleans
    up."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.getaddrinfo(host or "127.0.0.1", int(port), type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host or "127.0.0.1", int(port)))
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StackError(
            f"Nothing can listen on {address}: {reason}. Choose another with --listen HOST:PORT."
        ) from None
    return listener
