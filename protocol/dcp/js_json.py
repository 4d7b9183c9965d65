"""JSON text exactly as JavaScript's ``JSON.stringify`` prints it, and a bounded reader.

A DCP peer signs the text of a message, and its reader may parse and re-stringify it before it checks the
signature. So our text must equal JavaScript's to the character: number forms, integer-like keys first, no
spaces, non-ASCII literal, lone surrogates as lower-case ``\\udxxx``.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import orjson

from ...errors import DcpError

MAX_TEXT = 256 * 1024 * 1024
"""Characters that ``loads`` accepts unless told otherwise."""

_SAFE_INTEGER = 2**53
_MAX_ARRAY_INDEX = 2**32 - 2  # larger integers are ordinary property names to JavaScript
_SURROGATE = re.compile("[\ud800-\udfff]")
_PARTS = re.compile(r"(\d)(?:\.(\d+))?e([+-]\d+)$")
_INTEGER_KEY = re.compile(r"(?:0|[1-9][0-9]{0,9})\Z")


class JsJsonError(DcpError):
    """A value that JSON cannot hold, or a text that is not JSON."""

    code = "EJSON"


def dumps(value: Any) -> str:
    """Print dicts with str keys, lists, tuples, str, int, float, bool and None as JavaScript would.

    Numbers are JavaScript's: an int beyond 2**53 is rounded to a double; NaN and infinity print as ``null``.
    """
    try:
        if _prints_alike(value):
            return orjson.dumps(value).decode()
    except (orjson.JSONEncodeError, RecursionError):
        pass  # a lone surrogate, or deeper than orjson goes: the exact printer decides
    parts: list[str] = []
    try:
        _print(value, parts)
    except RecursionError:
        raise JsJsonError("the value is nested too deeply for JSON; make it flatter") from None
    return "".join(parts)


def loads(text: str | bytes, *, max_size: int = MAX_TEXT) -> Any:
    """Parse JSON text like ``JSON.parse``: of duplicate keys the last counts, NaN and Infinity are refused.

    Also refused: numbers beyond a double's range, nesting deeper than about a thousand levels, and more than
    ``max_size`` characters. Integers below 2**64 stay int, so nothing is rounded on the way through.
    """
    if len(text) > max_size:
        raise JsJsonError(f"JSON text of {len(text)} characters is longer than the limit of {max_size}")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # orjson takes UTF-8 only; JavaScript may send half a surrogate pair as \udxxx, which json reads.
        if isinstance(text, bytes) and b"\\u" in text:
            try:
                text = text.decode()
            except UnicodeDecodeError:
                raise JsJsonError(f"not JSON: {error}") from None
        if isinstance(text, str) and ("\\u" in text or "surrogate" in str(error)):
            return _loads_with_surrogates(text)
        raise JsJsonError(f"not JSON: {error}") from None


def number(value: float) -> str:
    """Print a number as JavaScript's ``Number.prototype.toString`` does; NaN and infinities as ``null``."""
    try:
        value = float(value)
    except OverflowError:
        return "null"
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    digits, point = _digits(abs(value))
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    exponent = point - 1
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def _digits(value: float) -> tuple[str, int]:
    """The shortest decimal digits that round-trip, and where the point stands: 0.<digits> * 10**point."""
    text = repr(value)
    match = _PARTS.match(text)
    if match:
        return match[1] + (match[2] or ""), int(match[3]) + 1
    whole, _, fraction = text.partition(".")
    if fraction == "0":
        fraction = ""
    if whole != "0":
        return (whole + fraction).rstrip("0"), len(whole)
    stripped = fraction.lstrip("0")
    return stripped, len(stripped) - len(fraction)


def _prints_alike(value: Any) -> bool:
    """Does orjson print this as JavaScript would? It differs in some floats, key order, lone surrogates."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-_SAFE_INTEGER <= value <= _SAFE_INTEGER)
    if kind is float:
        return bool(1e-4 <= abs(value) < 1e15 and value % 1)
    if kind is list or kind is tuple:
        return all(type(item) is str or _prints_alike(item) for item in value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or key[:1].isdigit():
                return False
            if type(item) is not str and not _prints_alike(item):
                return False
        return True
    return isinstance(value, str)


def _print(value: Any, out: list[str]) -> None:
    if value is None:
        out.append("null")
    elif value is True:
        out.append("true")
    elif value is False:
        out.append("false")
    elif isinstance(value, str):
        out.append(_string(value))
    elif isinstance(value, int) and -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        out.append(int.__repr__(value))
    elif isinstance(value, (int, float)):
        out.append(number(value))
    elif isinstance(value, dict):
        separator = "{"
        for key in _in_order(value):
            out.append(f"{separator}{_string(key)}:")
            _print(value[key], out)
            separator = ","
        out.append("}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        separator = "["
        for item in value:
            out.append(separator)
            _print(item, out)
            separator = ","
        out.append("]" if value else "[]")
    else:
        raise JsJsonError(f"JSON cannot hold a {type(value).__name__}; convert it first")


def _in_order(value: dict[Any, Any]) -> Iterable[str]:
    indexes: list[str] = []
    names: list[str] = []
    for key in value:
        if not isinstance(key, str):
            raise JsJsonError(f"the key {key!r} is no string; JSON objects have string keys only")
        is_index = _INTEGER_KEY.match(key) and int(key) <= _MAX_ARRAY_INDEX
        (indexes if is_index else names).append(key)
    return [*sorted(indexes, key=int), *names] if indexes else names


def _string(value: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if _SURROGATE.search(text):
        # Two halves beside each other are one character to JavaScript; a half alone is printed as an escape.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        text = _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text


def _loads_with_surrogates(text: str) -> Any:
    try:
        return json.loads(text, parse_float=_finite, parse_int=_integer, parse_constant=_finite)
    except RecursionError:
        raise JsJsonError("not JSON that we read: nested too deeply") from None
    except ValueError as error:
        raise JsJsonError(f"not JSON: {error}") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no finite number")
    return value


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 20 else _finite(text)
