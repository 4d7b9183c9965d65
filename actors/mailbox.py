"""The mailbox of an actor: what pykka reads from, and what the switchboard puts into."""

from queue import SimpleQueue
from typing import Any

from pykka._envelope import Envelope

from ..protocol.switchboard import Delivery


class Mailbox:
    """Deliveries in the order of their arrival, from any thread.

    A SimpleQueue carries five times as many messages as the queue that pykka makes by default.
    It has no limit of its own: the supervisor's credits bound what is under way.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[Envelope[Any]] = SimpleQueue()
        self.put = self._queue.put
        self.get = self._queue.get
        self.empty = self._queue.empty
        self.qsize = self._queue.qsize

    def deliver(self, delivery: Delivery) -> None:
        """Put a delivery in; this is what the switchboard calls."""
        self.put(Envelope(delivery))
