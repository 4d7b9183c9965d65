"""An address, and what arrives there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..errors import DcpError


class Address(NamedTuple):
    """Where an actor is. ``peer`` is b"" for this process."""

    peer: bytes
    actor: str


class Answerer(Protocol):
    """Who carries replies: the switchboard."""

    def answer(self, delivery: "Delivery", message: Any, bodies: tuple[bytes, ...]) -> None:
        """Carry a reply."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that has arrived."""

    sender: Address
    user: str  # "local", or the public key that the peer has proved to own
    message: Any
    bodies: tuple[bytes, ...] = ()
    correlation: int = 0  # not 0 when the sender waits for a reply
    switchboard: Answerer | None = field(default=None, repr=False, compare=False)

    def reply(self, message: Any, *bodies: bytes) -> None:
        """Answer: to the waiting `Switchboard.ask`, or as a new message to the actor that sent this one."""
        if self.switchboard is None:
            raise DcpError("a delivery that came from no switchboard cannot be answered")
        self.switchboard.answer(self, message, bodies)


Put = Callable[[Delivery], None]
"""Takes a delivery into a mailbox; called from any thread, never blocks."""
