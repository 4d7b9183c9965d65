"""One question to a scheduler, as the identity of the client settings; then goodbye."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DcpError

if TYPE_CHECKING:
    from ..client.services import Services
    from ..config.layers import Loaded

Answer = TypeVar("Answer")


def ask(loaded: "Loaded", question: "Callable[[Services], Awaitable[Answer]]") -> Answer:
    """Run ``question`` with the services of the scheduler that the settings name. Raises DcpError."""
    from ..client.identity import load_identity
    from ..client.services import Services

    settings = loaded.settings

    async def run() -> Answer:
        identity = await asyncio.to_thread(
            load_identity,
            settings.client.identity_keystore,
            settings.client.payment_keystore,
            folder=settings.paths.resource_dir,
        )
        services = await Services.open(settings.scheduler.location, identity, _no_requests, lambda _: None)
        try:
            return await question(services)
        finally:
            await services.close()

    return asyncio.run(run())


async def _no_requests(operation: str, _data: Any) -> Any:
    raise DcpError(f"nobody here serves {operation[:50]!r}", code="ENOSYS")
