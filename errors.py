"""The base of every error that this package raises on purpose."""


class DcpError(Exception):
    """Something went wrong that a person can act on.

    The text says what happened and what to do next; programs print it without a traceback.
    ``code`` is the short name that travels on the wire and in ``--json`` output, ``exit_status`` what
    a program that it ends leaves with (``cli.errors``).
    """

    code = "EDCP"
    exit_status = 1

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
