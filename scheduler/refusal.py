"""What a service answers when it does not do what was asked."""

from ..errors import DcpError


class Refused(DcpError):
    """A request that is not carried out. ``code`` and the sentence travel to whoever asked, nothing else
    does.
    """

    code = "EREFUSED"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code)
