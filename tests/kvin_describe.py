"""A Python value as the same plain JSON that ``compat/kvin_oracle.js`` makes of a JavaScript value."""

import struct
from array import array
from datetime import UTC, datetime, timedelta
from typing import Any

from dcp_worker.protocol.dcp.kvin import (
    UNDEFINED,
    BigInt,
    ClampedBytes,
    JsDate,
    JsError,
    JsFunction,
    JsMap,
    JsSet,
    PropertyArray,
    RegExp,
    Symbol,
    Url,
)

ARRAYS = {
    "b": "Int8Array",
    "h": "Int16Array",
    "H": "Uint16Array",
    "i": "Int32Array",
    "I": "Uint32Array",
    "f": "Float32Array",
    "d": "Float64Array",
    "q": "BigInt64Array",
    "Q": "BigUint64Array",
}


def describe(value: Any) -> Any:
    """Kinds, exact numbers, and what is the same object."""
    return _describe(value, {})


def _describe(value: Any, met: dict[int, int]) -> Any:
    leaf = _leaf(value)
    if leaf is not None:
        return leaf
    if id(value) in met:
        return ["same", met[id(value)]]
    met[id(value)] = len(met)

    def inner(items: Any) -> list[Any]:
        return [_describe(item, met) for item in items]

    def named(items: dict[str, Any]) -> list[Any]:
        return [
            [name, _describe(items[name], met)]
            for name in sorted(items, key=lambda n: n.encode("utf-16-be", "surrogatepass"))
        ]

    if isinstance(value, list | tuple):
        return ["array", inner(value), named(value.properties) if isinstance(value, PropertyArray) else []]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return ["object", named(value)]
    if isinstance(value, dict | JsMap):
        pairs = value.pairs if isinstance(value, JsMap) else list(value.items())
        return ["map", inner(key for key, _ in pairs), inner(item for _, item in pairs)]
    if isinstance(value, set | frozenset | JsSet):
        return ["set", inner(value)]
    if isinstance(value, JsError):
        return ["error", value.name, value.message, value.stack, named(value.properties)]
    raise AssertionError(f"no description of {value!r}")


def _leaf(value: Any) -> list[Any] | None:
    match value:
        case None:
            return ["null"]
        case bool():
            return ["boolean", value]
        case BigInt():
            return ["bigint", str(int(value))]
        case int() if abs(value) > 2**53 - 1:
            return ["bigint", str(value)]
        case int() | float():
            return ["number", "NaN" if value != value else struct.pack(">d", value).hex()]
        case str():
            return ["string", value]
        case Symbol():
            return ["symbol", value.description]
        case RegExp():
            return ["regexp", value.source, value.flags]
        case Url():
            return ["url", value.href]
        case JsFunction():
            return ["string", value.source]
        case JsDate():
            return ["date", value.milliseconds]
        case datetime():
            return ["date", (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)]
        case bytes() | bytearray():
            return [
                "bytes",
                "Uint8ClampedArray" if isinstance(value, ClampedBytes) else "Uint8Array",
                value.hex(),
            ]
        case array():
            return ["bytes", ARRAYS[value.typecode], value.tobytes().hex()]
    return ["undefined"] if value is UNDEFINED else None


def unordered(description: Any) -> Any:
    """The description without the order of Sets, which Python's do not keep."""
    if isinstance(description, list):
        parts = [unordered(part) for part in description]
        if parts[:1] == ["set"] and len(parts) == 2:
            parts[1] = sorted(parts[1], key=repr)
        return parts
    return description
