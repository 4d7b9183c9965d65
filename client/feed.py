"""The way from the client's network thread to the thread, or coroutine, that waits for a job."""

import asyncio
import queue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Feed(Generic[Item]):
    """A queue with one reader, which blocks or awaits. Writing never blocks, from any thread."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def put(self, item: Item) -> None:
        """Add an item."""
        self._items.put(item)
        waiting = self._waiting
        if waiting is not None:
            loop, event = waiting
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def get(self, timeout_s: float | None = None) -> Item:
        """Wait for the next item; a Ctrl-C interrupts the wait. Raises queue.Empty when the time is up."""
        return self._items.get(timeout=timeout_s)

    async def aget(self) -> Item:
        """Wait for the next item in a coroutine."""
        event = asyncio.Event()
        self._waiting = (asyncio.get_running_loop(), event)
        try:
            while True:
                try:
                    return self._items.get_nowait()
                except queue.Empty:
                    await event.wait()
                    event.clear()
        finally:
            self._waiting = None
