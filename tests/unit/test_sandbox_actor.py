"""A sandbox actor whose evaluator misbehaves in ways that a real one hardly can."""

from queue import SimpleQueue

import pytest

from dcp_worker.actors.evaluator_api import Feed
from dcp_worker.actors.sandbox import SandboxActor, SandboxGone, SandboxOrder
from dcp_worker.actors.sandbox_limits import SandboxLimits
from dcp_worker.errors import DcpError
from dcp_worker.evaluator_host.pipes import EvaluatorEnd
from dcp_worker.evaluator_host.spares import Spares
from dcp_worker.protocol.messages import Outcome, SandboxClosed
from dcp_worker.protocol.switchboard import Address, Switchboard

ORDER = SandboxOrder("h", "box", "job", b"assign\n", Address(b"", "supervisor"), Address(b"", "uploader"))


class Evaluator:
    """Records what it is told; fails as asked."""

    pid = 0

    def __init__(self, feed, error=None):
        self.feed = feed
        self.error = error
        self.written = []
        self.killed = 0

    def write(self, data):
        if self.error is not None:
            raise self.error
        self.written.append(data)

    def kill(self, cause="closed", detail=""):
        self.killed += 1
        if self.killed == 1:
            self.feed.ended(EvaluatorEnd(cause, -9, detail))


@pytest.fixture
def board():
    board = Switchboard("test")
    board.inbox = SimpleQueue()
    for name in ("supervisor", "uploader", "host"):
        board.register(name, board.inbox.put)
    board.start()
    yield board
    board.stop()


def start(board, error=None, limits=None):
    feed = Feed()
    evaluator = Evaluator(feed, error)
    SandboxActor.start(
        board, "sandbox/box", order=ORDER, evaluator=evaluator, feed=feed, limits=limits or SandboxLimits()
    )
    return evaluator


def test_an_evaluator_that_does_not_read_is_given_up(board):
    """What it does not take would pile up here."""
    evaluator = start(board, DcpError("it does not read"))

    closed = board.inbox.get(timeout=5).message

    assert isinstance(closed, SandboxClosed)
    assert (closed.outcome, closed.detail) == (Outcome.DIED, "it does not read")
    assert board.inbox.get(timeout=5).message == SandboxGone("box")
    assert evaluator.killed == 1


def test_a_defect_of_ours_ends_that_sandbox_and_is_told(board):
    """The supervisor and the host both hear of it; the process goes on."""
    failures = []
    board.on_failure = lambda *failure: failures.append(failure)
    evaluator = start(board, RuntimeError("a defect"))

    closed = board.inbox.get(timeout=5).message

    assert closed.outcome is Outcome.DIED
    assert "a defect" in closed.detail
    assert board.inbox.get(timeout=5).message == SandboxGone("box")
    assert evaluator.killed >= 1
    assert failures == []


def test_an_evaluator_that_never_gets_ready_is_given_up(board):
    """The timer is real."""
    evaluator = start(board, limits=SandboxLimits(start_timeout_s=0.05))

    assert board.inbox.get(timeout=5).message.outcome is Outcome.NOT_STARTED
    assert evaluator.written == [b"assign\n"]


def test_spares_are_kept_and_replaced():
    """As many as asked for; a dead one is not given away; a factory that fails is given a rest."""
    made, lost = [], []

    def factory(feed):
        made.append(Evaluator(feed))
        return made[-1]

    spares = Spares(factory, 2, lost.append)
    assert spares.refill() is None
    assert len(made) == 2

    made[0].kill()
    spares.lost(lost[0])
    assert spares.refill() > 0
    assert spares.take().evaluator is made[1]
    assert spares.take().evaluator is made[2]

    def failing(_feed):
        raise DcpError("no")

    broken = Spares(failing, 1, lost.append)
    assert broken.refill() > 0
    with pytest.raises(DcpError):
        broken.take()
