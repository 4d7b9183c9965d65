"""What every actor can rely on, inside one process."""

import threading
from queue import SimpleQueue

import pytest

from dcp_worker.actors.base import Actor, handles
from dcp_worker.actors.timers import Timers
from dcp_worker.protocol.messages import DrainOutbox, ForgetJob, Heartbeat
from dcp_worker.protocol.switchboard import Address, Delivery, Switchboard, SwitchboardError


@pytest.fixture
def board():
    failures = SimpleQueue()
    board = Switchboard("test", on_failure=lambda name, error: failures.put((name, error)))
    board.failures = failures
    board.start()
    yield board
    board.stop()


class Echo(Actor):
    """Answers heartbeats, fails on ForgetJob, tells itself later on DrainOutbox."""

    @handles(Heartbeat)
    def on_heartbeat(self, message, delivery):
        delivery.reply(message, *delivery.bodies)

    @handles(ForgetJob)
    def on_forget(self, message, _delivery):
        raise ValueError(message.job)

    @handles(DrainOutbox, local_only=True)
    def on_drain(self, message, _delivery):
        self.after(message.deadline_s, "late")

    @handles(str)
    def on_text(self, message, _delivery):
        self.tell(Address(b"", "test"), message)


ECHO = Address(b"", "echo")


def test_ask_and_tell(board):
    """An ask gives its future the reply; a tell is answered with a message to its sender, in order."""
    Echo.start(board, "echo")
    inbox = SimpleQueue()
    board.register("test", inbox.put)

    assert board.ask(ECHO, Heartbeat("h", 1), b"body").result(5).bodies == (b"body",)
    assert board.ask(Address(b"test", "echo"), Heartbeat("h", 2)).result(5).message.sequence == 2
    for number in range(100):
        board.tell(ECHO, Heartbeat("h", number), sender="test")
    assert [inbox.get(timeout=5).message.sequence for _ in range(100)] == list(range(100))


def test_nobody_there(board):
    """An ask for an actor that does not exist fails at once, a tell is reported; a name is taken once."""
    lost = []
    board.on_unroutable = lambda to, message: lost.append((to, message))

    with pytest.raises(SwitchboardError, match="echo"):
        board.ask(ECHO, Heartbeat("h", 1)).result(5)
    board.tell(ECHO, Heartbeat("h", 1))
    assert lost == [(ECHO, Heartbeat("h", 1))]

    board.register("echo", print)
    with pytest.raises(SwitchboardError, match="already"):
        board.register("echo", print)


def test_a_silent_actor_times_out(board):
    """Nobody waits for ever."""
    board.register("echo", lambda _delivery: None)

    with pytest.raises(TimeoutError):
        board.ask(ECHO, Heartbeat("h", 1), timeout=0.05).result(5)


def test_a_failing_handler_ends_its_actor_and_is_reported(board):
    """Never silently: the process is told, and the address is free again."""
    Echo.start(board, "echo")
    board.tell(ECHO, ForgetJob("bad"))

    name, error = board.failures.get(timeout=5)

    assert (name, str(error)) == ("echo", "bad")
    with pytest.raises(SwitchboardError):
        board.ask(ECHO, Heartbeat("h", 1)).result(5)


class Stillborn(Actor):
    """Fails before its first message."""

    def on_start(self):
        raise ValueError("on start")


def test_an_actor_that_fails_at_its_start_is_reported(board):
    """It has no handler yet that could fail, and must not vanish silently either."""
    Stillborn.start(board, "still")

    assert board.failures.get(timeout=5)[0] == "still"


def test_unknown_and_foreign_messages_are_dropped(board):
    """A message without a handler, or one that must not come from outside, changes nothing."""
    actor = Echo.start(board, "echo")
    inbox = SimpleQueue()
    board.register("test", inbox.put)

    board.tell(ECHO, 3.5)
    actor.actor_inbox.deliver(Delivery(Address(b"\x01peer", "x"), "key", DrainOutbox(0.0), (), 0, board))
    board.tell(ECHO, "marker", sender="test")

    assert inbox.get(timeout=5).message == "marker"
    assert board.ask(ECHO, Heartbeat("h", 1)).result(5).message.sequence == 1
    assert inbox.empty()


def test_an_actor_tells_itself_later(board):
    """`after` delivers to the actor's own handlers."""
    Echo.start(board, "echo")
    inbox = SimpleQueue()
    board.register("test", inbox.put)

    board.tell(ECHO, DrainOutbox(0.01))

    assert inbox.get(timeout=5).message == "late"


def test_timers_fire_in_order_and_can_be_cancelled():
    """Earlier ones first, however they were set; a cancelled one never."""
    timers, order, done = Timers(), [], threading.Event()

    timers.after(0.10, done.set)
    timers.after(0.06, lambda: order.append(2))
    timers.after(0.02, lambda: order.append(1))
    timers.after(0.04, lambda: order.append(3)).cancel()

    assert done.wait(5)
    assert order == [1, 2]
