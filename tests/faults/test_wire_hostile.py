"""Peers that break the rules of the wire lose their own connection, and nobody else notices but the log."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from loguru import logger

from dcp_worker.protocol.dcp import target
from dcp_worker.protocol.dcp.connection import Connection as Machine
from dcp_worker.protocol.dcp.connection import Role
from dcp_worker.protocol.dcp.envelope import open_envelope, seal
from dcp_worker.protocol.dcp.instructions import Established, Send
from dcp_worker.protocol.dcp.target import Peer, Request
from dcp_worker.tests import wire

PATH = "/job-submit/"


class Raw:
    """A socket on which anything can be said."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.said: list[str] = []
        self.signer = wire.new_signer()
        ids = (f"{number:021d}" for number in itertools.count())
        self.machine = Machine(Role.INITIATOR, self.signer.address, lambda: next(ids))

    async def say(self, frame: str) -> None:
        self.said.append(frame)
        await self.socket.send_str("42" + json.dumps(["message", frame], ensure_ascii=False))

    async def hear(self) -> str | None:
        """The next message; None when the server has closed the socket."""
        while True:
            received = await self.socket.receive(timeout=20)
            if received.type is not aiohttp.WSMsgType.TEXT:
                return None
            if received.data == "2":
                await self.socket.send_str("3")
            if received.data.startswith("42"):
                message: str = json.loads(received.data[2:])[1]
                if message.startswith("{"):
                    return message

    async def dropped(self) -> bool:
        while await self.hear() is not None:
            pass
        return True

    async def shake_hands(self) -> None:
        """A good session, so that what comes next is all that is wrong."""
        pending = self.machine.opened(time.time())
        established = False
        while pending or not established:
            for instruction in pending:
                established |= isinstance(instruction, Established)
                if isinstance(instruction, Send):
                    await self.say(await seal(instruction.body, self.signer))
            if established:
                return
            text = await self.hear()
            assert text is not None
            pending = self.machine.received(open_envelope(text), time.time())

    async def body(self, **changes: Any) -> str:
        """The body of a good request, with changes."""
        request = self.machine.prepare("echo", 1, time.time())
        self.machine.submit(request)
        out = self.machine.flush(time.time())
        body = json.loads(out[0].body)
        body.update(changes)
        return json.dumps(body, separators=(",", ":"))


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Raw]:
    address = url + "dcp5/socketio/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as http, http.ws_connect(address) as ws:
        assert (await ws.receive_str()).startswith("0{")
        await ws.send_str("40")
        assert (await ws.receive_str()).startswith("40")
        yield Raw(ws)


def against(attack: Callable[[Raw], Awaitable[None]], *, logged: str, **options: Any) -> None:
    """Run an attack beside an honest peer: the attacker is dropped, the other is served, the log tells."""
    lines: list[str] = []
    sink = logger.add(lines.append, level="INFO", format="{level} {message}")

    async def serve(_peer: Peer, request: Request) -> Any:
        return request.data

    async def test() -> None:
        async with asyncio.timeout(40):
            async with (
                wire.serving({PATH: serve}, **options) as server,
                wire.connected(server.url(PATH)) as honest,
            ):
                async with raw(server.url(PATH)) as attacker:
                    await attack(attacker)
                    assert await attacker.dropped()
                assert await honest.request("echo", "é") == "é"
                await wire.until(lambda: server.server.connections == 1)

    try:
        asyncio.run(test())
    finally:
        logger.remove(sink)
    assert any(logged in line and line.startswith(("WARNING", "INFO")) for line in lines), lines
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize(
    ("frame", "logged"),
    [
        ("{", "no envelope"),
        ("nonsense", "has no meaning"),
        ('{"owner":"0x","signature":{},"body":{}}', "no envelope"),
        ("[" * 100_000, "has no meaning"),
        ("{" + "[" * 100_000, "no envelope"),
        ("Ezzzz", "hexadecimal"),
        ("E0000P[]", "announcement"),
        ('E001dC{"msgId":1,"seq":5,"total":3}x', "no sense"),
        ('E0023C{"msgId":1,"seq":0,"total":9999999}x', "no sense"),
    ],
)
def test_malformed_frames(frame: str, logged: str) -> None:
    """What is no frame or no envelope is the end of the connection."""

    async def attack(attacker: Raw) -> None:
        await attacker.say(frame)

    against(attack, logged=logged)


@pytest.mark.parametrize(
    ("packet", "logged"),
    [
        ("42[", "malformed"),
        ("42{}", "malformed"),
        ("42[5]", "malformed"),
        ("4299999999999[", "malformed"),
        ("4x", "malformed"),
    ],
)
def test_malformed_packets(packet: str, logged: str) -> None:
    """The same for what is no packet of socket.io."""

    async def attack(attacker: Raw) -> None:
        await attacker.socket.send_str(packet)

    against(attack, logged=logged)


def test_a_packet_that_is_too_large() -> None:
    """A packet beyond the limit is not even read."""

    async def attack(attacker: Raw) -> None:
        await attacker.shake_hands()
        with suppress(ConnectionError):
            await attacker.say("{" + "x" * 6_000_000)

    against(attack, logged="lost its socket")


def test_a_message_that_is_too_long() -> None:
    """Fragments may not add up to more than the limit."""

    async def attack(attacker: Raw) -> None:
        for seq in range(20):
            header = json.dumps({"msgId": 1, "seq": seq, "total": 20}, separators=(",", ":"))
            await attacker.say(f"E{len(header):04x}C{header}{'x' * 100_000}")

    against(attack, logged="over the limit", max_message=1_000_000)


@pytest.mark.parametrize(
    ("changes", "logged"),
    [
        ({"nonce": "NNt1-guessed"}, "nonce"),
        ({"dcpsid": "another"}, "another session"),
        ({"type": "ack", "token": "guessed"}, "not waiting"),
        ({"payload": {"operation": "connect"}}, "second connect"),
    ],
)
def test_broken_rules_within_a_session(changes: dict[str, Any], logged: str) -> None:
    """A well signed message that cannot belong here ends the session."""

    async def attack(attacker: Raw) -> None:
        await attacker.shake_hands()
        await attacker.say(await seal(await attacker.body(**changes), attacker.signer))

    against(attack, logged=logged)


def test_a_wrong_signature() -> None:
    """A message that was changed after it was signed ends the session."""

    async def attack(attacker: Raw) -> None:
        await attacker.shake_hands()
        sealed = await seal(await attacker.body(), attacker.signer)
        await attacker.say(sealed.replace('"operation":"echo"', '"operation":"steal"'))

    against(attack, logged="changed on the way")


def test_somebody_else_within_a_session() -> None:
    """The owner of a session is whoever began it."""

    async def attack(attacker: Raw) -> None:
        await attacker.shake_hands()
        await attacker.say(await seal(await attacker.body(), wire.new_signer()))

    against(attack, logged="is signed by")


def test_replayed_messages_do_nothing() -> None:
    """What was recorded of a session is served once: not again within it, not in another one, not as a whole."""
    served: list[Any] = []

    async def serve(_peer: Peer, request: Request) -> Any:
        served.append(request.data)
        return request.data

    async def test() -> None:
        async with asyncio.timeout(40), wire.serving({PATH: serve}) as server:
            url = server.url(PATH)
            async with raw(url) as victim:
                await victim.shake_hands()
                await victim.say(await seal(await victim.body(), victim.signer))
                await wire.until(lambda: served == [1])
                *beginning, request = victim.said
                async with raw(url) as thief:
                    await thief.shake_hands()
                    await thief.say(request)
                    assert await thief.dropped()
                async with raw(url) as thief:
                    for frame in (*beginning, request):
                        await thief.say(frame)
                    assert await thief.dropped()
                # The last message may come again, on a new socket too: that is how a session goes on when a socket
                # was lost. It is answered as before, and not served again.
                await victim.say(request)
                async with raw(url) as thief:
                    await thief.say(request)
                    assert await thief.hear() is not None
            async with wire.connected(url) as honest:
                assert await honest.request("echo", 2) == 2
            assert served == [1, 2]

    asyncio.run(test())


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens a socket and does not begin a session is dropped after a while."""
    monkeypatch.setattr(target, "_HANDSHAKE_S", 0.3)

    async def attack(_attacker: Raw) -> None:
        pass

    against(attack, logged="no session after")


def test_a_socket_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a WebSocket on which not even socket.io is spoken."""
    monkeypatch.setattr(target, "_HANDSHAKE_S", 0.3)

    async def test() -> None:
        async with wire.serving({PATH: nobody}) as server, aiohttp.ClientSession() as http:
            address = server.url(PATH) + "dcp5/socketio/?EIO=4&transport=websocket"
            async with http.ws_connect(address) as socket, wire.connected(server.url(PATH)) as honest:
                assert (await socket.receive_str()).startswith("0{")
                assert (await socket.receive(timeout=20)).type is not aiohttp.WSMsgType.TEXT
                assert honest.connected

    asyncio.run(test())


async def nobody(_peer: Peer, _request: Request) -> Any:
    raise AssertionError("nobody asks")


def test_a_session_cannot_be_taken_over() -> None:
    """Knowing the id of somebody's session is not enough to resume it, and does not disturb it."""

    async def serve(_peer: Peer, request: Request) -> Any:
        return request.data

    async def test() -> None:
        async with wire.serving({PATH: serve}) as server, wire.connected(server.url(PATH)) as honest:
            dcpsid = honest.dcpsid
            async with raw(server.url(PATH)) as attacker:
                ack = {"type": "ack", "dcpsid": dcpsid, "token": "x", "nonce": "x", "messageId": "x"}
                await attacker.say(await seal(json.dumps(ack, separators=(",", ":")), attacker.signer))
                answer = await attacker.hear()
                assert answer is not None
                assert open_envelope(answer).body["payload"]["operation"] == "close"
                assert await honest.request("echo", 1) == 1
                assert honest.dcpsid == dcpsid

    asyncio.run(test())
