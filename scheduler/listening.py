"""A listening socket that whoever started this process has opened for it; early clients wait in its queue."""

import os
import socket

from ..errors import DcpError

LISTEN_FD = "DCP_LISTEN_FD"
"""Environment variable with the number of the file; it wins over host and port."""


def inherited_socket() -> socket.socket | None:
    """The inherited socket, or None. It is given out once, and children do not inherit it again."""
    number = os.environ.pop(LISTEN_FD, "")
    if not number:
        return None
    try:
        listener = socket.socket(fileno=int(number))
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except (OSError, ValueError) as error:
        raise DcpError(f"${LISTEN_FD} is {number!r}, which is no socket: {error}.", code="ELISTEN") from None
    if not listening:
        raise DcpError(f"${LISTEN_FD} is {number}, which is a socket that does not listen.", code="ELISTEN")
    listener.set_inheritable(False)
    return listener
