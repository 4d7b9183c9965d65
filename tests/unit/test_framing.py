"""Messages survive the trip as frames, and nothing else does."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.protocol import framing, messages
from dcp_worker.protocol.framing import FramingError, Header, Kind

METRICS = messages.Metrics(slices=2, wall_ms=1.5, cpu_ms=1.0, gpu_ms=0.0, in_bytes=3, out_bytes=4)
EXAMPLES = [
    messages.HostHello(1, "id", "box", 8, 1 << 36, 17, (("map-basic", "1.0.0"), ("pyodide", "0.28.0"))),
    messages.SandboxClosed("id", "s1", "j", messages.Outcome.NO_PROGRESS, "silent", 7),
    messages.Results("id", "s1", 3, "t", "j", 1, 2, METRICS),
    messages.OutcomesAcknowledged("j", 5, 123 * 10**18, ""),
    messages.OutcomesCommitted("s1", 3, "j", 1, 2, failed=False),
    messages.Signed(b"r" * 32, b"s" * 32, 27),
    messages.AddressesRequest(),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_equal(message):
    """Nested metrics, enums, pairs, money beyond 64 bits and bytes survive, with their exact types."""
    back = framing.decode(framing.encode(message))

    assert back == message
    assert type(back) is type(message)


def test_an_outcome_is_an_outcome_again():
    """Handlers compare enum members, not strings."""
    back = framing.decode(framing.encode(EXAMPLES[1]))

    assert back.outcome is messages.Outcome.NO_PROGRESS


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [1],
        [2, "Heartbeat", "h", 1],
        [True, "Heartbeat", "h", 1],
        [1, "Nonsense"],
        [1, ["Heartbeat"], "h", 1],
        [1, "Heartbeat", "h"],
        [1, "Heartbeat", "h", 1, 1],
        [1, "Heartbeat", b"h", 1],
        [1, "Heartbeat", "h", True],
        [1, "Heartbeat", "h", 1.0],
        [1, "DrainOutbox", float("nan")],
        [1, "DrainOutbox", float("inf")],
        [1, "DrainOutbox", {}],
        [1, "Metrics", 1, 1.0, 1.0, 1.0, 1, 1],
        [1, "SandboxClosed", "h", "s", "j", "EWRONG", "", 0],
        [1, "SandboxClosed", "h", "s", "j", ["closed"], "", 0],
        [1, "RunFinished", "s", 1, [1, 2]],
        [1, "RunFinished", "s", 1, "metrics"],
        [1, "HostHello", 1, "h", "n", 1, 1, 1, [["a", "b", "c"]]],
        [1, "HostHello", 1, "h", "n", 1, 1, 1, ["ab"]],
        "text",
        7,
    ],
)
def test_what_is_not_exactly_a_message_is_refused(parts):
    """Wrong version, tag, number of fields or type of a field."""
    with pytest.raises(FramingError):
        framing.decode(msgpack.packb(parts))


def test_bounds():
    """No frame, text or list is larger than agreed, on the way out as on the way in."""
    with pytest.raises(FramingError, match="bodies"):
        framing.encode(messages.HostRefused("x" * (framing.MAX_MESSAGE_BYTES + 1)))
    with pytest.raises(FramingError):
        framing.decode(b"\x00" * (framing.MAX_MESSAGE_BYTES + 1))
    with pytest.raises(FramingError):
        framing.decode(msgpack.packb([1, "HostRefused", "x" * (framing.MAX_TEXT_BYTES + 1)]))
    with pytest.raises(FramingError):
        framing.decode(msgpack.packb([0] * (framing.MAX_ITEMS + 1)))
    with pytest.raises(FramingError):
        framing.encode(messages.OutcomesAcknowledged("j", 1, 1 << 300, ""))


def test_another_version_says_what_to_do():
    """The person who mixed two releases learns which way out there is."""
    with pytest.raises(FramingError, match="install the same version"):
        framing.decode(msgpack.packb([99, "Heartbeat", "h", 1]))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_decoded(data):
    """No bytes at all make decode raise anything but FramingError."""
    for decode in (framing.decode, framing.decode_header):
        with contextlib.suppress(FramingError):
            decode(data)


tags = st.sampled_from([type(message).__name__ for message in EXAMPLES])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=10,
)


@given(tags, st.lists(values, max_size=10))
def test_any_fields_are_refused_or_a_message_that_encodes_again(tag, fields):
    """What decode accepts is a message that could have been sent."""
    try:
        message = framing.decode(msgpack.packb([1, tag, *fields]))
    except FramingError:
        return
    assert framing.decode(framing.encode(message)) == message


@given(st.sampled_from(Kind), st.text(max_size=200), st.text(max_size=200), st.integers(0, 2**63 - 1))
def test_a_header_comes_back_equal(kind, target, sender, correlation):
    """Any names up to the limit survive."""
    header = Header(kind, target, sender, correlation)

    assert framing.decode_header(framing.encode_header(header)) == header
