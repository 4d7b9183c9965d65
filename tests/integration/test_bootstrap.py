"""Fetching a scheduler's configuration over http."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from dcp_worker.protocol.dcp import bootstrap

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(route: Route) -> AsyncIterator[str]:
    """A web server that answers everything with one function."""
    app = web.Application()
    app.router.add_get("/{path:.*}", route)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def fetch(route: Route, **options: float) -> bootstrap.SchedulerConfig:
    async def run() -> bootstrap.SchedulerConfig:
        async with answering(route) as url:
            return await bootstrap.fetch_config(url + "some/page", **options)

    return asyncio.run(run())


async def good(request: web.Request) -> web.Response:
    assert request.path == "/etc/dcp-config.kvin"
    assert request.query["ver"] == "2.1.0"
    return web.Response(text=bootstrap.config_document(f"http://{request.host}/", {"jobSubmit": "/js/"}))


def test_the_configuration_is_at_the_origin() -> None:
    """Whatever page of a scheduler is named, its configuration is found."""
    assert fetch(good).services["jobSubmit"].endswith("/js/")


def test_redirects_are_followed_with_the_query() -> None:
    """A scheduler that has moved is found; the query is kept."""

    async def route(request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            return web.Response(text=bootstrap.config_document("http://h/", {}, request.query["ver"]))
        raise web.HTTPFound(f"http://{request.host}/moved")

    assert fetch(route).location == "http://h/"


def test_redirects_have_an_end() -> None:
    """Going round in circles is an error."""

    async def route(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"http://{request.host}{request.path}")

    with pytest.raises(bootstrap.ConfigError, match="redirects more than"):
        fetch(route)


@pytest.mark.parametrize("location", ["/relative", "ftp://host/", "file:///etc/passwd", ""])
def test_redirects_lead_to_http(location: str) -> None:
    """Other addresses are not followed."""

    async def route(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"location": location})

    with pytest.raises(bootstrap.ConfigError, match="no absolute http address"):
        fetch(route)


def test_something_else_is_there() -> None:
    """A web server that is no scheduler is told from one that is."""

    async def missing(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>hello</html>")

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    for route, reason in ((missing, "404"), (page, "cannot be read"), (endless, "larger than")):
        with pytest.raises(bootstrap.ConfigError, match=reason):
            fetch(route)


def test_nobody_is_there() -> None:
    """Silence, refusal and nonsense each have their error."""

    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async def run() -> None:
        async with answering(good) as url:
            pass
        with pytest.raises(bootstrap.ConfigError, match="cannot be reached"):
            await bootstrap.fetch_config(url)
        for address in ("", "nonsense", "ftp://host/", "http://"):
            with pytest.raises(bootstrap.ConfigError, match="no address of a scheduler"):
                await bootstrap.fetch_config(address)

    asyncio.run(run())
    with pytest.raises(bootstrap.ConfigError, match="does not answer"):
        fetch(silent, timeout=0.2)
