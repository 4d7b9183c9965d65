"""The part of the supervisor that evaluator hosts talk to: attaching, living, leaving."""

import time

from loguru import logger

from ..protocol.messages import (
    PROTOCOL_VERSION,
    Allowance,
    Heartbeat,
    HostHello,
    HostLeaving,
    HostRefused,
    HostWelcome,
)
from ..protocol.switchboard import Delivery
from .base import Actor, handles
from .hands import Hands
from .local_messages import PeerGone
from .planning import Planner

HEARTBEAT_S = 5.0


class HostDesk(Actor):
    """Knows which host is where, and whether a message really comes from the host that it names."""

    _planner: Planner
    _hands: Hands
    _lost_after_s: float

    def _obey(self) -> None:
        raise NotImplementedError

    @handles(HostHello)
    def on_hello(self, message: HostHello, delivery: Delivery) -> None:
        """A host attaches, or is back after its link broke."""
        if message.version != PROTOCOL_VERSION:
            ours = f"this supervisor speaks version {PROTOCOL_VERSION}, the host version {message.version}"
            delivery.reply(HostRefused(f"{ours}; install the same release on both"))
            return
        self._hands.peers[message.host] = delivery.sender.peer
        logger.bind(host=message.host).info("host {} attached: {} cores", message.name, message.cores)
        self.tell(delivery.sender, HostWelcome(PROTOCOL_VERSION, HEARTBEAT_S, self._lost_after_s))
        self._planner.on_host_attached(time.monotonic(), message)
        self._obey()

    @handles(Heartbeat)
    def on_heartbeat(self, message: Heartbeat, delivery: Delivery) -> None:
        """A host lives; so do we."""
        if self._is_from(message.host, delivery):
            delivery.reply(message)

    @handles(Allowance)
    def on_allowance(self, message: Allowance, delivery: Delivery) -> None:
        """How much of a host may be used now."""
        if self._is_from(message.host, delivery):
            what = "host {} allows {} cores, {} sandboxes: {}"
            logger.bind(host=message.host).debug(
                what, message.host, message.cpu, message.sandboxes, message.reason
            )
            self._planner.on_allowance(time.monotonic(), message.host, message.cpu, message.sandboxes)
            self._obey()

    @handles(HostLeaving)
    def on_host_leaving(self, message: HostLeaving, delivery: Delivery) -> None:
        """A host says goodbye."""
        if self._is_from(message.host, delivery):
            logger.bind(host=message.host).info("host {} leaves: {}", message.host, message.reason)
            self._planner.on_host_left(time.monotonic(), message.host)
            self._obey()

    @handles(PeerGone, local_only=True)
    def on_peer_gone(self, message: PeerGone, _delivery: Delivery) -> None:
        """A connection has ended: the host that was behind it starts over when it comes back."""
        for host in [host for host, peer in self._hands.peers.items() if peer == message.peer]:
            if host in self._planner.hosts:
                logger.bind(host=host).warning("the connection of host {} has ended", host)
                self._planner.on_host_left(time.monotonic(), host)
        self._obey()

    def _is_from(self, host: str, delivery: Delivery) -> bool:
        """Whether a message comes from the host that it names; any such message is a sign of life."""
        if host not in self._planner.hosts:
            return False  # it was given up; as nobody answers, it says hello again
        if self._hands.peers.get(host) != delivery.sender.peer:
            logger.debug("a message in the name of host {} came from somebody else", host)
            return False
        self._planner.on_heard(time.monotonic(), host)
        return True

    def _is_sandbox_from(self, sandbox: str, delivery: Delivery) -> bool:
        box = self._planner.sandboxes.get(sandbox)
        return box is not None and self._is_from(box.host, delivery)
