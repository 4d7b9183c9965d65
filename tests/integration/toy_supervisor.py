"""A supervisor that does what a test says, with a real evaluator host process on the other end."""

import os
import signal
import subprocess
import sys
import time
from queue import Empty, SimpleQueue

import psutil

from dcp_worker.protocol.curve import Authenticator, AuthorisedHosts, CurveKey
from dcp_worker.protocol.messages import (
    Allowance,
    CloseSandbox,
    Heartbeat,
    HostHello,
    HostWelcome,
    JobArtifacts,
    OpenSandbox,
    Results,
    Run,
    SandboxClosed,
    SandboxOpened,
    SliceFailed,
)
from dcp_worker.protocol.switchboard import Address, Switchboard


class ToySupervisor:
    """Binds, starts hosts, and keeps everything that arrives."""

    def __init__(self, folder, transport="ipc"):
        self.folder = folder
        self.inbox = SimpleQueue()
        self.seen = []
        self.outcomes = SimpleQueue()
        self.hosts = AuthorisedHosts(folder / "hosts")
        self.key = CurveKey.load_or_create(folder / "supervisor.key")
        self.transport = transport
        self.processes = []
        self.endpoint = f"ipc://{folder}/sockets/supervisor" if transport == "ipc" else "tcp://127.0.0.1:*"
        self.open_board()

    def open_board(self):
        self.board = Switchboard("supervisor")
        self.board.register("supervisor", self.inbox.put)
        self.board.register("uploader", self.outcomes.put)
        self.board.start()
        curve = None if self.transport == "ipc" else Authenticator(self.key, self.hosts)
        self.endpoint = self.board.bind(self.endpoint, curve)

    def start_host(self, *arguments, log="host.log"):
        command = [sys.executable, "-m", "dcp_worker.cli.evaluator_manager", "--supervisor", self.endpoint]
        if self.transport == "tcp":
            command += ["--supervisor-key", self.key.public]
        environment = os.environ | {"DCP_RESOURCE_DIR": str(self.folder / "resources")}
        with (self.folder / log).open("wb") as file:
            process = subprocess.Popen(
                [*command, *arguments], stdout=file, stderr=file, env=environment, cwd=self.folder
            )
        self.processes.append(process)
        return process

    def log(self, name="host.log"):
        return (self.folder / name).read_text()

    def wait_for(self, kind, matching=lambda _message: True, timeout=20.0):
        """The next delivery of this type; what comes before it is kept in ``seen``."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                delivery = self.inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {kind} came; before: {self.seen[-5:]}; log: {self.log()}") from None
            message = delivery.message
            self.seen.append(message)
            if isinstance(message, Heartbeat):
                delivery.reply(message)
            if isinstance(message, kind) and matching(message):
                return delivery

    def attach(self, *, heartbeat_s=0.2, lost_after_s=20.0):
        """Welcome the next host; gives its address and id."""
        hello = self.wait_for(HostHello)
        self.host = hello.sender
        self.board.tell(self.host, HostWelcome(1, heartbeat_s, lost_after_s))
        self.wait_for(Allowance)
        return hello

    def open(self, source, *, sandbox="s1", job="j1", arguments=b"[]", input_range=""):
        """Give the host a job and open a sandbox for it; gives the answer's delivery."""
        artifacts = JobArtifacts(job, "a job", "", "", "map-basic", "1.0.0", 0, False, input_range, "v9")
        self.board.tell(self.host, artifacts, source.encode(), arguments)
        self.board.tell(self.host, OpenSandbox(sandbox, job))
        return self.wait_for(SandboxOpened | SandboxClosed, lambda message: message.sandbox == sandbox)

    def run(self, number, first, count, values=None, *, sandbox="s1", job="j1"):
        bodies = (values,) if values is not None else ()
        self.board.tell(
            Address(self.host.peer, f"sandbox/{sandbox}"), Run(number, "task", job, first, count), *bodies
        )

    def close_sandbox(self, sandbox="s1"):
        self.board.tell(Address(self.host.peer, f"sandbox/{sandbox}"), CloseSandbox("enough"))

    def outcome(self, timeout=20.0):
        """The next message to the uploader: (message, body)."""
        try:
            delivery = self.outcomes.get(timeout=timeout)
        except Empty:
            raise AssertionError(f"no outcome came; log: {self.log()}") from None
        assert isinstance(delivery.message, Results | SliceFailed)
        return delivery.message, delivery.bodies[0]

    def evaluators(self, process):
        """The deno processes of a host."""
        return [
            child for child in psutil.Process(process.pid).children(recursive=True) if is_evaluator(child)
        ]

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        self.board.stop(0)


def is_evaluator(process):
    try:
        return "deno" in process.name()
    except psutil.Error:
        return False


def until(condition, timeout=20.0, what=""):
    """Wait until a condition holds; gives its value."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"it did not happen in {timeout} s: {what or condition}")
