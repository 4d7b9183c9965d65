"""JSON for payloads: orjson's speed, and the standard library where JavaScript says more than orjson takes.

That is lone surrogates (half an emoji, which JavaScript strings may hold), deep nesting, and long integers.
For text that is signed use ``js_json``, which prints exactly as JavaScript does.
"""

import json
from typing import Any, NoReturn

import orjson

from ...errors import DcpError


class JsonError(DcpError):
    """A text is no JSON, or a value cannot be JSON."""

    code = "EJSON"


def loads(text: str | bytes) -> Any:
    """Read a JSON text. NaN and infinities are refused; nesting is bounded by about a thousand."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        if b"\\u" not in text if isinstance(text, bytes) else "\\u" not in text and text.isascii():
            raise JsonError(f"not JSON: {problem}") from None
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as problem:
        raise JsonError(f"not JSON: {problem}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not allowed")


def dumps(value: Any) -> str:
    """Write a JSON text on one line, without spaces; lone surrogates as escapes, so it encodes to UTF-8."""
    try:
        return orjson.dumps(
            value, option=orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME
        ).decode()
    except TypeError:
        pass
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_unknown)
    except (ValueError, TypeError, RecursionError) as problem:
        raise JsonError(f"cannot be written as JSON: {problem}") from None


def _unknown(value: Any) -> NoReturn:
    raise TypeError(f"a {type(value).__qualname__} is no JSON value")
