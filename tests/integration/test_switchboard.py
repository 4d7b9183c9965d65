"""Two real processes talk over ipc and over tcp with CURVE, and bad peers hurt nobody."""

import os
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
import zmq
from loguru import logger

from dcp_worker.protocol.curve import Authenticator, AuthorisedHosts, CurveKey, DialIn
from dcp_worker.protocol.framing import Header, Kind, encode_header
from dcp_worker.protocol.messages import ForgetJob, Heartbeat
from dcp_worker.protocol.switchboard import Address, LinkEvent, Switchboard, SwitchboardError

PROGRAM = Path(__file__).with_name("peer_program.py")


class Stage:
    """A supervisor's switchboard in this process, and peers in others."""

    def __init__(self, folder, transport):
        self.folder = folder
        self.board = Switchboard("supervisor")
        self.board.start()
        self.inbox = SimpleQueue()
        self.board.register("supervisor", self.inbox.put)
        self.hosts = AuthorisedHosts(folder / "hosts")
        self.key = CurveKey.load_or_create(folder / "supervisor.key")
        self.peer_key = CurveKey.load_or_create(folder / "peer.key")
        self.processes = []
        self.gone = SimpleQueue()
        if transport == "ipc":
            self.endpoint = self.board.bind(f"ipc://{folder}/sockets/supervisor", None, self.gone.put)
            self.user, self.arguments = "local", []
        else:
            self.endpoint = self.board.bind(
                "tcp://127.0.0.1:*", Authenticator(self.key, self.hosts), self.gone.put
            )
            self.user = self.peer_key.public
            self.arguments = [str(folder / "peer.key"), self.key.public]

    def peer(self):
        process = subprocess.Popen(
            [sys.executable, PROGRAM, self.endpoint, *self.arguments], stdin=subprocess.PIPE
        )
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.board.stop(0)


@pytest.fixture(params=["ipc", "tcp"])
def stage(request, tmp_path):
    stage = Stage(tmp_path, request.param)
    yield stage
    stage.close()


@pytest.fixture
def tcp_stage(tmp_path):
    stage = Stage(tmp_path, "tcp")
    yield stage
    stage.close()


@pytest.fixture
def log():
    lines = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    yield lines
    logger.remove(sink)


def test_a_peer_dials_in_and_they_talk(stage):
    """The peer is named by who it proved to be; questions, large bodies and unknown actors work both ways."""
    stage.hosts.authorise(stage.peer_key.public)
    stage.peer()

    hello = stage.inbox.get(timeout=20)
    big = os.urandom(5_000_000)
    answer = stage.board.ask(hello.sender, Heartbeat("s", 1), b"", big).result(20)

    assert (hello.user, hello.message, hello.sender.actor) == (stage.user, Heartbeat("peer", 0), "echo")
    assert (answer.user, answer.message, answer.bodies) == (stage.user, Heartbeat("s", 1), (b"", big))
    for hidden in ("nobody", "secret"):
        with pytest.raises(SwitchboardError, match="no actor"):
            stage.board.ask(Address(hello.sender.peer, hidden), Heartbeat("s", 1)).result(20)


def test_order_is_kept(stage):
    """Thousands of messages arrive complete and in order, each with its own bodies."""
    stage.hosts.authorise(stage.peer_key.public)
    stage.peer()
    peer = stage.inbox.get(timeout=20).sender

    stage.board.tell(peer, ForgetJob("3000"), sender="supervisor")
    got = [stage.inbox.get(timeout=20) for _ in range(3000)]

    assert [delivery.message.sequence for delivery in got] == list(range(3000))
    assert all(delivery.bodies == (b"x" * (number % 3),) for number, delivery in enumerate(got))


def test_a_dead_peer_is_noticed_and_a_new_one_is_welcome(stage):
    """What cannot be delivered fails an ask or is reported; the next peer has an address of its own."""
    stage.hosts.authorise(stage.peer_key.public)
    first = stage.peer()
    peer = stage.inbox.get(timeout=20).sender
    lost = []
    stage.board.on_unroutable = lambda to, message: lost.append((to, message))

    first.kill()
    first.wait()
    deadline = time.monotonic() + 20
    while not lost and time.monotonic() < deadline:
        stage.board.tell(peer, Heartbeat("s", 1))
        time.sleep(0.02)
    assert lost[0] == (peer, Heartbeat("s", 1))
    with pytest.raises(SwitchboardError, match="gone"):
        stage.board.ask(peer, Heartbeat("s", 1)).result(20)

    stage.peer()
    assert stage.inbox.get(timeout=20).sender.peer != peer.peer


def test_the_end_of_a_peer_is_told_at_once(stage):
    """After everything it has sent, and only for the peer that ended."""
    stage.hosts.authorise(stage.peer_key.public)
    first, second = stage.peer(), stage.peer()
    peers = [stage.inbox.get(timeout=20).sender for _ in range(2)]

    first.kill()
    gone = stage.gone.get(timeout=20)
    survivor = next(peer for peer in peers if peer.peer != gone)
    assert stage.board.ask(survivor, Heartbeat("s", 2)).result(20).message.sequence == 2

    third = stage.peer()
    newcomer = stage.inbox.get(timeout=20).sender
    second.kill()
    assert stage.gone.get(timeout=20) == survivor.peer
    assert stage.board.ask(newcomer, Heartbeat("s", 3)).result(20).message.sequence == 3
    third.kill()
    assert stage.gone.get(timeout=20) == newcomer.peer


def test_a_peer_finds_a_supervisor_that_was_restarted(stage):
    """The peer dials again by itself, and knows that it has to introduce itself anew."""
    stage.hosts.authorise(stage.peer_key.public)
    stage.peer()
    stage.inbox.get(timeout=20)

    stage.board.stop(0)
    board = Switchboard("supervisor")
    board.start()
    board.register("supervisor", stage.inbox.put)
    stage.board = board
    curve = Authenticator(stage.key, stage.hosts) if stage.endpoint.startswith("tcp") else None
    board.bind(stage.endpoint, curve)

    again = stage.inbox.get(timeout=20)
    assert board.ask(again.sender, Heartbeat("s", 2)).result(20).message == Heartbeat("s", 2)


def test_an_unauthorised_key_is_refused_until_it_is_authorised(tcp_stage, log):
    """One line in the log tells what to do; once that is done the waiting host gets in by itself."""
    tcp_stage.peer()
    deadline = time.monotonic() + 20
    while not log and time.monotonic() < deadline:
        time.sleep(0.02)
    assert f"dcp host authorise {tcp_stage.peer_key.public}" in log[0]
    with pytest.raises(Empty):
        tcp_stage.inbox.get(timeout=1)
    assert len(log) == 1

    tcp_stage.hosts.authorise(tcp_stage.peer_key.public, "box")

    assert tcp_stage.inbox.get(timeout=20).user == tcp_stage.peer_key.public


def test_a_revoked_key_is_not_heard_any_more(tcp_stage, log):
    """Revoking works on a running supervisor, also for a host that is attached."""
    tcp_stage.hosts.authorise(tcp_stage.peer_key.public, "box")
    tcp_stage.peer()
    peer = tcp_stage.inbox.get(timeout=20).sender
    tcp_stage.board.ask(peer, Heartbeat("s", 1)).result(20)

    tcp_stage.hosts.revoke("box")

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            tcp_stage.board.ask(peer, Heartbeat("s", 1), timeout=0.2).result(20)
        except TimeoutError:
            break
    assert any("no longer authorised" in line for line in log)


def test_bad_frames_hurt_nobody(tmp_path, log):
    """Rubbish of every form is dropped with one line; the peer beside goes on."""
    stage = Stage(tmp_path, "ipc")
    try:
        stage.peer()
        good = stage.inbox.get(timeout=20).sender
        header = encode_header(Header(Kind.TELL, "supervisor", "", 0))
        with zmq.Context() as context, context.socket(zmq.DEALER) as bad:
            bad.connect(stage.endpoint)
            for frames in (
                [b""],
                [b"\xff", b"\xff"],
                [header],
                [header, b"\xc1"],
                [header, b"\x90"],
                [b"\x93\x01\x02\x03", b""],
                [encode_header(Header(Kind.REPLY, "", "", 1)), b"\x90"],
                [header] * 500,
            ):
                bad.send_multipart(frames)
            bad.send_multipart([header, b"\x94\x01\xa9Heartbeat\xa1b\x05"])
            assert stage.inbox.get(timeout=20).message == Heartbeat("b", 5)

        assert stage.board.ask(good, Heartbeat("s", 3)).result(20).message == Heartbeat("s", 3)
        assert len(log) == 1
    finally:
        stage.close()


def test_a_reply_from_somebody_else_is_not_believed(tmp_path):
    """Only the peer that was asked can answer, even if another one guesses the number."""
    stage = Stage(tmp_path, "ipc")
    try:
        stage.board.register("quiet", lambda _delivery: None)
        waiting = stage.board.ask(Address(b"", "quiet"), Heartbeat("s", 1), timeout=20)
        with zmq.Context() as context, context.socket(zmq.DEALER) as bad:
            bad.connect(stage.endpoint)
            heartbeat = b"\x94\x01\xa9Heartbeat\xa1b\x05"
            for number in range(1, 50):
                bad.send_multipart([encode_header(Header(Kind.REPLY, "", "", number)), heartbeat])
            bad.send_multipart([encode_header(Header(Kind.TELL, "supervisor", "", 0)), heartbeat])
            stage.inbox.get(timeout=20)

        assert not waiting.done()
    finally:
        stage.close()


@pytest.mark.parametrize(
    ("endpoint", "hint"),
    [
        ("tcp://127.0.0.1:0", "CURVE"),
        ("ipc://relative", "no endpoint"),
        ("inproc://x", "no endpoint"),
        ("ipc:///" + "x" * 120, "too long"),
    ],
)
def test_endpoints_that_cannot_work_are_refused(endpoint, hint):
    """With the reason, before anything is opened."""
    board = Switchboard("test")
    for use in (lambda: board.bind(endpoint), lambda: board.connect(b"p", endpoint)):
        with pytest.raises(SwitchboardError, match=hint):
            use()
    board.stop()


def test_a_local_socket_needs_a_private_folder(tmp_path):
    """A folder that others may enter is refused, with the command that repairs it."""
    tmp_path.chmod(0o755)
    board = Switchboard("test")
    with pytest.raises(SwitchboardError, match="chmod 700"):
        board.bind(f"ipc://{tmp_path}/socket")
    board.stop()


def test_a_wrong_server_key_does_not_connect(tcp_stage):
    """A host that was given another supervisor's key never talks to this one."""
    tcp_stage.hosts.authorise(tcp_stage.peer_key.public)
    events = SimpleQueue()
    board = Switchboard("peer")
    board.start()
    wrong = DialIn(tcp_stage.peer_key, tcp_stage.peer_key.public)
    board.connect(b"supervisor", tcp_stage.endpoint, wrong, events.put)

    assert [events.get(timeout=20) for _ in range(2)] == [LinkEvent.DOWN, LinkEvent.DOWN]
    board.stop(0)
