"""The leaves of KVIN documents: typed arrays, dates, regular expressions, numbers that JSON lacks.

Every function checks what it is given, which may come from anybody, and raises ``KvinError``.
"""

import re
from array import array
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .json_text import JsonError, loads
from .kvin_types import (
    MAX_SAFE_INTEGER,
    BigInt,
    ClampedBytes,
    DcpUrl,
    JsDate,
    JsFunction,
    KvinError,
    RegExp,
    Symbol,
    Url,
)

CONSTRUCTORS: Final = (
    *("Object", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array"),
    *("Uint32Array", "Float32Array", "Float64Array", "RegExp", "Number", "String", "Boolean", "Array"),
    *("Function", "Error", "Promise", "URL", "Date", "Set"),
)
TYPECODES: Final = {
    "Int8Array": "b",
    "Int16Array": "h",
    "Uint16Array": "H",
    "Int32Array": "i",
    "Uint32Array": "I",
    "Float32Array": "f",
    "Float64Array": "d",
    "BigInt64Array": "q",
    "BigUint64Array": "Q",
}
BINARY: Final = frozenset(
    {"Uint8Array", "Uint8ClampedArray", "ArrayBuffer", "DataView", "Buffer", *TYPECODES}
)
_NUMBERS: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_BIGINT: Final = re.compile(r"-?[0-9]{1,4300}\Z")
_ISO_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{3})Z\Z", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def malformed(what: str, node: Any) -> KvinError:
    return KvinError(f"{what}: {repr(node)[:80]}")


def as_object(value: Any, name: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise malformed(f"{name} must be an object", value)
    return value


def as_array(value: Any, name: str) -> list[Any]:
    if type(value) is not list:
        raise malformed(f"{name} must be an array", value)
    return value


def as_text(value: Any, name: str) -> str:
    if type(value) is not str:
        raise malformed(f"{name} must be text", value)
    return value


def as_size(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= 2**53:
        raise malformed(f"{name} must be a natural number", value)
    return value


def latin_bytes(text: Any) -> bytes:
    try:
        return as_text(text, "ab8").encode("latin-1")
    except UnicodeEncodeError:
        raise malformed("a character that stands for no byte in a typed array", text) from None


def utf16_bytes(text: Any) -> bytes:
    return as_text(text, "ab16").encode("utf-16-le", "surrogatepass")


def island_bytes(node: dict[str, Any], size: int) -> bytes:
    wide = "isl16" in node
    result = bytearray(size)
    for island in as_array(node["isl16" if wide else "isl8"], "isl8"):
        part = (utf16_bytes if wide else latin_bytes)(as_object(island, "island").get("0"))
        at = as_size(island.get("@"), "@") * (2 if wide else 1)
        if at + len(part) > size:
            raise KvinError("a part of a typed array lies behind its end")
        result[at : at + len(part)] = part
    return bytes(result)


def typed_array_of_numbers(name: str, numbers: list[Any]) -> Any:
    try:
        if name in TYPECODES:
            return array(
                TYPECODES[name], [float(n) for n in numbers] if name.startswith("Float") else numbers
            )
        data = bytes(numbers)
    except (TypeError, ValueError, OverflowError) as problem:
        raise KvinError(f"the elements of a {name} are not its numbers: {problem}") from None
    return ClampedBytes(data) if name == "Uint8ClampedArray" else data


def read_date(node: dict[str, Any]) -> datetime | JsDate:
    argument = node.get("arg")
    if type(argument) is str:
        match = _ISO_DATE.match(argument)
        try:
            if match:
                *whole, milliseconds = map(int, match.groups())
                return datetime(*whole[:6], milliseconds * 1000, tzinfo=UTC)  # type: ignore[misc, arg-type]
        except ValueError:
            return JsDate(None)
        wide = re.match(r"([+-]\d{6})(-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)\Z", argument, re.ASCII)
        return JsDate(_wide_milliseconds(int(wide[1]), wide[2]) if wide else None)
    if isinstance(argument, int | float) and abs(argument) <= 8.64e15:
        try:
            return _EPOCH + timedelta(milliseconds=int(argument))
        except OverflowError:
            return JsDate(int(argument))
    return JsDate(None)


def _wide_milliseconds(year: int, rest: str) -> int | None:
    """Milliseconds since 1970 in a year that datetime lacks: after 400 years, 146,097 days, all repeats."""
    cycles, year = divmod(year, 400)
    moment = read_date({"arg": f"{year + 400:04d}{rest}"})
    if not isinstance(moment, datetime):
        return None
    days = (cycles - 1) * 146_097
    result = (moment - _EPOCH) // timedelta(milliseconds=1) + days * 86_400_000
    return result if abs(result) <= 8_640_000_000_000_000 else None


def read_regexp(node: dict[str, Any]) -> RegExp:
    arguments = node.get("args", [node.get("arg"), ""])
    if type(arguments) is not list or len(arguments) != 2:
        raise malformed("a RegExp needs a source and flags", node)
    return RegExp(as_text(arguments[0], "source"), as_text(arguments[1], "flags"))


def _boxed_number(node: dict[str, Any]) -> int | float:
    argument = node.get("arg", 0)
    if type(argument) is str and argument in _NUMBERS:
        return _NUMBERS[argument]
    try:
        number = float(argument)
    except (TypeError, ValueError):
        raise malformed("a Number that is no number", node) from None
    return int(number) if number.is_integer() and abs(number) <= MAX_SAFE_INTEGER else number


def _symbol_v8(node: dict[str, Any]) -> Symbol:
    return Symbol(as_text(node.get("arg"), "Symbol").removeprefix("Symbol(").removesuffix(")"))


def read_json(node: Mapping[str, Any]) -> Any:
    if node["json"] == "-0":
        return -0.0
    try:
        return loads(as_text(node["json"], "json"))
    except JsonError as problem:
        raise KvinError(f"a json node holds no JSON: {problem}") from None


def read_number(node: Mapping[str, Any]) -> float:
    name = node["number"]
    if type(name) is not str or name not in _NUMBERS:
        raise malformed("a number node names no number", node)
    return _NUMBERS[name]


def read_bigint(node: Mapping[str, Any]) -> BigInt:
    digits = node["bigint"]
    if type(digits) is not str or not _BIGINT.match(digits):
        raise malformed("a bigint must be decimal digits, at most 4,300", digits)
    return BigInt(digits)


SIMPLE: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "RegExp": read_regexp,
    "Number": _boxed_number,
    "String": lambda node: as_text(node.get("arg", ""), "arg"),
    "Boolean": lambda node: node.get("arg") in (True, "true"),
    "Function": lambda node: JsFunction(
        as_text(node.get("arg", ""), "arg"), as_text(node.get("fnName", ""), "fnName")
    ),
    "URL": lambda node: Url(as_text(node.get("arg"), "arg")),
    "dcpUrl$$DcpURL": lambda node: DcpUrl(as_text(node.get("arg"), "arg")),
    "Date": read_date,
    "Symbol": _symbol_v8,
}
