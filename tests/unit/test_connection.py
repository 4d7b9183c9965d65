"""The state machine of a connection: two of them joined by a wire that loses whatever a test wants lost."""

import itertools
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp.connection import Connection, Role, State
from dcp_worker.protocol.dcp.envelope import Opened
from dcp_worker.protocol.dcp.instructions import Ended, Established, Instruction, Send, Serve, Settle
from dcp_worker.protocol.dcp.signature import PrivateKey

ALICE, BOB, EVE = (PrivateKey.from_hex(digit * 64).address for digit in "123")
NOW = 1_800_000_000.0


def opened(body: dict[str, Any] | str, owner: Any = ALICE) -> Opened:
    text = body if isinstance(body, str) else json.dumps(body)
    return Opened(owner, text, json.loads(text))


@dataclass
class Side:
    """One machine, and what it told its surroundings."""

    machine: Connection
    out: list[str] = field(default_factory=list)
    served: list[Any] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    settled: dict[str, Any] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    batches: int = 0

    def apply(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send(body):
                    self.out.append(body)
                    self.batches += '"type":"batch"' in body
                case Serve(request):
                    self.served.append(request.data)
                    self.open.append(request.id)
                case Settle(name, success, payload):
                    assert name not in self.settled
                    self.settled[name] = (success, payload)
                case Ended():
                    self.ended.append(instruction)
                case Established():
                    pass

    def answer(self, index: int) -> None:
        name = self.open.pop(index % len(self.open))
        self.machine.respond(name, True, {"done": name})
        self.apply(self.machine.flush(NOW))

    def ask(self, data: Any) -> str:
        request = self.machine.prepare("work", data, NOW)
        self.machine.submit(request)
        self.apply(self.machine.flush(NOW))
        return request.id


class Wire:
    """An initiator and a target, and the transport between them."""

    def __init__(self) -> None:
        ids = (f"{number:021d}" for number in itertools.count())
        self.alice = Side(Connection(Role.INITIATOR, ALICE, lambda: next(ids)))
        self.bob = Side(Connection(Role.TARGET, BOB, lambda: next(ids)))
        self.connect()

    def connect(self) -> None:
        self.alice.out.clear()
        self.bob.out.clear()
        self.alice.apply(self.alice.machine.opened(NOW))
        self.bob.apply(self.bob.machine.opened(NOW))

    def lose(self) -> None:
        """Cut: what is under way is gone."""
        self.alice.apply(self.alice.machine.lost())
        self.bob.apply(self.bob.machine.lost())

    def step(self, to_bob: bool) -> bool:
        """Deliver one message."""
        sender, receiver = (self.alice, self.bob) if to_bob else (self.bob, self.alice)
        if not sender.out:
            return False
        envelope = opened(sender.out.pop(0), sender.machine.own)
        receiver.apply(receiver.machine.received(envelope, NOW))
        return True

    def settle(self) -> None:
        """Deliver and answer everything."""
        for _ in range(10_000):
            moved = self.step(True) | self.step(False)
            for side in (self.alice, self.bob):
                while side.open:
                    side.answer(0)
                    moved = True
            if not moved:
                return
        raise AssertionError("the two never come to rest")


def session() -> Wire:
    wire = Wire()
    wire.settle()
    assert wire.alice.machine.state is wire.bob.machine.state is State.ESTABLISHED
    assert wire.alice.machine.dcpsid == wire.bob.machine.dcpsid
    return wire


def test_the_first_words_are_those_of_the_reference() -> None:
    """Keys and their order in connect, its acknowledgement and the answer are as observed."""
    wire = Wire()
    connect = json.loads(wire.alice.out[0])
    wire.step(True)
    ack, answer = map(json.loads, wire.bob.out)

    assert list(connect) == ["id", "type", "payload", "auth", "time", "ackToken", "nonce"]
    assert list(connect["payload"]) == ["operation", "data", "allow", "validity"]
    assert connect["nonce"] is None
    assert list(ack) == ["type", "token", "nonce", "messageId"]
    assert ack["token"] == connect["ackToken"]
    assert ack["messageId"] == connect["id"]
    assert list(answer) == ["id", "type", "success", "payload", "auth", "dcpsid", "time", "ackToken", "nonce"]
    assert answer["payload"] == {"version": "5.3.0", "operation": "connect"}
    assert answer["dcpsid"].startswith(connect["payload"]["data"]["sid"])


def test_requests_flow_both_ways() -> None:
    """Each side serves the other's requests and gets its answers."""
    wire = session()
    names = [wire.alice.ask(1), wire.bob.ask(2)]
    wire.settle()

    assert (wire.bob.served, wire.alice.served) == ([1], [2])
    assert wire.alice.settled == {names[0]: (True, {"done": names[0]})}
    assert wire.bob.settled == {names[1]: (True, {"done": names[1]})}


def test_what_waits_goes_as_a_batch() -> None:
    """Messages that queue up travel together, at most twenty at once, and signed ones alone."""
    wire = session()
    for number in range(50):
        wire.alice.ask(number)
    wire.settle()

    assert wire.bob.served == list(range(50))
    assert len(wire.alice.settled) == 50
    assert 3 <= wire.alice.batches <= 4
    signed = replace(wire.alice.machine.prepare("work", 1, NOW), auth={"0x": {}})
    wire.alice.ask(0)
    wire.alice.machine.submit(signed)
    wire.alice.ask(2)
    before = wire.alice.batches
    wire.settle()
    assert wire.alice.batches == before


def test_a_forgotten_request_is_not_sent() -> None:
    """What nobody waits for any more stays here, and a late answer to it is no error."""
    wire = session()
    first, second = wire.alice.ask("first"), wire.alice.ask("second")
    wire.alice.machine.forget(first)
    wire.alice.machine.forget(second)
    wire.settle()

    assert wire.bob.served == ["first"]
    assert wire.alice.settled == {}
    assert not wire.alice.ended


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["ask", "ask back", "to bob", "to alice", "answer", "answer back", "cut"]),
        max_size=60,
    )
)
def test_nothing_is_lost_or_done_twice(events: list[str]) -> None:
    """Whenever the wire is cut, each request is served once, in order, and answered once."""
    wire = session()
    asked: dict[str, list[str]] = {"ask": [], "ask back": []}
    for number, event in enumerate(events):
        match event:
            case "ask":
                asked[event].append(wire.alice.ask(number))
            case "ask back":
                asked[event].append(wire.bob.ask(number))
            case "to bob":
                wire.step(True)
            case "to alice":
                wire.step(False)
            case "answer" if wire.bob.open:
                wire.bob.answer(number)
            case "answer back" if wire.alice.open:
                wire.alice.answer(number)
            case "cut":
                wire.lose()
                wire.connect()
    wire.settle()

    assert not wire.alice.ended
    assert not wire.bob.ended
    assert set(wire.alice.settled) == set(asked["ask"])
    assert set(wire.bob.settled) == set(asked["ask back"])
    assert wire.bob.served == [number for number, event in enumerate(events) if event == "ask"]
    assert wire.alice.served == [number for number, event in enumerate(events) if event == "ask back"]


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=6))
def test_a_handshake_that_is_cut_begins_anew_or_goes_on(steps: list[bool]) -> None:
    """However far the handshake came, the initiator gets its session with a target that may be a new one."""
    wire = Wire()
    for step in steps:
        wire.step(step)
    wire.lose()
    if wire.alice.machine.dcpsid is None:  # a target knows a transport without a session as a newcomer
        ids = (f"x{number:020d}" for number in itertools.count())
        wire.bob = Side(Connection(Role.TARGET, BOB, lambda: next(ids)))
    wire.connect()
    wire.settle()
    wire.alice.ask("hello")
    wire.settle()

    assert wire.bob.served == ["hello"]


def test_a_resumed_session_begins_as_the_reference_does() -> None:
    """The first word on a new transport is the last acknowledgement, naming the session; then a keepalive."""
    wire = session()
    dcpsid = wire.alice.machine.dcpsid
    wire.lose()
    wire.connect()
    ack, keepalive = map(json.loads, wire.alice.out)

    assert (ack["type"], ack["dcpsid"]) == ("ack", dcpsid)
    assert keepalive["payload"]["operation"] == "keepalive"
    assert [json.loads(body)["type"] for body in wire.bob.out] == ["ack"]


def test_goodbye() -> None:
    """Both sides end when one closes, and each knows how."""
    wire = session()
    wire.bob.ask("unanswered")
    wire.step(False)
    wire.alice.apply(wire.alice.machine.close("EPIPE", NOW))
    for _ in range(9):
        wire.step(True)
        wire.step(False)

    assert [ended.code for ended in wire.bob.ended] == ["ECONNRESET"]
    assert [ended.code for ended in wire.alice.ended] == ["EPIPE"]
    assert wire.alice.ended[0].graceful
    assert wire.bob.ended[0].graceful


def test_an_unknown_session_is_closed_in_the_peers_words() -> None:
    """A target that has lost a session takes the nonce of the peer's repeated acknowledgement to close it."""
    wire = session()
    wire.alice.ask("lost")
    wire.lose()
    ids = (f"x{number:020d}" for number in itertools.count())
    wire.bob = Side(Connection(Role.TARGET, BOB, lambda: next(ids)))
    wire.alice.out.clear()
    wire.alice.apply(wire.alice.machine.opened(NOW))
    wire.bob.machine.adopt(opened(wire.alice.out.pop(0), ALICE))
    wire.bob.apply(wire.bob.machine.opened(NOW))
    wire.bob.apply(wire.bob.machine.close("ENOSESSION", NOW))
    for _ in range(9):
        wire.step(False)
        wire.step(True)

    assert [ended.code for ended in wire.alice.ended] == ["ECONNRESET"]
    assert [ended.code for ended in wire.bob.ended] == ["EPIPE"]
    assert wire.bob.served == []


def request_body(wire: Wire, **changes: Any) -> dict[str, Any]:
    """What the initiator would send next as a request, changed."""
    wire.alice.ask("x")
    body: dict[str, Any] = json.loads(wire.alice.out.pop())
    body.update(changes)
    return body


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"nonce": "NNt9-guessed"}, "DCPC-1026"),
        ({"nonce": None}, "DCPC-1026"),
        ({"dcpsid": "another"}, "EDCPSID"),
        ({"dcpsid": None}, "EDCPSID"),
        ({"id": None}, "EINVAL"),
        ({"id": "x" * 300}, "EINVAL"),
        ({"ackToken": 5}, "EINVAL"),
        ({"type": "nonsense"}, "EINVAL"),
        ({"type": "batch"}, "EINVAL"),
        ({"type": "batch", "payload": []}, "EINVAL"),
        ({"type": "batch", "payload": [{"type": "batch"}]}, "EINVAL"),
        ({"type": "batch", "payload": [{"type": "request"}] * 41}, "EINVAL"),
        ({"type": "response"}, "EINVAL"),
        ({"payload": None}, "EINVAL"),
        ({"payload": {"operation": 5}}, "EINVAL"),
        ({"payload": {"operation": "connect"}}, "EINVAL"),
        ({"payload": {"operation": "x", "jsonData": "{"}}, "EINVAL"),
        ({"type": "ack", "token": "guessed", "nonce": "n"}, "EINVAL"),
        ({"type": "ack"}, "EINVAL"),
    ],
)
def test_who_breaks_the_rules_loses_the_session(changes: dict[str, Any], code: str) -> None:
    """A message that cannot belong here ends the session, and nothing is served."""
    wire = session()
    wire.bob.apply(wire.bob.machine.received(opened(request_body(wire, **changes)), NOW))

    assert [ended.code for ended in wire.bob.ended] == [code]
    assert not wire.bob.ended[0].graceful
    assert wire.bob.served == []


def test_the_owner_of_a_session_stays_the_same() -> None:
    """A message that someone else has signed ends the session."""
    wire = session()
    wire.bob.apply(wire.bob.machine.received(opened(request_body(wire), EVE), NOW))

    assert [ended.code for ended in wire.bob.ended] == ["EINVAL"]
    assert wire.bob.served == []


@pytest.mark.parametrize(
    ("validity", "code"),
    [
        ({"stamp": "s" * 21, "ttl": 120, "time": NOW + 601}, "ETIMETRAVEL"),
        ({"stamp": "s" * 21, "ttl": 120, "time": NOW - 721}, "EEXPIRED"),
        ({"stamp": "s" * 21, "ttl": 10**9, "time": NOW - 1201}, "EEXPIRED"),
        ({"stamp": "s" * 21, "ttl": 1, "time": NOW - 620}, "EEXPIRED"),
        ({"stamp": "", "ttl": 120, "time": NOW}, "EINVAL"),
        ({"stamp": "s", "ttl": 120}, "EINVAL"),
        (None, "EINVAL"),
    ],
)
def test_stale_requests_are_refused(validity: Any, code: str) -> None:
    """A request outside its time is answered with failure; the session goes on."""
    wire = session()
    payload = {"operation": "work", "data": 1, "validity": validity}
    body = request_body(wire, payload=payload)
    wire.bob.apply(wire.bob.machine.received(opened(body), NOW))
    wire.settle()

    assert not wire.bob.ended
    assert wire.bob.served == []
    assert wire.alice.settled[body["id"]][0] is False
    assert wire.alice.settled[body["id"]][1]["code"] == code


def test_a_stamp_is_good_once() -> None:
    """The second request with a stamp is refused."""
    wire = session()
    validity = {"stamp": "s" * 21, "ttl": 120, "time": NOW}
    names = []
    for _ in range(2):
        body = request_body(wire, payload={"operation": "work", "data": 1, "validity": validity})
        names.append(body["id"])
        wire.bob.apply(wire.bob.machine.received(opened(body), NOW))
        wire.settle()

    assert [wire.alice.settled[name][0] for name in names] == [True, False]
    assert wire.alice.settled[names[1]][1]["code"] == "EDUP"


def test_a_repeated_message_is_acknowledged_again_and_not_served_again() -> None:
    """The last message may come again, but not without end."""
    wire = session()
    body = request_body(wire)
    wire.bob.apply(wire.bob.machine.received(opened(body), NOW))
    first = wire.bob.out.pop()
    wire.bob.apply(wire.bob.machine.received(opened(body), NOW))
    second = wire.bob.out.pop()

    assert first == second
    assert wire.bob.served == ["x"]
    for _ in range(40):
        wire.bob.apply(wire.bob.machine.received(opened(body), NOW))
    assert [ended.code for ended in wire.bob.ended] == ["EFLOOD"]


def test_unanswered_requests_are_bounded() -> None:
    """More requests than may be in flight are refused, and the session goes on."""
    wire = session()
    for number in range(300):
        wire.alice.ask(number)
    while wire.step(True) | wire.step(False):
        pass

    assert len(wire.bob.open) == 256
    assert {payload["code"] for success, payload in wire.alice.settled.values() if not success} == {"EBUSY"}
    wire.settle()
    assert len(wire.alice.settled) == 300


@pytest.mark.parametrize(
    ("version", "welcome"),
    [
        ("5.3.0", True),
        ("5.2.0", True),
        ("5.10.1", True),
        ("5.1.9", False),
        ("6.0.0", False),
        ("", False),
        (5, False),
    ],
)
def test_versions(version: Any, welcome: bool) -> None:
    """Peers of 5.2.0 and later 5.x are welcome; others hear which version is."""
    wire = Wire()
    body = json.loads(wire.alice.out.pop())
    body["payload"]["data"]["version"] = version
    wire.bob.apply(wire.bob.machine.received(opened(body), NOW))
    answer = json.loads(wire.bob.out[-1])

    assert answer["success"] is welcome
    assert welcome == (not wire.bob.ended)
    if not welcome:
        assert answer["payload"] == {"message": "^5.2.0", "code": "EVERSION"}
        wire.step(False)
        wire.step(False)
        assert [ended.code for ended in wire.alice.ended] == ["EVERSION"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["id", "type", "payload", "auth", "dcpsid", "time", "ackToken", "nonce", "token", "success"]


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(FIELDS), json_values | st.sampled_from(["ack", "request", "response", "batch"])
    )
)
def test_hostile_bodies_end_the_session_or_do_nothing(changes: dict[str, Any]) -> None:
    """Whatever a peer signs, the machine does not raise."""
    wire = session()
    wire.bob.apply(wire.bob.machine.received(opened(request_body(wire, **changes)), NOW))
    wire.bob.apply(wire.bob.machine.received(opened(changes), NOW))
    newcomer = Connection(Role.TARGET, BOB, lambda: "x" * 21)
    newcomer.received(opened(changes), NOW)
