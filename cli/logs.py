"""Logs of every program: one loguru set-up, any number of outputs at once.

Outputs are texts of the setting ``log.outputs``: ``console`` (stderr; coloured on a terminal, plain with
time and level otherwise), ``json`` (stderr, one JSON object a line), ``file:PATH``, ``json:PATH``.
``@LEVEL`` behind one gives it a level of its own. Stdout belongs to the answers of commands. Libraries that
log through the standard module come here too.
"""

import json
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from ..errors import DcpError

if TYPE_CHECKING:
    from loguru import Message, Record

    from ..config.model import Log

LEVELS = {"trace", "debug", "info", "warning", "error"}
LIBRARIES = {
    "asyncio": "WARNING",
    "aiohttp": "WARNING",
    "engineio": "ERROR",
    "socketio": "ERROR",
    "pykka": "WARNING",
}

_SECRET = re.compile(
    r"(?i)(\"?(?:private_?key|pass_?phrase|password|(?:join_?)?secret|secret_?key)\"?\s*[:=]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,}]+)"
)


class _State:
    """Whether the outputs are ours; loguru's own default one prints the values of variables."""

    ready = False


state = _State()


class LogOutputError(DcpError):
    """An output of the logs cannot be used."""

    code = "ELOGOUTPUT"
    exit_status = 2


def set_up(settings: "Log", program: str) -> None:
    """Replace all outputs with those of the settings. Raises LogOutputError."""
    outputs = [_parsed(text, settings.level) for text in settings.outputs]
    logger.remove()
    logger.enable(__package__.partition(".")[0])  # the client keeps quiet inside other people's programs
    logger.configure(extra={}, patcher=_hide_secrets)
    for kind, target, level in outputs:
        # diagnose would print the values of variables, keys among them.
        rules: dict[str, Any] = {"level": level.upper(), "diagnose": False, "backtrace": False}
        if kind == "console":
            terminal = sys.stderr.isatty()
            logger.add(sys.stderr, format=_console_format, colorize=terminal, **rules)
        elif kind == "json":
            logger.add(_JsonLines(program, _opened(target) if target else sys.stderr), **rules)
        else:
            logger.add(_opened(target), format=_console_format, colorize=False, **rules)
    _take_over_standard_logging()
    state.ready = True


def _parsed(text: str, level: str) -> tuple[str, str, str]:
    """``"json:/var/log/dcp.log@debug"`` is ``("json", "/var/log/dcp.log", "debug")``."""
    body, at, own_level = text.rpartition("@")
    if at and own_level in LEVELS:
        text, level = body, own_level
    kind, _, target = text.partition(":")
    if (
        kind not in ("console", "json", "file")
        or (kind == "file") > bool(target)
        or (kind == "console" and target)
    ):
        raise LogOutputError(
            f"log output {text!r} is unknown; use console, json, file:PATH or json:PATH, with @LEVEL behind"
        )
    return kind, target, level


def _opened(target: str) -> TextIO:
    path = Path(target).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise LogOutputError(f"log file {path} cannot be written: {error.strerror}") from None


def _console_format(record: "Record") -> str:
    """Time, level, text, then the bound facts as ``key=value``."""
    facts = "".join(
        f" <dim>{name}={{extra[{name}]}}</dim>" for name in record["extra"] if name.isidentifier()
    )
    return (
        "<dim>{time:YYYY-MM-DD HH:mm:ss.SSS}</dim> <level>{level: <7}</level> {message}"
        + facts
        + "\n{exception}"
    )


class _JsonLines:
    """A sink that writes one object a record: time, level, program, message, module, and the bound facts."""

    def __init__(self, program: str, stream: TextIO) -> None:
        self._program = program
        self._stream = stream

    def write(self, message: "Message") -> None:
        record = message.record
        fact: dict[str, Any] = {
            "time": record["time"].isoformat(),
            "level": record["level"].name.lower(),
            "program": self._program,
            "pid": record["process"].id,
            "module": record["name"],
            "message": record["message"],
        }
        fact.update({name: value for name, value in record["extra"].items() if name not in fact})
        if record["exception"] is not None:
            fact["exception"] = _hidden(str(message).partition("\n")[2].strip())
        self._stream.write(json.dumps(fact, default=str) + "\n")
        self._stream.flush()


def _hide_secrets(record: "Record") -> None:
    record["message"] = _hidden(record["message"])


def _hidden(text: str) -> str:
    """The text without what stands behind ``passphrase=``, ``"privateKey":`` and their like."""
    return _SECRET.sub(r"\1(hidden)", text)


class _ToLoguru(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.opt(exception=record.exc_info).bind(library=record.name).log(level, "{}", record.getMessage())


def _take_over_standard_logging() -> None:
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.INFO, force=True)
    for library, level in LIBRARIES.items():
        logging.getLogger(library).setLevel(level)
