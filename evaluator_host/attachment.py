"""How a host and its supervisor know that they have each other. Pure: the caller gives the time and acts.

    DOWN --link up--> HELLO --HostWelcome--> ATTACHED
    any --link down--> DOWN;  HELLO --HostRefused--> REFUSED --retry--> HELLO
    ATTACHED --silence for lost_after_s--> HELLO

A HostHello always means: this host has no sandboxes. So whenever the link breaks or the supervisor falls
silent, all sandboxes are closed; messages may have been lost, and the supervisor deals the slices anew.
"""

from dataclasses import dataclass
from enum import Enum, auto

from ..protocol.messages import PROTOCOL_VERSION, HostWelcome

HELLO_EVERY_S = 5.0
REFUSED_RETRY_S = 30.0


class State(Enum):
    """How well the two know each other."""

    DOWN = auto()  # there is no connection
    HELLO = auto()  # connected; the supervisor has not answered yet
    ATTACHED = auto()  # the host may work
    REFUSED = auto()  # the supervisor does not want this host now


class Act(Enum):
    """What the host has to do."""

    HELLO = auto()  # send HostHello
    HEARTBEAT = auto()  # send Heartbeat
    RESET = auto()  # close every sandbox, forget every job
    ATTACH = auto()  # send the allowance


@dataclass
class Attachment:
    """The state, and when something has to happen next."""

    state: State = State.DOWN
    due: float | None = None  # when to call on_time
    heartbeat_s: float = 5.0
    lost_after_s: float = 30.0
    heard_at: float = 0.0
    complaint: str = ""  # for the operator, when the state is REFUSED or silence was the reason

    def on_up(self, now: float) -> list[Act]:
        """There is a connection, a fresh one."""
        self.state, self.due, self.heard_at = State.HELLO, now + HELLO_EVERY_S, now
        return [Act.HELLO]

    def on_down(self) -> list[Act]:
        """The connection is gone."""
        self.state, self.due = State.DOWN, None
        return [Act.RESET]

    def on_welcome(self, message: HostWelcome, now: float) -> list[Act]:
        """The supervisor takes this host."""
        if message.version != PROTOCOL_VERSION:
            return self.on_refused(f"it speaks version {message.version}, this host {PROTOCOL_VERSION}", now)
        if self.state is State.DOWN:
            return []
        self.heartbeat_s = min(max(message.heartbeat_s, 0.05), 60.0)
        self.lost_after_s = min(max(message.lost_after_s, 2 * self.heartbeat_s), 3600.0)
        self.state, self.heard_at, self.due = State.ATTACHED, now, now + self.heartbeat_s
        self.complaint = ""
        return [Act.ATTACH]

    def on_refused(self, reason: str, now: float) -> list[Act]:
        """The supervisor does not take this host; perhaps later."""
        self.complaint = f"the supervisor refuses this host: {reason}"
        self.state, self.due = State.REFUSED, now + REFUSED_RETRY_S
        return [Act.RESET]

    def on_heard(self, now: float) -> None:
        """Anything from the supervisor is a sign of life."""
        self.heard_at = now

    def on_time(self, now: float) -> list[Act]:
        """To be called when ``due`` has come."""
        if self.due is None or now < self.due:
            return []
        if self.state is State.ATTACHED and now - self.heard_at < self.lost_after_s:
            self.due = now + self.heartbeat_s
            return [Act.HEARTBEAT]
        self.due = now + HELLO_EVERY_S
        if self.state is State.ATTACHED:
            self.complaint = f"the supervisor was silent for {now - self.heard_at:.0f} s"
            self.state = State.HELLO
            return [Act.RESET, Act.HELLO]
        self.state = State.HELLO
        return [Act.HELLO]
