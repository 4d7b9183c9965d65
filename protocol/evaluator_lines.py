"""The line protocol between an evaluator host and our sandbox environment (docs/architecture.md has the
table).

Lines are UTF-8 with a line feed. Towards the sandbox: ``encode_assign``, ``encode_run``, ``DIE``. From
it: a ``LineReader`` for each sandbox turns lines into the small types below, and pairs a header with the
payload line that follows it. Everything that comes out of a sandbox is hostile: a header is bounded and
checked, payloads stay opaque bytes. Whether run and slice are the ones expected is for the reader's owner
to check.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ..errors import DcpError

MAX_HEADER = 1 << 20  # bytes of a MSG:, LOG: or DIE: line
MAX_NUMBER = 2**53 - 1

DIE = b'{"type":"die"}\n'


class LineError(DcpError):
    """A sandbox said something that makes no sense; it is to be killed."""

    code = "EPROTOCOL"


@dataclass(frozen=True, slots=True)
class Cost:
    """What slices have cost: times in milliseconds, sizes as characters of JSON text."""

    wall_ms: float
    cpu_ms: float
    gpu_ms: float
    in_bytes: int
    out_bytes: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The environment is loaded; the sandbox can take its job."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The job is set up; runs are welcome."""


@dataclass(frozen=True, slots=True)
class AssignFailed:
    """The job cannot be set up, e.g. for a syntax error in its work function."""

    name: str
    message: str
    stack: str


@dataclass(frozen=True, slots=True)
class ResultsLine:
    """Results of consecutive slices. body is their values body."""

    run: int
    first: int
    count: int
    cost: Cost
    body: bytes


@dataclass(frozen=True, slots=True)
class FailedLine:
    """The work function threw. body is the KVIN node of the error."""

    run: int
    slice: int
    message: str
    cost: Cost
    body: bytes


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """The work function called work.reject; the sandbox has ended itself."""

    run: int
    slice: int
    reason: str
    retries: int


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """How far a slice is: 0..1, or -1 when it does not say."""

    run: int
    slice: int
    progress: float


@dataclass(frozen=True, slots=True)
class EventLine:
    """Console output or work.emit. body is the JSON text of the DCP event payload; slice 0 is outside a
    slice.
    """

    slice: int
    event: str  # "console" or "custom"
    body: bytes


@dataclass(frozen=True, slots=True)
class FinishedLine:
    """Every slice of the run has had its outcome."""

    run: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """Something the environment wants in the host's log."""

    text: str


@dataclass(frozen=True, slots=True)
class DieLine:
    """Why the sandbox is about to end."""

    text: str


Line = (
    Ready
    | Assigned
    | AssignFailed
    | ResultsLine
    | FailedLine
    | RejectedLine
    | ProgressLine
    | EventLine
    | FinishedLine
    | LogLine
    | DieLine
)


def encode_assign(
    *,
    job: str,
    work_function: str,
    arguments: bytes | str = b"[]",
    name: str = "",
    description: str = "",
    link: str = "",
    worktime: str = "map-basic",
    use_strict: bool = False,
    kvin_version: str = "v8",
    input_range: str = "",
    progress_throttle_s: float = 0.25,
) -> bytes:
    """The assign line. ``arguments`` is a values body, ``input_range`` the JSON text of a range object or "".

    Raises LineError when one of these two texts would break the line.
    """
    body = arguments.decode() if isinstance(arguments, bytes) else arguments
    for what, text in (("arguments", body), ("range", input_range)):
        if "\n" in text or "\r" in text:
            raise LineError(f"the {what} of job {job} must be JSON on one line")
    public = {
        key: text for key, text in (("name", name), ("description", description), ("link", link)) if text
    }
    rest = {
        "id": job,
        "public": public,
        "worktime": worktime,
        "useStrict": use_strict,
        "kvin": kvin_version,
        "workFunction": work_function,
    }
    # json, not orjson: a work function may hold half a surrogate pair, which only ASCII escapes can carry
    head = json.dumps(rest)[:-1]
    return (
        f'{{"type":"assign","job":{head},"range":{input_range or "null"}}},'
        f'"arguments":{body},"progressThrottle":{progress_throttle_s}}}\n'
    ).encode()


def encode_run(run: int, first: int, count: int, values: bytes | None = None) -> bytes:
    """The run line, with the values body behind it unless the job counts through a range.

    Raises LineError for a values body of more than one line.
    """
    has_values = "true" if values is not None else "false"
    header = f'{{"type":"run","run":{run},"first":{first},"count":{count},"values":{has_values}}}\n'.encode()
    if values is None:
        return header
    if b"\n" in values:
        raise LineError(f"the values of run {run} must be on one line")
    return b"".join((header, values, b"\n"))


class LineReader:
    """Reads what one sandbox says. Keeps a header that waits for its payload between calls."""

    def __init__(self) -> None:
        self._waiting: Mapping[str, Any] | None = None

    def read(self, lines: Iterable[bytes]) -> Iterator[Line]:
        """The complete messages in these lines, in order. Raises LineError: kill the sandbox then."""
        for line in lines:
            if self._waiting is not None:
                header, self._waiting = self._waiting, None
                yield _with_payload(header, line)
                continue
            if len(line) > MAX_HEADER:
                raise LineError(f"a header line of {len(line)} bytes")
            kind, rest = line[:4], line[4:]
            if kind == b"MSG:":
                header = _parse(rest)
                if header.get("type") in _WITH_PAYLOAD:
                    self._waiting = header
                else:
                    yield _alone(header)
            elif kind == b"LOG:":
                yield LogLine(rest.decode(errors="replace"))
            elif kind == b"DIE:":
                yield DieLine(rest.decode(errors="replace").strip())
            else:
                raise LineError(f"a line that is no message: {line[:80]!r}")


_WITH_PAYLOAD = ("results", "failed", "event")


def _parse(text: bytes) -> Mapping[str, Any]:
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise LineError(f"a message that is no JSON ({error}): {text[:80]!r}") from error
    if not isinstance(header, dict):
        raise LineError(f"a message that is no object: {text[:80]!r}")
    return header


def _alone(header: Mapping[str, Any]) -> Line:
    match header.get("type"):
        case "ready":
            return Ready()
        case "assigned":
            return Assigned()
        case "assignFailed":
            error = header.get("error")
            if not isinstance(error, dict):
                raise LineError("assignFailed without an error")
            return AssignFailed(_text(error, "name"), _text(error, "message"), _text(error, "stack", ""))
        case "rejected":
            return RejectedLine(
                _whole(header, "run"),
                _whole(header, "slice"),
                _text(header, "reason"),
                _whole(header, "retries"),
            )
        case "progress":
            return ProgressLine(_whole(header, "run"), _whole(header, "slice"), _progress(header))
        case "finished":
            return FinishedLine(_whole(header, "run"))
        case other:
            raise LineError(f"a message of unknown type {str(other)[:80]!r}")


def _with_payload(header: Mapping[str, Any], body: bytes) -> Line:
    match header["type"]:
        case "results":
            count = _whole(header, "count")
            if count < 1:
                raise LineError("results of no slice")
            return ResultsLine(_whole(header, "run"), _whole(header, "first"), count, _cost(header), body)
        case "failed":
            return FailedLine(
                _whole(header, "run"), _whole(header, "slice"), _text(header, "message"), _cost(header), body
            )
        case _:
            event = _text(header, "event")
            if event not in ("console", "custom"):
                raise LineError(f"an event of unknown kind {event[:80]!r}")
            return EventLine(_whole(header, "slice"), event, body)


def _cost(header: Mapping[str, Any]) -> Cost:
    return Cost(
        _amount(header, "wall"),
        _amount(header, "cpu"),
        _amount(header, "gpu"),
        _whole(header, "in"),
        _whole(header, "out"),
    )


def _whole(header: Mapping[str, Any], name: str) -> int:
    value = header.get(name)
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise LineError(f"{header.get('type')}: {name} is no whole number: {str(value)[:80]!r}")
    return value


def _number(header: Mapping[str, Any], name: str) -> float:
    value = header.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise LineError(f"{header.get('type')}: {name} is no number: {str(value)[:80]!r}")
    return float(value)


def _amount(header: Mapping[str, Any], name: str) -> float:
    return max(0.0, _number(header, name))


def _progress(header: Mapping[str, Any]) -> float:
    value = _number(header, "progress")
    return value if 0.0 <= value <= 1.0 else -1.0


def _text(header: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = header.get(name, default)
    if not isinstance(value, str):
        raise LineError(f"{header.get('type')}: {name} is no text")
    return value
