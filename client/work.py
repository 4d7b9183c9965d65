"""The work function of a job: the source text of one JavaScript function."""

import inspect
from dataclasses import dataclass
from pathlib import Path

from .errors import ClientError, NotYetError

MAX_SOURCE_BYTES = 16 * 1024 * 1024


class WorkFunctionError(ClientError):
    """The work function cannot be used."""

    code = "EWORKFUNCTION"


@dataclass(frozen=True, slots=True)
class JsFile:
    """A file that holds one JavaScript function expression, in UTF-8."""

    path: str | Path


def work_source(work: object) -> str:
    """The JavaScript source of a work function.

    ``work`` is source text (``"x => x * x"``), a JsFile or a path of a file. Raises WorkFunctionError when
    there is no source in it, and NotYetError for Python functions."""
    if isinstance(work, JsFile):
        return _read(Path(work.path))
    if isinstance(work, Path):
        return _read(work)
    if isinstance(work, str):
        return _checked(work, "The work function")
    if inspect.isroutine(work) or isinstance(work, type):
        name = getattr(work, "__name__", "it")
        raise NotYetError(
            f"The Python function {name} cannot be a work function yet: sandboxes run JavaScript and "
            f"WebAssembly. "
            "Give the source of a JavaScript function, as in compute_for(inputs, 'x => x * x'), "
            "or a file of it, as in compute_for(inputs, JsFile('work.js'))."
        )
    raise WorkFunctionError(
        f"{type(work).__name__} is no work function; give the source text of a JavaScript function, "
        "or JsFile('work.js') for a file of it."
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise WorkFunctionError(f"The work function cannot be read from {path}: {error.strerror}.") from None
    try:
        return _checked(raw.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise WorkFunctionError(f"{path} is not UTF-8 text, so it is no JavaScript source.") from None


def _checked(source: str, what: str) -> str:
    if not source.strip():
        raise WorkFunctionError(f"{what} is empty; it must be one JavaScript function, such as x => x * x.")
    if len(source) > MAX_SOURCE_BYTES:
        raise WorkFunctionError(
            f"{what} has more than {MAX_SOURCE_BYTES} bytes; large data belongs into arguments."
        )
    return source
