"""What the state machine of a connection tells its surroundings to do."""

from dataclasses import dataclass
from typing import Any

from .request import Request


@dataclass(frozen=True, slots=True)
class Send:
    """Sign this body and send it over the current transport, in order."""

    body: str


@dataclass(frozen=True, slots=True)
class Serve:
    """Let the application answer this request through ``respond``."""

    request: Request


@dataclass(frozen=True, slots=True)
class Settle:
    """The peer has answered our request."""

    id: str
    success: bool
    payload: Any


@dataclass(frozen=True, slots=True)
class Established:
    """There is a session now; requests may flow both ways."""

    dcpsid: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over: fail what is pending, send what is queued, drop the transport."""

    code: str
    reason: str
    graceful: bool = False


Instruction = Send | Serve | Settle | Established | Ended
