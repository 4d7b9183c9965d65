"""All sockets of a switchboard: which one leads to a peer, what happens to their connections, dialling anew.

Used only by `switchboard`, and only on its thread.
"""

import random
import time
from collections.abc import Callable
from functools import partial

import zmq

from .asks import Agenda
from .curve import Authenticator, DialIn
from .links import Link, LinkEvent, Zap, dial, listen

_REDIAL_S = 0.2
_REDIAL_MAX_S = 5.0


class LinkTable:
    """The sockets, and the one poll that serves them."""

    def __init__(self, wake: int, receive: Callable[[Link], None]) -> None:
        """``wake`` is a descriptor that ends a poll; ``receive`` takes what a socket has."""
        self.agenda = Agenda()
        self._wake = wake
        self._receive = receive
        self._links: list[Link] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._zap = Zap(self._context)
        self._poller = zmq.Poller()
        self._poller.register(wake, zmq.POLLIN)
        self._poller.register(self._zap.socket, zmq.POLLIN)

    def listen(
        self, endpoint: str, curve: Authenticator | None, on_gone: Callable[[bytes], None] | None
    ) -> str:
        """Bind a socket; gives the actual endpoint."""
        return self._add(listen(self._context, endpoint, curve, self._zap.number(curve), on_gone))

    def dial(
        self,
        peer: bytes,
        endpoint: str,
        curve: DialIn | None,
        on_link: Callable[[LinkEvent], None] | None,
    ) -> str:
        """Connect a socket that leads to one peer."""
        return self._add(dial(self._context, peer, endpoint, curve, on_link))

    def find(self, peer: bytes) -> Link | None:
        """Give the socket that leads to a peer."""
        return next((link for link in self._links if link.owns(peer)), None)

    def wait(self) -> set[object]:
        """Do what is due, and sleep until something happens; gives what is ready, for `serve`."""
        return {item for item, _ in self._poller.poll(self.agenda.work_off())}

    def serve(self, ready: set[object]) -> None:
        """Take what has come."""
        if self._zap.socket in ready:
            self._zap.answer()
        for link in list(self._links):
            if link.socket in ready or link.monitor in ready:
                self._serve(link)

    def lost(self, link: Link, event: LinkEvent = LinkEvent.DOWN) -> None:
        """A connection that this process has dialled is of no use any more: dial anew, after a while.

        ZeroMQ's own reconnect gives up after some errors (a refused key is one) and sends what it had
        queued for the old connection to the new one; a fresh socket does neither.
        """
        self._remove(link)
        self._tell(link, event)
        link.broken += 1
        wait = min(_REDIAL_MAX_S, _REDIAL_S * 2 ** min(link.broken - 1, 10)) * random.uniform(0.5, 1.0)
        self.agenda.at(time.monotonic() + wait, partial(self._redial, link))

    def close(self, linger_ms: int) -> None:
        """Close everything; what is queued for peers may take ``linger_ms`` more."""
        for link in self._links:
            link.close(linger_ms)
        self._zap.socket.close(0)
        self._context.term()

    def _add(self, link: Link) -> str:
        self._links.append(link)
        self._poller.register(link.socket, zmq.POLLIN)
        if link.monitor is not None:
            self._poller.register(link.monitor, zmq.POLLIN)
        return link.endpoint

    def _remove(self, link: Link) -> None:
        self._links.remove(link)
        self._poller.unregister(link.socket)
        if link.monitor is not None:
            self._poller.unregister(link.monitor)
        link.close(0)

    def _serve(self, link: Link) -> None:
        gone = link.gone_peers() if link.on_gone is not None else ()
        self._receive(link)
        for peer in gone:  # after what it had sent before its end
            assert link.on_gone is not None
            link.on_gone(peer)
        if link.peer and link in self._links:
            self._follow(link)

    def _follow(self, link: Link) -> None:
        for event in link.link_events():
            if event is LinkEvent.UP:
                link.broken = 0
                self._tell(link, event)
            else:
                self._receive(link)
                self.lost(link, event)
                return

    def _redial(self, link: Link) -> None:
        fresh = dial(self._context, link.peer, link.endpoint, link.curve, link.on_link)
        fresh.broken = link.broken
        self._add(fresh)

    def _tell(self, link: Link, event: LinkEvent) -> None:
        if link.on_link is not None:
            link.on_link(event)
