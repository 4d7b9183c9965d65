"""Cutting messages into frames and putting them together, as either side of the wire does it."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp.transport import Transport, TransportError


def pair(size: int = 1000) -> tuple[Transport, Transport]:
    """A sender that knows its receiver's fragment size, and that receiver."""
    sender, receiver = Transport(max_message=10**6), Transport(max_message=10**6, fragment_size=size)
    assert sender.incoming(receiver.announcement()) == []
    return sender, receiver


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fragment(message: object, seq: object, total: object, body: str) -> str:
    header = json.dumps({"msgId": message, "seq": seq, "total": total}, separators=(",", ":"))
    return f"E{len(header):04x}C{header}{body}"


@settings(deadline=None)
@given(text=st.text(st.characters(min_codepoint=32), max_size=300).map(lambda text: "{" + text * 20))
def test_long_messages_arrive_as_they_were(text: str) -> None:
    """Whatever the characters, frames keep to the size in UTF-16 units and the message comes out whole."""
    sender, receiver = pair()
    frames = sender.outgoing(text)

    assert all(units(frame) <= 1000 + 60 for frame in frames)
    assert [message for frame in frames for message in receiver.incoming(frame)] == [text]
    assert (len(frames) == 1) == (units(text) <= 1000)


def test_frames_look_as_observed() -> None:
    """The header is 29 characters long and its length stands in four hex digits."""
    sender, _ = pair()

    assert sender.outgoing("{" + "x" * 2500)[0].startswith('E001dC{"msgId":1,"seq":0,"total":3}{xxx')


def test_pairs_cut_in_half_by_javascript_are_joined() -> None:
    """JavaScript cuts between the halves of a surrogate pair; the character survives."""
    _, receiver = pair()

    assert receiver.incoming(fragment(7, 0, 2, "{a\ud83d")) == []
    assert receiver.incoming(fragment(7, 1, 2, "\ude00b}")) == ["{a😀b}"]


def test_messages_keep_the_order_in_which_they_began() -> None:
    """A whole message that overtakes an incomplete one waits for it."""
    _, receiver = pair()

    assert receiver.incoming(fragment(1, 0, 2, "{1")) == []
    assert receiver.incoming("{2}") == []
    assert receiver.incoming(fragment(3, 0, 1, "{3}")) == []
    assert receiver.incoming(fragment(1, 1, 2, "}")) == ["{1}", "{2}", "{3}"]
    assert receiver.incoming("{4}") == ["{4}"]


@pytest.mark.parametrize(
    "frame", ["", "A001d{}", "Tdebug", 5, None, b"x", "E0000Xwhatever", "E0003Oabcx"[:6]]
)
def test_frames_without_a_message_are_ignored(frame: object) -> None:
    """Acknowledgements, debug text, unknown extensions and what is no text do nothing."""
    _, receiver = pair()

    assert [message for message in receiver.incoming(frame) if message] == []


@pytest.mark.parametrize(
    "frame",
    [
        "x",
        "Ezzzz",
        "Effff",
        'E0000P{"a"',
        "E0000P[]",
        "E0004C{}{}",
        fragment(1, 2, 2, "x"),
        fragment(1, -1, 2, "x"),
        fragment(1, 0, 10**9, "x"),
        fragment(1, "0", 2, "x"),
        fragment([], 0, 2, "x"),
        fragment(1, True, 2, "x"),
        "{" + "x" * 10**6,
    ],
)
def test_nonsense_is_refused(frame: str) -> None:
    """Malformed and oversized frames raise TransportError."""
    _, receiver = pair()

    with pytest.raises(TransportError):
        receiver.incoming(frame)


def test_a_fragment_comes_once() -> None:
    """Repeated fragments and changed totals are refused."""
    for bad in (fragment(1, 0, 3, "x"), fragment(1, 1, 4, "x")):
        _, receiver = pair()
        receiver.incoming(fragment(1, 0, 3, "x"))
        with pytest.raises(TransportError):
            receiver.incoming(bad)


def test_what_is_in_flight_is_bounded() -> None:
    """Neither many messages at once nor many characters in them are held."""
    _, receiver = pair()
    frames = [fragment(1, seq, 100, "x" * 100_000) for seq in range(100)]
    with pytest.raises(TransportError, match="limit"):
        list(map(receiver.incoming, frames))
    _, receiver = pair()
    frames = [fragment(message, 0, 2, "x") for message in range(100)]
    with pytest.raises(TransportError, match="at once"):
        list(map(receiver.incoming, frames))
    _, receiver = pair()
    receiver.incoming(fragment(1, 0, 2, "x"))
    with pytest.raises(TransportError, match="wait"):
        list(map(receiver.incoming, ["{}"] * 100))


def test_a_long_conversation_is_not_bounded() -> None:
    """The bound is on what is in flight, not on what has passed."""
    sender, receiver = pair()
    text = "{" + "é" * 400_000
    for _ in range(10):
        assert [message for frame in sender.outgoing(text) for message in receiver.incoming(frame)] == [text]


@settings(deadline=None)
@given(frame=st.text(max_size=50) | st.text(max_size=50).map(lambda text: "E" + text))
def test_arbitrary_frames_raise_nothing_else(frame: str) -> None:
    """A hostile frame is refused or ignored, never a crash."""
    _, receiver = pair()
    with suppress(TransportError):
        receiver.incoming(frame)
