"""Our Connection against our ConnectionServer over real sockets, also when these are cut."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from dcp_worker.protocol.dcp.initiator import (
    Connection,
    ConnectionFailed,
    ConnectionLost,
    RequestRefused,
    RequestTimeout,
)
from dcp_worker.protocol.dcp.target import OperationError, Peer, Request, verify_allow
from dcp_worker.tests import wire

PATH = "/job-submit/"
BIG = '{é😀"\\\n\u2028' * 250_000  # two million UTF-16 units: seven fragments, each worse than plain text


async def serve(peer: Peer, request: Request) -> Any:
    """A toy service."""
    match request.operation:
        case "echo":
            return request.data
        case "refuse":
            raise OperationError("no such luck", code="ENOLUCK", details={"hint": 7})
        case "break":
            raise ZeroDivisionError
        case "unprintable":
            return {1, 2}
        case "ask back":
            return await peer.request("event", request.data)
        case "hold":
            await peer.closed.wait()
        case "allowed":
            return sorted(verify_allow(request, accessor=peer.owner))
    raise OperationError(f"there is no {request.operation}", code="ENOSYS")


async def answer(operation: str, data: Any) -> Any:
    """The toy client's side."""
    return {"operation": operation, "data": data}


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("dialect", [4, 5])
def test_both_sides_ask_and_answer(transport: str, dialect: int) -> None:
    """Requests, refusals and large messages with every kind of character pass both ways, at both paths."""

    async def test() -> None:
        async with (
            wire.serving({PATH: serve}) as server,
            wire.connected(
                server.url(PATH), on_request=answer, transports=[transport], dialect=dialect
            ) as connection,
        ):
            assert await connection.request("echo", {"2": 1, "a": [1.5, None, "é"]}) == {
                "2": 1,
                "a": [1.5, None, "é"],
            }
            assert await connection.request("echo") is None
            assert await connection.request("echo", BIG) == BIG
            assert await connection.request("ask back", BIG) == {"operation": "event", "data": BIG}
            with pytest.raises(RequestRefused) as refused:
                await connection.request("refuse")
            assert (str(refused.value), refused.value.code) == ("no such luck", "ENOLUCK")
            assert refused.value.payload["hint"] == 7
            for operation, code in {"break": "EINTERNAL", "unprintable": "EJSON", "other": "ENOSYS"}.items():
                with pytest.raises(RequestRefused) as refused:
                    await connection.request(operation)
                assert refused.value.code == code
            assert connection.peer_address == server.server.signer.address

    run(test)


def test_a_held_request_holds_up_nobody() -> None:
    """Others on the same connection are answered meanwhile, and whoever waits may give up."""

    async def test() -> None:
        async with wire.serving({PATH: serve}) as server, wire.connected(server.url(PATH)) as connection:
            held = asyncio.create_task(connection.request("hold"))
            numbers = range(200)
            assert await asyncio.gather(*(connection.request("echo", n) for n in numbers)) == list(numbers)
            with pytest.raises(RequestTimeout):
                await connection.request("hold", timeout=0.05)
            assert not held.done()
            await connection.close()
            with pytest.raises(ConnectionLost):
                await held

    run(test)


def test_permission_is_signed_by_the_resource() -> None:
    """The server sees which resources have signed, and only those."""

    async def test() -> None:
        account, other = wire.new_signer(), wire.new_signer()
        async with wire.serving({PATH: serve}) as server, wire.connected(server.url(PATH)) as connection:
            data = {"text": "é😀", "number": 1e-7}
            assert await connection.request("allowed", data, authorise=[account]) == [account.address]
            assert await connection.request("allowed", data, allow=[other.address]) == []
            both = await connection.request("allowed", allow=[other.address], authorise=[account])
            assert both == [account.address]
            stolen = {"resource": account.address, "guardian": None, "accessor": other.address}
            assert await connection.request("allowed", allow=[stolen], authorise=[account]) == []

    run(test)


def test_nothing_is_lost_when_the_wire_is_cut() -> None:
    """Cut again and again in the middle of frames, both sides' requests are done once each and answered."""

    async def test() -> None:
        served: list[int] = []

        async def once(peer: Peer, request: Request) -> Any:
            served.append(request.data["n"])
            return await peer.request("event", request.data)

        async with wire.serving({PATH: once}) as server, wire.relaying(server.port) as relay:
            heard: list[int] = []

            async def hear(_operation: str, data: Any) -> Any:
                heard.append(data["n"])
                return data

            async with wire.connected(relay.url(PATH), on_request=hear) as connection:
                dcpsid = connection.dcpsid
                chance = random.Random(5)
                asks = [
                    asyncio.create_task(
                        connection.request("echo", {"n": n, "text": "é" * chance.choice([1, 90_000])})
                    )
                    for n in range(40)
                ]
                while not all(ask.done() for ask in asks):
                    relay.bytes_until_cut = chance.randrange(1, 800_000)
                    await wire.until(lambda: relay.bytes_until_cut is None or all(ask.done() for ask in asks))
                answers = [await ask for ask in asks]
                assert [one["n"] for one in answers] == list(range(40))
                assert sorted(served) == sorted(heard) == list(range(40))
                assert connection.dcpsid == dcpsid
                assert relay.accepted > 3

    run(test)


def test_a_server_that_is_away_for_a_while() -> None:
    """Requests wait while nobody answers, and are answered when the server can be reached again."""

    async def test() -> None:
        async with (
            wire.serving({PATH: serve}) as server,
            wire.relaying(server.port) as relay,
            wire.connected(relay.url(PATH)) as connection,
        ):
            relay.refuse()
            ask = asyncio.create_task(connection.request("echo", 5))
            refused = relay.accepted + 2
            await wire.until(lambda: relay.accepted >= refused)
            assert not ask.done()
            relay.refuse(False)
            assert await ask == 5

    run(test)


def test_a_new_server_does_not_know_the_session() -> None:
    """Requests fail with ConnectionLost when the server has forgotten the session; connect makes another."""

    async def test() -> None:
        signer = wire.new_signer()
        async with (
            wire.serving({PATH: serve}, signer=signer) as before,
            wire.serving({PATH: serve}, signer=signer) as after,
            wire.relaying(before.port) as relay,
            wire.connected(relay.url(PATH)) as connection,
        ):
            held, first = asyncio.create_task(connection.request("hold")), connection.dcpsid
            await connection.request("echo", 1)
            lost = asyncio.Event()
            connection.on_close(lost.set)
            relay.target = after.port
            relay.cut()
            with pytest.raises(ConnectionLost, match="ENOSESSION"):
                await held
            assert lost.is_set()
            assert not connection.connected
            with pytest.raises(ConnectionLost):
                await connection.request("echo", 2)
            await connection.connect()
            assert await connection.request("echo", 3) == 3
            assert connection.dcpsid != first

    run(test)


def test_a_session_is_given_up_in_time() -> None:
    """Neither side waits for ever: the client after its resume timeout, the server after it lingered."""

    async def test() -> None:
        peers: list[Peer] = []

        async def note(peer: Peer, request: Request) -> Any:
            peers.append(peer)
            return request.data

        async with (
            wire.serving({PATH: note}, linger_s=0.2) as server,
            wire.relaying(server.port) as relay,
            wire.connected(relay.url(PATH), resume_timeout=0.2) as connection,
        ):
            await connection.request("echo", 1)
            relay.refuse()
            with pytest.raises(ConnectionLost):
                await connection.request("echo", 2)
            await peers[0].closed.wait()
            assert server.server.connections == 0

    run(test)


def test_a_server_that_stops_says_goodbye() -> None:
    """Clients hear at once that the server stops."""

    async def test() -> None:
        async with wire.serving({PATH: serve}) as server:
            connection = Connection(server.url(PATH), wire.new_signer(), resume_timeout=0.1)
            await connection.connect()
            held = asyncio.create_task(connection.request("hold"))
            await connection.request("echo", 1)
        with pytest.raises(ConnectionLost, match="ESHUTDOWN"):
            await held

    run(test)


def test_who_cannot_be_reached_is_named() -> None:
    """Nobody there, no DCP there, nobody of this name there, somebody else there: each has its error."""

    async def test() -> None:
        signer = wire.new_signer()
        async with wire.serving({PATH: serve}) as server:
            with pytest.raises(ConnectionFailed, match="cannot be reached"):
                await Connection(server.url("/nothing/"), signer).connect()
            with pytest.raises(ConnectionFailed, match="signed by"):
                await Connection(server.url(PATH), signer, peer_address=signer.address).connect()
            port = server.port
        with pytest.raises(ConnectionFailed, match="cannot be reached"):
            await Connection(f"http://127.0.0.1:{port}{PATH}", signer).connect()
        for url in ("ftp://host/x/", "http://host/x", "nonsense"):
            with pytest.raises(ConnectionFailed, match="location"):
                Connection(url, signer)
        silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}{PATH}"
        with pytest.raises(ConnectionFailed, match="did not answer"):
            await Connection(url, signer).connect(timeout=0.3)
        silent.close()

    run(test)


def test_sockets_are_bounded() -> None:
    """Beyond the limit new connections are refused, and there is room again when one has gone."""

    async def test() -> None:
        async with (
            wire.serving({PATH: serve}, max_connections=2) as server,
            wire.connected(server.url(PATH)) as first,
            wire.connected(server.url(PATH)) as second,
        ):
            third = Connection(server.url(PATH), wire.new_signer())
            with pytest.raises(ConnectionFailed):
                await third.connect()
            assert await first.request("echo", 1) == 1
            await second.close()
            while not third.connected:
                with suppress(ConnectionFailed):
                    await third.connect()
            assert await third.request("echo", 3) == 3
            await third.close()

    run(test)
