"""Wrong addresses, folders that cannot be used, and Ctrl-C at bad moments: one clear message, nothing left behind."""

import http.server
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.programs import Program, command, is_alive, wait_until

DEPLOY = "from dcp_worker.client import compute_for\nprint(compute_for([1, 2, 3], 'x => x * x').exec())\n"


def start(folder: Path, *arguments: str, **environment: str) -> Program:
    """A program away from the user's own configuration; its output is in ``log``."""
    folder.mkdir(exist_ok=True)
    (folder / "log").unlink(missing_ok=True)
    own = {
        "DCP_ETCDIR": str(folder / "etc"),
        "DCP_RESOURCE_DIR": str(folder / "resources"),
        "TMPDIR": str(folder),
    }
    return Program(arguments, folder / "log", env=own | environment, cwd=folder)


def ending(program: Program) -> tuple[int, str]:
    """Exit status and output; there is no traceback in it."""
    try:
        status = program.wait()
    finally:
        program.stop()
    assert "Traceback" not in program.output, program.output
    return status, program.output


# -- Addresses -----------------------------------------------------------------------------------------------


class Answer(http.server.BaseHTTPRequestHandler):
    """Some web server, and no scheduler."""

    status = 200
    body = b""
    location = ""

    def do_GET(self) -> None:
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server(**answer: object) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (Answer,), answer))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def nobody_there() -> str:
    """An address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"


NO_SCHEDULERS: dict[str, dict[str, object]] = {
    "404": {"status": 404},
    "a page": {"body": b"<!doctype html><title>Hello</title>"},
    "garbage": {"body": bytes(range(256)) * 64},
    "JSON of something else": {"body": b'{"name": "something", "version": [1, 2]}'},
    "KVIN of something else": {"body": b'{"_serializeVerId":"v8","what":{"ctr":0,"ps":{"a":1}}}'},
    "brackets": {"body": b"[" * 500_000},
    "redirects in circles": {"status": 302, "location": "/etc/dcp-config.kvin"},
    "a redirect to a file": {"status": 301, "location": "file:///etc/passwd"},
}


def test_a_scheduler_that_does_not_answer(tmp_path: Path) -> None:
    """Commands end with status 3; a deployer's program gets an exception that says it."""
    address = nobody_there()
    status, output = ending(start(tmp_path, command("dcp"), "job", "list", DCP_SCHEDULER_LOCATION=address))
    assert status == 3
    assert address in output
    assert len(output.splitlines()) == 1, output

    deployer = start(tmp_path, sys.executable, "-c", DEPLOY, DCP_SCHEDULER_LOCATION=address)
    assert deployer.wait() == 1
    last = deployer.output.splitlines()[-1]
    assert address in last
    assert "is it running" in last
    assert deployer.output.count("Traceback") == 1  # Python's own, of an exception that nobody catches


@pytest.mark.parametrize("answer", NO_SCHEDULERS)
def test_a_web_server_that_is_no_scheduler(tmp_path: Path, answer: str) -> None:
    """The address is named, whatever comes from there."""
    with web_server(**NO_SCHEDULERS[answer]) as address:
        status, output = ending(
            start(tmp_path, command("dcp"), "job", "list", DCP_SCHEDULER_LOCATION=address)
        )

    assert status in (1, 3)
    assert address in output
    assert len(output) < 1000


def test_a_worker_waits_for_its_scheduler_and_says_so(tmp_path: Path) -> None:
    """A wrong address may be right tomorrow: it tries again, and ends in order when it is told to."""
    with web_server(status=404) as address:
        worker = start(tmp_path, command("dcp-worker"), "--no-local-host", DCP_SCHEDULER_LOCATION=address)
        try:
            worker.wait_for(f"{address} is no DCP scheduler")
            worker.process.send_signal(signal.SIGTERM)
            status, _ = ending(worker)
        finally:
            worker.stop()

    assert status == 0


@pytest.mark.parametrize("address", ["nonsense", "ftp://127.0.0.1/", "http://", "http://127.0.0.1:99999/"])
@pytest.mark.parametrize(
    "program", [("dcp-worker", "--no-local-host"), ("dcp", "job", "list")], ids=["worker", "client"]
)
def test_an_address_that_is_none(tmp_path: Path, address: str, program: Sequence[str]) -> None:
    """It is refused at once, with the place that it comes from."""
    status, output = ending(
        start(tmp_path, command(program[0]), *program[1:], DCP_SCHEDULER_LOCATION=address)
    )

    assert status == 2
    assert "DCP_SCHEDULER_LOCATION" in output
    assert address in output


# -- Folders -------------------------------------------------------------------------------------------------


class User:
    """Somebody whom permissions stop: ourselves, without the capabilities of root when we are root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []

    def start(self, *arguments: str) -> Program:
        return start(self.folder, *self.prefix, *arguments, HOME=str(self.folder))

    def lock(self, *paths: Path) -> None:
        for path in paths:
            path.chmod(0o500 if path.is_dir() else 0o400)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """In a folder of its own, which can be removed afterwards whatever was locked."""
    yield User(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)


@pytest.mark.parametrize("program", ["dcp-scheduler", "dcp-worker"])
def test_a_read_only_data_directory(user: User, program: str) -> None:
    """It is named, and the program does not start half."""
    data = user.folder / "data"
    data.mkdir()
    user.lock(data)
    arguments = {
        "dcp-scheduler": ["--listen", "127.0.0.1:0"],
        "dcp-worker": ["--no-local-host", "--dcp-scheduler", nobody_there()],
    }[program]
    status, output = ending(user.start(command(program), *arguments, "--data", str(data)))

    assert status == 1, output
    assert str(data) in output
    assert any(word in output.lower() for word in ("permission", "written")), output


def test_a_database_that_became_read_only(user: User) -> None:
    """The scheduler says which file, before it serves anybody."""
    data = user.folder / "data"
    arguments = [command("dcp-scheduler"), "--listen", "127.0.0.1:0", "--data", str(data)]
    first = user.start(*arguments)
    try:
        first.wait_for("listening on")
        assert first.interrupt() in (0, 130)
    finally:
        first.stop()
    user.lock(*data.iterdir(), data)

    status, output = ending(user.start(*arguments))

    assert status == 1, output
    assert str(data) in output
    assert "listening on" not in output


def test_a_data_directory_in_use(tmp_path: Path) -> None:
    """The second scheduler says who has it, and the first one does not notice."""
    data = str(tmp_path / "data")
    arguments = [command("dcp-scheduler"), "--listen", "127.0.0.1:0", "--data", data]
    first = start(tmp_path / "first", *arguments)
    try:
        url = first.wait_for(r"listening on (http://\S+)").group(1)
        status, output = ending(start(tmp_path / "second", *arguments))
        assert status == 1
        assert "another scheduler" in output
        assert str(first.process.pid) in output
        status, _ = ending(
            start(tmp_path / "third", command("dcp"), "job", "list", DCP_SCHEDULER_LOCATION=url)
        )
        assert status == 0
        assert first.process.poll() is None
    finally:
        first.stop()


# -- Ctrl-C --------------------------------------------------------------------------------------------------


def control_c(program: Program) -> int:
    """As a terminal does it: the signal goes to all processes in the foreground."""
    os.killpg(program.process.pid, signal.SIGINT)
    return program.wait()


def check_gone(program: Program, started: list[psutil.Process], folder: Path) -> None:
    wait_until(lambda: not any(map(is_alive, started)), "everything that was started to be gone", 20)
    assert list(folder.glob("dcp-localexec-*")) == []
    program.stop()


@pytest.mark.parametrize("children", [1, 2, 3, 4])
def test_control_c_while_localexec_starts(tmp_path: Path, children: int) -> None:
    """At any moment: scheduler, worker, program and evaluator host end, and the folder is gone."""
    skip_unless_confined()
    (tmp_path / "program.py").write_text(DEPLOY.replace("[1, 2, 3]", "range(100_000)"))
    run = start(tmp_path, command("dcp"), "localexec", "program.py")
    wait_until(lambda: len(run.descendants()) >= children, f"{children} children")
    started = run.descendants()

    assert control_c(run) == 130, run.output
    check_gone(run, started, tmp_path)
    assert "pending" not in run.output


@pytest.mark.parametrize("children", [1, 2, 3])
def test_control_c_while_the_stack_starts(tmp_path: Path, children: int) -> None:
    """`dcp up` ends with 130 and leaves nothing."""
    skip_unless_confined()
    run = start(tmp_path, command("dcp"), "up", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data"))
    wait_until(lambda: len(run.descendants()) >= children, f"{children} children")
    started = run.descendants()

    assert control_c(run) == 130, run.output
    check_gone(run, started, tmp_path)
    assert "Traceback" not in run.output


def test_control_c_in_localexec(tmp_path: Path) -> None:
    """While exec() waits: the job is cancelled, and Python's KeyboardInterrupt is all that the program shows."""
    skip_unless_confined()
    (tmp_path / "program.py").write_text(
        "from dcp_worker.client import compute_for\n"
        "job = compute_for(range(1000), 'x => { const t = Date.now(); while (Date.now() - t < 200) progress(); }')\n"
        "job.on('result', lambda result: print('result of slice', result.slice, flush=True))\n"
        "job.exec()\n"
    )
    run = start(tmp_path, command("dcp"), "localexec", "program.py")
    run.wait_for("result of slice")
    started = run.descendants()

    assert control_c(run) == 130, run.output
    check_gone(run, started, tmp_path)
    assert "Cancelling job" in run.output
    assert run.output.count("Traceback") == 1


def test_control_c_before_the_scheduler_answers(tmp_path: Path) -> None:
    """A deployer that still waits for its first answer ends at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        deployer = start(tmp_path, sys.executable, "-c", DEPLOY, DCP_SCHEDULER_LOCATION=address)
        try:
            connection, _ = silent.accept()
            assert connection.recv(4096).startswith(b"GET /etc/dcp-config.kvin")
            assert deployer.interrupt(10) in (130, -signal.SIGINT, 1)
            connection.close()
        finally:
            deployer.stop()

    assert deployer.output.splitlines()[-1] == "KeyboardInterrupt"
