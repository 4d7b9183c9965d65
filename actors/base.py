"""What every actor is: a pykka actor whose mailbox is an address on the process's switchboard.

    class Echo(Actor):
        @handles(Heartbeat)
        def on_heartbeat(self, message: Heartbeat, delivery: Delivery) -> None:
            delivery.reply(message)

    Echo.start(switchboard, "echo")

Handlers run one at a time, on the actor's own thread. A handler that raises ends its actor, and through
``Switchboard.on_failure`` the process: an actor in an unknown state must not go on.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, TypeVar

import pykka
from loguru import logger

from ..protocol.switchboard import Address, Delivery, Switchboard
from .mailbox import Mailbox
from .timers import TimerHandle, timers

Method = TypeVar("Method", bound=Callable[..., None])


class _Handler(NamedTuple):
    method: str
    local_only: bool


def handles(*types: type, local_only: bool = False) -> Callable[[Method], Method]:
    """Make a method ``(self, message, delivery)`` the handler of these types of message.

    With ``local_only`` the message is dropped, with a warning, when it comes from another process.
    """

    def mark(method: Method) -> Method:
        method.__dict__["_handles"] = (types, local_only)
        return method

    return mark


class Actor(pykka.ThreadingActor):
    """Base of all actors. Start one with ``Actor.start(switchboard, name, ...)``."""

    remote: ClassVar[bool] = True
    """Whether actors of other processes may send to this one."""
    use_daemon_thread = True

    _handlers: ClassVar[dict[type, _Handler]] = {}
    actor_inbox: Mailbox

    def __init__(self, switchboard: Switchboard, name: str, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()
        self.switchboard = switchboard
        self.name = name
        self.address = Address(b"", name)
        switchboard.register(name, self.actor_inbox.deliver, remote=self.remote)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Build the table of handlers once for each class; a subclass may replace a handler of its base."""
        super().__init_subclass__(**kwargs)
        table = dict(cls._handlers)
        for name, method in vars(cls).items():
            types, local_only = getattr(method, "__dict__", {}).get("_handles", ((), False))
            table.update({handled: _Handler(name, local_only) for handled in types})
        cls._handlers = table

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox()

    # -- sending --------------------------------------------------------------------------------------------

    def tell(self, to: Address, message: Any, *bodies: bytes) -> None:
        """Send a message; an answer comes back to this actor as a message of its own."""
        self.switchboard.tell(to, message, *bodies, sender=self.name)

    def ask(self, to: Address, message: Any, *bodies: bytes, timeout: float = 30.0) -> "Future[Delivery]":
        """Send a message and give the future of its reply. Do not wait for it inside a handler."""
        return self.switchboard.ask(to, message, *bodies, timeout=timeout, sender=self.name)

    def after(self, seconds: float, message: Any) -> TimerHandle:
        """Send a message to this actor itself, later. The handle's ``cancel()`` takes it back."""
        delivery = Delivery(self.address, "local", message, (), 0, self.switchboard)
        return timers.after(seconds, lambda: self.actor_inbox.deliver(delivery))

    # -- receiving ------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> None:
        """Give a delivery to its handler (called by pykka on this actor's thread)."""
        if not isinstance(message, Delivery):
            logger.warning("{} got something that is no delivery: {}", self.name, type(message).__name__)
            return
        handler = self._handlers.get(type(message.message))
        kind = type(message.message).__name__
        if handler is None:
            self.on_unknown(message)
        elif handler.local_only and message.sender.peer:
            logger.warning("{} refuses {}: it came from another process", self.name, kind)
        else:
            getattr(self, handler.method)(message.message, message)

    def on_unknown(self, delivery: Delivery) -> None:
        """Called for messages without a handler."""
        logger.warning("{} has no use for {}; it is dropped", self.name, type(delivery.message).__name__)

    def _actor_loop_setup(self) -> None:
        """As pykka's, but a failing `on_start` is told to `on_failure` like any other failure."""
        try:
            self.on_start()
        except Exception:
            self._handle_failure(*sys.exc_info())
            self.on_failure(*sys.exc_info())

    # -- ending ---------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self.switchboard.unregister(self.name, self.actor_inbox.deliver)
        super()._stop()

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Log, leave the switchboard, and let `on_failure` decide what ends with this actor."""
        self.switchboard.unregister(self.name, self.actor_inbox.deliver)
        logger.opt(exception=(exception_type, exception_value, traceback)).error(
            "the actor {} failed and ends", self.name
        )
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()

    def on_failure(
        self,
        _exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Tell the process. An actor whose end hurts nobody else overrides this."""
        if self.switchboard.on_failure is not None and exception_value is not None:
            self.switchboard.on_failure(self.name, exception_value)
