"""Unmodified npm dcp-client, of the 5.x and the 4.x line, talks to our server through its own protocol layer."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dcp_worker.protocol.dcp import bootstrap
from dcp_worker.protocol.dcp.target import OperationError, Peer, Request, verify_allow
from dcp_worker.tests import wire
from dcp_worker.tests.npm import node_binary, npm_packages

PROGRAM = Path(__file__).with_name("connection_client.js")
SERVICE = "/job-submit/"


async def _configuration(request: web.Request) -> web.Response:
    text = bootstrap.config_document(f"http://{request.host}/", {"jobSubmit": SERVICE}, request.query["ver"])
    return web.Response(text=text, content_type="application/x-kvin")


async def _talk(modules: Path, home: Path) -> list[dict[str, Any]]:
    """What the npm program said while it talked to a server of ours, one dictionary a line."""
    signer = wire.new_signer()
    restarted = asyncio.Event()

    async def handler(peer: Peer, request: Request) -> Any:
        match request.operation:
            case "echo":
                return request.data
            case "fail":
                raise OperationError("no such luck", code="ENOLUCK")
            case "askBack":
                return await peer.request("event", request.data)
            case "allowed":
                return list(verify_allow(request, guardian=signer.address, accessor=peer.owner))
            case "cut":
                relay.cut()
                return request.data
            case "restart":
                relay.target = after.port
                relay.cut()
                restarted.set()
                return await peer.closed.wait()
        raise OperationError(f"there is no {request.operation}")

    routes = {bootstrap.PATH: _configuration}
    async with (
        wire.serving({SERVICE: handler}, signer=signer, routes=routes) as before,
        wire.serving({SERVICE: handler}, signer=signer) as after,
        wire.relaying(before.port) as relay,
    ):
        home.mkdir(mode=0o700)
        process = await asyncio.create_subprocess_exec(
            node_binary(),
            str(PROGRAM),
            relay.url("/"),
            relay.url(SERVICE),
            "150000",
            cwd=modules,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "XDG_DATA_HOME": str(home),
                "NODE_PATH": str(modules / "node_modules"),
            },
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        assert restarted.is_set()
        return [json.loads(line) for line in output.decode("utf-8").splitlines() if line.startswith("{")]


@pytest.mark.parametrize("version", ["5.6.1", "4.4.29"])
def test_npm_connection(version: str, tmp_path: Path) -> None:
    """Requests, refusals, batches, fragments, requests to the client, a cut wire, a new server: all work."""
    said = asyncio.run(_talk(npm_packages({"dcp-client": version}), tmp_path / "home"))
    facts = {key: value for line in said for key, value in line.items()}

    assert facts["echo"] == {"2": "b", "1": "a", "text": "é😀", "small": 1e-7, "half": "\ud800"}
    assert (facts["refused"], facts["code"]) == ("no such luck", "ENOLUCK")
    assert facts["big"] is True
    assert facts["length"] == 900_000  # three fragments each way
    assert facts["many"] == list(range(50))
    assert facts["asked"] == {"heard": {"question": 7}}
    assert facts["allowed"] == [facts["account"]]
    assert facts["keepalive"] == {"success": True}
    assert facts["cut"] == [1, 2, 3]
    assert len({line["dcpsid"] for line in said if "dcpsid" in line}) == 1
    assert facts["forgotten"] == "ECONNRESET"
    assert facts["closed"] is True
    assert facts["lost"] is True
