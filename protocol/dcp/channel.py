"""One socket, whatever carries it: signs and cuts what goes out, puts together and verifies what comes in."""

import asyncio
from collections.abc import Awaitable, Callable

from loguru import logger

from ...errors import DcpError
from .envelope import Opened, open_envelope, seal
from .signer import Signer
from .transport import Transport

MAX_MESSAGE = 64 * 1024 * 1024
"""Characters of the longest message that is accepted, unless told otherwise."""

_INLINE = 512 * 1024  # characters; verifying more than this would hold up everybody else on the loop
_LAST_WORDS_S = 0.1  # the peer may still want to acknowledge our last message


class Channel:
    """Sends in order through one writer task; ``receive`` gives back verified messages in order."""

    def __init__(
        self,
        signer: Signer,
        send: Callable[[str], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        *,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        """``send`` carries one frame, ``close`` drops the socket; both may fail when it is gone already."""
        self._signer = signer
        self._send = send
        self._close = close
        self._transport = Transport(max_message=max_message)
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._inbound = asyncio.Lock()
        self.closing = False
        self._writer = asyncio.create_task(self._write())

    def put(self, body: str) -> None:
        """Sign and send a body after everything that was put before."""
        if not self.closing:
            self._outbox.put_nowait(body)

    def finish(self) -> None:
        """Drop the socket once everything put before has been sent."""
        if not self.closing:
            self.closing = True
            self._outbox.put_nowait(None)

    async def receive(self, frame: object, deliver: Callable[[Opened], None]) -> None:
        """Take a frame and deliver the messages that it completes. Raises DcpError when it makes no sense."""
        async with self._inbound:
            for text in self._transport.incoming(frame):
                if len(text) <= _INLINE:
                    deliver(open_envelope(text))
                else:
                    deliver(await asyncio.to_thread(open_envelope, text))

    async def _write(self) -> None:
        try:
            await self._send(self._transport.announcement())
            while (body := await self._outbox.get()) is not None:
                sealed = await seal(body, self._signer)
                frames = self._transport.outgoing(sealed)
                for frame in frames:
                    await self._send(frame)
                    if len(frames) > 1:
                        await asyncio.sleep(
                            0
                        )  # a library that only queues would never let others have a turn
            await asyncio.sleep(_LAST_WORDS_S)
        except DcpError as error:
            logger.error("a message could not be signed and sent: {}", error)
        except Exception as error:
            logger.debug("the socket is gone: {!r}", error)
        finally:
            self.closing = True
            try:
                await self._close()
            except Exception as error:
                logger.debug("closing the socket failed: {!r}", error)
