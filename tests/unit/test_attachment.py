"""How a host and its supervisor find, keep and lose each other."""

from dcp_worker.evaluator_host.attachment import Act, Attachment, State
from dcp_worker.protocol.messages import HostWelcome

WELCOME = HostWelcome(1, heartbeat_s=1.0, lost_after_s=3.0)


def attached():
    attachment = Attachment()
    attachment.on_up(0.0)
    attachment.on_welcome(WELCOME, 0.5)
    return attachment


def test_a_host_says_hello_until_it_is_answered():
    """A supervisor that was busy hears it the second time."""
    attachment = Attachment()

    assert attachment.on_up(0.0) == [Act.HELLO]
    assert attachment.on_time(4.9) == []
    assert attachment.on_time(5.0) == [Act.HELLO]
    assert attachment.on_welcome(WELCOME, 5.1) == [Act.ATTACH]
    assert attachment.state is State.ATTACHED


def test_heartbeats_go_out_as_often_as_agreed():
    """As long as the supervisor is heard."""
    attachment = attached()

    assert attachment.due == 1.5
    assert attachment.on_time(1.5) == [Act.HEARTBEAT]
    attachment.on_heard(1.6)
    assert attachment.on_time(2.5) == [Act.HEARTBEAT]


def test_a_silent_supervisor_is_given_up():
    """Everything is closed, and the host introduces itself anew."""
    attachment = attached()
    for now in (1.5, 2.5):
        attachment.on_time(now)

    assert attachment.on_time(3.5) == [Act.RESET, Act.HELLO]
    assert attachment.state is State.HELLO
    assert "silent" in attachment.complaint


def test_a_broken_link_resets_and_a_new_one_starts_over():
    """Messages may have been lost, so nothing of before counts."""
    attachment = attached()

    assert attachment.on_down() == [Act.RESET]
    assert attachment.due is None
    assert attachment.on_welcome(WELCOME, 2.0) == []
    assert attachment.on_up(3.0) == [Act.HELLO]


def test_a_refused_host_asks_again_later():
    """The operator is told why."""
    attachment = Attachment()
    attachment.on_up(0.0)

    assert attachment.on_refused("no room", 1.0) == [Act.RESET]
    assert "no room" in attachment.complaint
    assert attachment.on_time(30.0) == []
    assert attachment.on_time(31.0) == [Act.HELLO]


def test_a_supervisor_of_another_version_is_no_supervisor():
    """Both sides refuse."""
    attachment = Attachment()
    attachment.on_up(0.0)

    assert attachment.on_welcome(HostWelcome(2, 1.0, 3.0), 1.0) == [Act.RESET]
    assert attachment.state is State.REFUSED


def test_silly_intervals_are_bounded():
    """A welcome can make the host neither busy nor deaf."""
    attachment = Attachment()
    attachment.on_up(0.0)
    attachment.on_welcome(HostWelcome(1, 0.0, -1.0), 0.0)

    assert attachment.heartbeat_s >= 0.05
    assert attachment.lost_after_s >= 2 * attachment.heartbeat_s
