"""One ZeroMQ ROUTER socket of a switchboard: how it is set up, and how frames go in and out.

Used only by `switchboard`, and only on its thread.
"""

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import zmq
from loguru import logger
from zmq.utils.monitor import parse_monitor_message

from ..errors import DcpError
from .curve import Authenticator, DialIn, to_z85

MAX_FRAME_BYTES = 256 << 20
"""Largest body; a peer that sends a larger frame is disconnected by ZeroMQ before the frame is in memory."""
MAX_BODIES = 64
ZERO_COPY_BYTES = 64 << 10
"""From this size on a body is not copied on its way into ZeroMQ."""
MAX_QUEUED = 100_000
"""Messages that wait for one peer; the real bound is the supervisor's credit, this one catches mistakes."""
_MAX_IPC_PATH = 107
_HEARTBEAT_MS = 5_000
_SILENCE_MS = 15_000
_COMPLAIN_EVERY_S = 10.0
_MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)


class SwitchboardError(DcpError):
    """An endpoint cannot be used, or a message cannot be delivered."""

    code = "ESWITCHBOARD"


class LinkEvent(StrEnum):
    """What happened to the connection that this process has dialled."""

    UP = "up"  # connected and, with CURVE, accepted
    DOWN = "down"  # the connection broke and will be dialled again
    REFUSED = "refused"  # the other side does not accept our key; it will be asked again


@dataclass
class Incoming:
    """A message as it came off a socket, nothing decoded yet."""

    peer: bytes
    user: str
    frames: list[bytes]


@dataclass
class Link:
    """A bound or connected socket. Peers of a bound one are named by ``prefix`` and ZeroMQ's routing id."""

    socket: "zmq.Socket[bytes]"
    endpoint: str
    prefix: bytes
    peer: bytes = b""
    authenticator: Authenticator | None = None
    on_link: Callable[[LinkEvent], None] | None = None
    monitor: "zmq.Socket[bytes] | None" = None
    curve: DialIn | None = None
    on_gone: Callable[[bytes], None] | None = None
    descriptors: dict[int, bytes] = field(default_factory=dict)  # of a bound socket's connections -> peer
    broken: int = 0  # how often in a row the connection broke or was refused
    suppressed: int = 0  # bad messages since the last line in the log about one
    complained_at: float = 0.0

    def owns(self, peer: bytes) -> bool:
        """Tell whether messages to this peer go through this socket."""
        return peer == self.peer if self.peer else peer[:1] == self.prefix

    def send(self, peer: bytes, header: bytes, message: bytes, bodies: tuple[bytes, ...]) -> None:
        """Queue one message. ZMQError: EHOSTUNREACH, the peer is gone; EAGAIN, it does not read."""
        routing_id = peer if self.peer else peer[1:]
        socket = self.socket
        socket.send(routing_id, zmq.SNDMORE | zmq.DONTWAIT)
        socket.send(header, zmq.SNDMORE | zmq.DONTWAIT)
        if not bodies:
            socket.send(message, zmq.DONTWAIT)
            return
        socket.send(message, zmq.SNDMORE | zmq.DONTWAIT)
        last = len(bodies) - 1
        for index, body in enumerate(bodies):
            flags = zmq.DONTWAIT if index == last else zmq.SNDMORE | zmq.DONTWAIT
            socket.send(body, flags, copy=len(body) < ZERO_COPY_BYTES)

    def receive(self) -> Incoming | None:
        """Take the next message, or None when there is none. Frames beyond the allowed number are dropped."""
        try:
            first = self.socket.recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        user = "local"
        if self.authenticator is not None:
            user = str(first.get("User-Id"))
        peer = self.peer or self.prefix + first.bytes
        if self.on_gone is not None:
            self.descriptors[int(first.get(zmq.SRCFD))] = peer
        frames: list[bytes] = []
        while self.socket.getsockopt(zmq.RCVMORE):
            frame = self.socket.recv(zmq.DONTWAIT)
            if len(frames) <= MAX_BODIES + 2:
                frames.append(frame)
        return Incoming(peer, user, frames)

    def link_events(self) -> list[LinkEvent]:
        """Give what happened to a connecting socket since the last call."""
        events: list[LinkEvent] = []
        while self.monitor is not None:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))["event"]
            except zmq.Again:
                break
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                events.append(LinkEvent.UP)
            elif event == zmq.EVENT_DISCONNECTED:
                events.append(LinkEvent.DOWN)
            else:
                events.append(LinkEvent.REFUSED)
        return events

    def gone_peers(self) -> list[bytes]:
        """Give the peers of a bound socket whose connection has ended since the last call.

        To be called before `receive`: the system may use a descriptor again for the next connection.
        """
        gone: list[bytes] = []
        while self.monitor is not None and int(self.monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))
            peer = self.descriptors.pop(event["value"], None)
            if peer is not None:
                gone.append(peer)
        return gone

    def complain(self, incoming: Incoming, why: str) -> None:
        """Log that a bad message was dropped, at most one line in 10 s."""
        now = time.monotonic()
        if self.complained_at and now - self.complained_at < _COMPLAIN_EVERY_S:
            self.suppressed += 1
            return
        logger.bind(user=incoming.user).warning(
            "a message from a peer at {} is dropped: {} ({} others were since the last such line)",
            self.endpoint,
            why,
            self.suppressed,
        )
        self.suppressed, self.complained_at = 0, now

    def close(self, linger_ms: int) -> None:
        """Close; what is still queued for peers may take ``linger_ms`` more."""
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close(0)
        self.socket.close(linger_ms)


class Zap:
    """The place where ZeroMQ asks whether a peer may attach; one for each context."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._authenticators: list[Authenticator | None] = []
        self.socket = context.socket(zmq.REP)
        self.socket.bind("inproc://zeromq.zap.01")

    def number(self, authenticator: Authenticator | None) -> int:
        """Give a bound socket its number, which is also its ZAP domain."""
        self._authenticators.append(authenticator)
        return len(self._authenticators)

    def answer(self) -> None:
        """Answer one request. Where there are no keys (ipc) the private folder has decided already."""
        request = self.socket.recv_multipart()
        domain = request[2] if len(request) > 2 else b""
        authenticator = self._authenticators[int(domain) - 1] if domain else None
        if authenticator is None:
            self.socket.send_multipart([b"1.0", request[1], b"200", b"OK", b"local", b""])
        else:
            self.socket.send_multipart(authenticator.answer(request))


def _router(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.setsockopt(zmq.SNDHWM, MAX_QUEUED)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, _SILENCE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5_000)
    if endpoint.startswith("tcp://["):
        socket.setsockopt(zmq.IPV6, 1)
    return socket


def listen(
    context: "zmq.Context[zmq.Socket[bytes]]",
    endpoint: str,
    curve: Authenticator | None,
    index: int,
    on_gone: Callable[[bytes], None] | None,
) -> Link:
    """Bind a socket. ``ipc`` needs no keys (its folder is private), ``tcp`` always does."""
    check_endpoint(endpoint, curve is not None)
    if endpoint.startswith("ipc://"):
        private_folder(Path(endpoint[len("ipc://") :]).parent)
    socket = _router(context, endpoint)
    if curve is not None:
        public, secret = curve.key.zmq_pair
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"%d" % index)
    monitor = None if on_gone is None else socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if monitor is not None:
            socket.disable_monitor()
            monitor.close(0)
        socket.close(0)
        raise SwitchboardError(
            f"cannot listen on {endpoint}: {error.strerror or error}; is another program using it?"
        ) from None
    actual = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return Link(socket, actual, prefix=bytes([index]), authenticator=curve, monitor=monitor, on_gone=on_gone)


def dial(
    context: "zmq.Context[zmq.Socket[bytes]]",
    peer: bytes,
    endpoint: str,
    curve: DialIn | None,
    on_link: Callable[[LinkEvent], None] | None,
) -> Link:
    """Connect a socket to the one peer behind an endpoint, to be addressed as ``peer`` from now on."""
    check_endpoint(endpoint, curve is not None)
    socket = _router(context, endpoint)
    if curve is not None:
        public, secret = curve.key.zmq_pair
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, to_z85(curve.server))
    monitor = socket.get_monitor_socket(_MONITORED)
    socket.setsockopt(zmq.CONNECT_ROUTING_ID, peer)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.disable_monitor()
        monitor.close(0)
        socket.close(0)
        raise SwitchboardError(f"cannot connect to {endpoint}: {error.strerror or error}") from None
    return Link(socket, endpoint, prefix=b"", peer=peer, on_link=on_link, monitor=monitor, curve=curve)


def check_endpoint(endpoint: str, has_curve: bool) -> None:
    """Refuse endpoints that cannot work or that would let anybody in. Raises SwitchboardError."""
    if endpoint.startswith("tcp://"):
        if not has_curve:
            raise SwitchboardError(
                f"{endpoint} needs keys: anybody who reaches a tcp port without CURVE could pose as a host"
            )
        return
    if not endpoint.startswith("ipc:///"):
        raise SwitchboardError(f"{endpoint!r:.200} is no endpoint; use ipc:///PATH or tcp://ADDRESS:PORT")
    path = endpoint[len("ipc://") :].encode()
    if len(path) > _MAX_IPC_PATH:
        raise SwitchboardError(
            f"{endpoint} is too long: the path of a local socket has at most {_MAX_IPC_PATH} bytes, this one "
            f"has {len(path)}; choose a shorter folder"
        )


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter, or check that it is one. Raises SwitchboardError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as error:
        raise SwitchboardError(
            f"cannot make the folder {folder} for local sockets: {error.strerror}"
        ) from None
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
        raise SwitchboardError(
            f"{folder} holds sockets that accept whoever can open them, so it must be private; "
            f"run: chmod 700 {folder}"
        )
