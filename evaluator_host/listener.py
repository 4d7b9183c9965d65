"""A port that gives each connection an evaluator of its own, as the native evaluators of the field do.

The socket becomes the evaluator's standard input and output: no byte passes through Python. When the
other side hangs up, its evaluator is killed, whatever it is computing: an endless loop would never read
the end of its input.
"""

import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field

from loguru import logger

from ..errors import DcpError
from .program import EvaluatorProgram, spawn

_GRACE_S = 1.0  # between the other side's hanging up and the kill; an idle evaluator ends by itself


@dataclass
class _Connection:
    socket: socket.socket
    process: "subprocess.Popen[bytes]"
    pidfd: int
    name: str
    kill_at: float = field(default=float("inf"))


class EvaluatorListener:
    """Listens on ``address``:``port`` (0 = any; ``port`` is the real one afterwards). Raises DcpError
    when it cannot.

    ``most`` connections are served at once; more are closed at once.
    """

    def __init__(self, program: EvaluatorProgram, address: str, port: int, *, most: int) -> None:
        self._program = program
        self._most = most
        try:
            self._socket = socket.create_server((address, port), backlog=64)
        except OSError as error:
            raise DcpError(f"cannot listen on {address}:{port}: {error}", code="ELISTEN") from error
        self.port: int = self._socket.getsockname()[1]
        self._poll = select.poll()
        self._connections: dict[int, _Connection] = {}  # by both descriptors
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC)

    def stop(self) -> None:
        """End ``serve`` soon. Any thread, and signal handlers."""
        os.write(self._wake_writer, b"\0")

    def serve(self) -> None:
        """Serve until ``stop``. Evaluators die with the thread that runs this."""
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._wake_reader, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll(self._timeout_ms()):
                if descriptor == self._wake_reader:
                    self._close()
                    return
                if descriptor == self._socket.fileno():
                    self._accept()
                elif (connection := self._connections.get(descriptor)) is None:
                    continue
                elif descriptor == connection.pidfd:
                    self._on_exit(connection)
                else:
                    self._poll.unregister(descriptor)
                    connection.kill_at = time.monotonic() + _GRACE_S
            self._kill_overdue()

    def _timeout_ms(self) -> int | None:
        soonest = min((c.kill_at for c in self._connections.values()), default=float("inf"))
        return None if soonest == float("inf") else max(0, int((soonest - time.monotonic()) * 1000) + 1)

    def _accept(self) -> None:
        accepted, peer = self._socket.accept()
        name = f"{peer[0]}:{peer[1]}"
        if len(self._connections) // 2 >= self._most:
            logger.warning("connection from {} refused: {} evaluators are alive already", name, self._most)
            accepted.close()
            return
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            process = spawn(self._program, accepted.fileno(), accepted.fileno(), subprocess.DEVNULL)
        except DcpError as error:
            logger.error("no evaluator for {}: {}", name, error)
            accepted.close()
            return
        connection = _Connection(accepted, process, os.pidfd_open(process.pid), name)
        self._connections[accepted.fileno()] = self._connections[connection.pidfd] = connection
        self._poll.register(accepted, select.POLLRDHUP)
        self._poll.register(connection.pidfd, select.POLLIN)
        logger.bind(pid=process.pid).info("evaluator for {} started", name)

    def _on_exit(self, connection: _Connection) -> None:
        for descriptor in (connection.pidfd, connection.socket.fileno()):
            self._connections.pop(descriptor, None)
            if descriptor == connection.pidfd or connection.kill_at == float("inf"):
                self._poll.unregister(descriptor)
        status = connection.process.wait()
        os.close(connection.pidfd)
        connection.socket.close()
        logger.bind(pid=connection.process.pid).info(
            "evaluator for {} ended with {}", connection.name, status
        )

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for connection in {id(c): c for c in self._connections.values()}.values():
            if connection.kill_at <= now:
                connection.kill_at = float("inf") if connection.process.poll() is not None else now + _GRACE_S
                signal.pidfd_send_signal(connection.pidfd, signal.SIGKILL)

    def _close(self) -> None:
        for connection in {id(c): c for c in self._connections.values()}.values():
            connection.process.kill()
            connection.process.wait()
            connection.socket.close()
            os.close(connection.pidfd)
        self._connections.clear()
        self._socket.close()
