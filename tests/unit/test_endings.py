"""How commands end: messages for people, exit statuses for programs."""

from collections.abc import Callable

import click
import pytest

from dcp_worker.cli import errors, logs
from dcp_worker.config.errors import ConfigError
from dcp_worker.config.model import Log
from dcp_worker.errors import DcpError


def ending_of(work: Callable[[], object]) -> int:
    """The exit status of a command that does this."""
    with pytest.raises(SystemExit) as left:
        errors.run(click.Command("dcp", callback=work, params=[]), "dcp")
    assert isinstance(left.value.code, int)
    return left.value.code


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["dcp"])


def test_statuses() -> None:
    assert ending_of(lambda: None) == 0
    assert ending_of(lambda: 7) == 7
    assert ending_of(raising(DcpError("no"))) == 1
    assert ending_of(raising(ConfigError(["no"]))) == 2
    assert ending_of(raising(click.UsageError("no"))) == 2
    assert ending_of(raising(KeyboardInterrupt())) == 130
    assert ending_of(raising(ValueError("a defect"))) == 5


def test_an_error_is_one_message_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Further lines are indented, nothing goes to stdout, there is no traceback."""
    ending_of(raising(DcpError("first\nsecond", code="EWHATEVER")))

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "dcp: first [EWHATEVER]\n    second\n"


@pytest.mark.parametrize("logging", [False, True])
def test_a_defect_shows_its_traceback_and_no_values(
    capsys: pytest.CaptureFixture[str], logging: bool
) -> None:
    """A traceback shows where; what variables hold (keys, perhaps) it does not. With and without logs."""
    logs.state.ready = False
    if logging:
        logs.set_up(Log(), "dcp")

    def work() -> object:
        key = "hunter" + "2"
        return int(key[:0])

    assert ending_of(work) == 5
    text = capsys.readouterr().err
    assert "ValueError" in text
    assert "return int(key[:0])" in text
    assert "hunter2" not in text
