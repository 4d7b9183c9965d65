"""What is wrong with a configuration, told with the place where it stands."""

from collections.abc import Iterable

from ..errors import DcpError


class ConfigError(DcpError):
    """Settings that cannot be used; the text has a line for each, with file and line, variable or flag."""

    code = "ECONFIG"
    exit_status = 2

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
