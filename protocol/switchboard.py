"""The switchboard of a process: every actor in it is an address, near or far.

One thread owns the process's ZeroMQ sockets. ``tell`` and ``ask`` may be called from any thread and never
block: a message to an actor of the same process goes straight into its mailbox, any other one is queued for
the owning thread. Order is kept from one sender to one target either way. Delivery is at most once: what
was queued or on the wire when a connection broke is lost, and the actors' own protocol (commit before
acknowledge, heartbeats) covers that.

A peer that dials in is known by a name that ZeroMQ makes up anew for every connection; a peer that this
process has dialled is known by the name given to `Switchboard.connect`.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import zmq
from loguru import logger

from .asks import Asks
from .curve import Authenticator, DialIn
from .delivery import Address, Delivery, Put
from .framing import FramingError, Header, Kind, decode, decode_header, encode, encode_header
from .link_table import LinkTable
from .links import Incoming, Link, LinkEvent, SwitchboardError

__all__ = ["Address", "Delivery", "LinkEvent", "Switchboard", "SwitchboardError"]

_FAIR_SHARE = 256  # messages taken from one socket before the others have their turn


class _Target(NamedTuple):
    put: Put
    remote: bool


class _Outgoing(NamedTuple):
    to: Address
    header: Header
    message: Any
    bodies: tuple[bytes, ...]


class Switchboard:
    """Carries messages between the actors of this process and those of its peers."""

    def __init__(
        self,
        name: bytes | str,
        *,
        on_unroutable: Callable[[Address, Any], None] | None = None,
        on_failure: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        """``name`` is what peers call this process; messages to that peer stay in the process.

        ``on_unroutable`` is told of messages whose peer or actor does not exist (on any thread).
        ``on_failure`` is told when an actor has failed; the process should end then.
        """
        self.name = name.encode() if isinstance(name, str) else name
        self.on_unroutable = on_unroutable
        self.on_failure = on_failure
        self.on_stray: Callable[[str, Delivery], None] | None = None  # for peers' messages to absent actors
        self._targets: dict[str, _Target] = {}
        self._outbox: deque[_Outgoing | Callable[[], None]] = deque()
        self._awake = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._asks = Asks()
        self._links = LinkTable(self._wake, self._receive)
        self._closed = False
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._linger_ms = 0

    # -- any thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread that owns the sockets."""
        self._thread = threading.Thread(target=self._run, name="switchboard", daemon=True)
        self._thread.start()

    def stop(self, linger_s: float = 1.0) -> None:
        """Send what is queued, waiting for peers at most ``linger_s``, and close. Asks still open fail."""

        if self._closed:
            return
        self._linger_ms = int(linger_s * 1000)
        if self._thread is None:
            self._close()
        elif self._thread is not threading.current_thread():
            self._post(lambda: setattr(self, "_stopping", True))
            self._thread.join()

    def bind(
        self,
        endpoint: str,
        curve: Authenticator | None = None,
        on_gone: Callable[[bytes], None] | None = None,
    ) -> str:
        """Accept peers at an endpoint; gives the actual one (``tcp://127.0.0.1:*`` takes any free port).

        ``on_gone`` is told, on the owning thread, of each peer whose connection has ended.
        """
        return self._on_owner(lambda: self._links.listen(endpoint, curve, on_gone))

    def connect(
        self,
        peer: bytes,
        endpoint: str,
        curve: DialIn | None = None,
        on_link: Callable[[LinkEvent], None] | None = None,
    ) -> None:
        """Dial the process at an endpoint and call it ``peer``. Reconnects by itself; ``on_link`` is told."""
        self._on_owner(lambda: self._links.dial(peer, endpoint, curve, on_link))

    def register(self, actor: str, put: Put, *, remote: bool = True) -> None:
        """Give an actor its address. ``put`` is called from any thread and must not block.

        With ``remote=False`` only actors of this process reach it.
        """
        if actor in self._targets:
            raise SwitchboardError(f"there is already an actor named {actor!r} in this process")
        self._targets[actor] = _Target(put, remote)

    def unregister(self, actor: str, put: Put | None = None) -> None:
        """Take an actor's address away; with ``put``, only if it is still that actor's."""
        target = self._targets.get(actor)
        if target is not None and (put is None or target.put == put):
            self._targets.pop(actor, None)

    def tell(self, to: Address, message: Any, *bodies: bytes, sender: str = "") -> None:
        """Send a message."""
        if self._is_here(to.peer):
            delivery = Delivery(Address(b"", sender), "local", message, bodies, 0, self)
            if not self._deliver(to.actor, delivery):
                self._unroutable(to, message, "no such actor here")
        else:
            self._post(_Outgoing(to, Header(Kind.TELL, to.actor, sender, 0), message, bodies))

    def ask(
        self, to: Address, message: Any, *bodies: bytes, timeout: float = 30.0, sender: str = ""
    ) -> "Future[Delivery]":
        """Send a message and give the future of its reply; TimeoutError after ``timeout`` seconds."""
        here = self._is_here(to.peer)
        number, future = self._asks.open(b"" if here else to.peer)
        due = time.monotonic() + timeout
        expire, wanted = partial(self._asks.expire, number), partial(self._asks.is_open, number)
        self._post(lambda: self._links.agenda.at(due, expire, wanted))
        if here:
            delivery = Delivery(Address(b"", sender), "local", message, bodies, number, self)
            if not self._deliver(to.actor, delivery):
                self._asks.fail(number, SwitchboardError(f"there is no actor named {to.actor!r} here"))
        else:
            self._post(_Outgoing(to, Header(Kind.ASK, to.actor, sender, number), message, bodies))
        return future

    def answer(self, delivery: Delivery, message: Any, bodies: tuple[bytes, ...]) -> None:
        """Answer a delivery; see `Delivery.reply`."""
        to = delivery.sender
        if not delivery.correlation:
            if to.actor:
                self.tell(to, message, *bodies)
        elif self._is_here(to.peer):
            reply = Delivery(Address(b"", ""), "local", message, bodies, 0, self)
            self._asks.settle(delivery.correlation, b"", reply)
        else:
            header = Header(Kind.REPLY, to.actor, "", delivery.correlation)
            self._post(_Outgoing(to, header, message, bodies))

    # -- helpers of any thread ------------------------------------------------------------------------------

    def _is_here(self, peer: bytes) -> bool:
        return not peer or peer == self.name

    def _post(self, item: _Outgoing | Callable[[], None]) -> None:
        self._outbox.append(item)
        if (
            not self._awake
        ):  # a needless wake is cheap, a lost one is not: the owner clears this before it drains
            self._awake = True
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def _on_owner(self, action: Callable[[], str]) -> str:
        if self._thread is None or self._thread is threading.current_thread():
            return action()
        done: Future[str] = Future()

        def run() -> None:
            try:
                done.set_result(action())
            except BaseException as error:
                done.set_exception(error)

        self._post(run)
        return done.result()

    def _deliver(self, actor: str, delivery: Delivery) -> bool:
        target = self._targets.get(actor)
        if target is None or (delivery.sender.peer and not target.remote):
            return False
        target.put(delivery)
        return True

    def _unroutable(self, to: Address, message: Any, why: str) -> None:
        logger.debug("{} for {} is dropped: {}", type(message).__name__, to.actor, why)
        if self.on_unroutable is not None:
            self.on_unroutable(to, message)

    # -- the owner of the sockets ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                ready = self._links.wait()
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                self._awake = False
                self._drain()
                self._links.serve(ready)
        except Exception as error:
            logger.exception("the switchboard failed")
            if self.on_failure is not None:
                self.on_failure("switchboard", error)
        finally:
            self._drain()
            self._close()

    def _drain(self) -> None:
        while self._outbox:
            item = self._outbox.popleft()
            if callable(item):
                item()
            else:
                self._send(item)

    def _send(self, item: _Outgoing) -> None:
        header = item.header
        link = self._links.find(item.to.peer)
        why: str
        if link is None:
            why = "no such peer"
        else:
            try:
                frame = b"" if header.kind is Kind.NOBODY else encode(item.message)
                link.send(item.to.peer, encode_header(header), frame, item.bodies)
            except FramingError as error:
                logger.error("a message of this program is wrong: {}", error)
                why = str(error)
            except zmq.ZMQError as error:
                why = "the peer is gone"
                if error.errno != zmq.EHOSTUNREACH:
                    why = "the peer does not read"
                    if link.peer:  # what is dropped must be noticed: start over
                        self._links.lost(link)
            else:
                return
        if header.kind is Kind.ASK:
            self._asks.fail(header.correlation, SwitchboardError(f"{header.target} cannot be reached: {why}"))
        self._unroutable(item.to, item.message, why)

    def _receive(self, link: Link) -> None:
        for _ in range(_FAIR_SHARE):
            incoming = link.receive()
            if incoming is None:
                return
            try:
                self._accept(link, incoming)
            except FramingError as error:
                link.complain(incoming, str(error))

    def _accept(self, link: Link, incoming: Incoming) -> None:
        frames = incoming.frames
        if link.authenticator is not None and not link.authenticator.still_authorised(incoming.user):
            raise FramingError("its key is no longer authorised")
        if len(frames) < 2:
            raise FramingError("a message has a header and a message frame at least")
        header = decode_header(frames[0])
        if header.kind is Kind.NOBODY:
            error = SwitchboardError("the peer has no actor of that name")
            self._asks.fail(header.correlation, error, incoming.peer)
            return
        sender = Address(incoming.peer, header.sender)
        number = 0 if header.kind is Kind.TELL else header.correlation
        message, bodies = decode(frames[1]), tuple(frames[2:])
        delivery = Delivery(sender, incoming.user, message, bodies, number, self)
        if header.kind is Kind.REPLY:
            self._asks.settle(number, incoming.peer, delivery)
        elif not self._deliver(header.target, delivery):
            if self.on_stray is not None:
                self.on_stray(header.target, delivery)
            elif header.kind is Kind.ASK:
                self._send(_Outgoing(sender, Header(Kind.NOBODY, header.sender, "", number), None, ()))
            logger.debug("{} came for {!r}, which is not here", type(message).__name__, header.target)

    def _close(self) -> None:
        self._asks.fail_all()
        self._closed = True
        self._links.close(self._linger_ms)

    def __del__(self) -> None:
        # not in _close: a tell from another thread may still be on its way to the descriptor
        if hasattr(self, "_wake"):
            os.close(self._wake)
