"""From Python values to KVIN nodes.

What is plain JSON goes out whole, as ``{"raw": value}``, which costs no Python work for its leaves.
Everything else is written as a graph, where an object that is met again becomes ``{"seen": n}``. The
numbering is that of the npm package's reader, which also counts the two arrays inside a Map (its writer does
not, and misreads its own documents).
"""

import math
import re
from array import array
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from .kvin_types import (
    MAX_SAFE_INTEGER,
    UNDEFINED,
    BigInt,
    ClampedBytes,
    DcpUrl,
    Instance,
    JsDate,
    JsError,
    JsFunction,
    JsMap,
    JsSet,
    KvinError,
    PropertyArray,
    RegExp,
    Settled,
    Symbol,
    Url,
)

MAX_DEPTH: Final = 200
"""How deep values may be nested: enough for people, and safe for the recursion of every reader on the way."""

_SCALARS: Final = frozenset({int, float, str, bool})
_LEAVES: Final = _SCALARS | {type(None)}
_PLAIN: Final = _LEAVES | {list, tuple, dict}
_ERROR_CLASSES: Final = frozenset(
    {"Error", "TypeError", "RangeError", "SyntaxError", "ReferenceError", "EvalError", "URIError"}
)
_ZEROS: Final = re.compile(rb"\0{8,}")
_SIGNED: Final = {1: 1, 2: 4, 4: 6, 8: "BigInt64Array"}  # bytes of an element -> constructor
_UNSIGNED: Final = {1: 2, 2: 5, 4: 7, 8: "BigUint64Array"}


def node_of(value: Any, version: str = "v9") -> Any:
    """The KVIN node of a value: what stands behind ``"what":`` in a document.

    Plain lists and dicts are not copied: the node refers to them until it is turned into text.
    """
    kind = type(value)
    if kind in _SCALARS:
        return _scalar(value)
    if value is None or ((kind is list or kind is dict or kind is tuple) and is_plain(value)):
        return {"raw": value}
    return _Writer(version).node(value, 0)


def is_plain(root: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> bool:
    """Whether JSON says all of this value: no part of it twice, no numbers that JSON lacks, not too deep."""
    met: set[int] = set()
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            if id(container) in met:
                return False
            met.add(id(container))
            items: Iterable[Any] = container
            if type(container) is dict:
                if not set(map(type, container)) <= {str}:
                    return False
                items = container.values()
            kinds = set(map(type, items))
            if not kinds <= _PLAIN or not _numbers_fit(items, kinds):
                return False
            if kinds & {list, tuple, dict}:
                below += [item for item in items if type(item) not in _LEAVES]
        if not below:
            return True
        level = below
    return False


def _numbers_fit(items: Iterable[Any], kinds: set[type]) -> bool:
    """No NaN, no infinity, no integer that a JavaScript number cannot hold exactly."""
    if float in kinds:
        floats = items if len(kinds) == 1 else [item for item in items if type(item) is float]
        if not all(map(math.isfinite, floats)):
            return False
    if int in kinds:
        ints = items if len(kinds) == 1 else [item for item in items if type(item) is int]
        return min(ints) >= -MAX_SAFE_INTEGER and max(ints) <= MAX_SAFE_INTEGER
    return True


def _scalar(value: Any) -> Any:
    if type(value) is int and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return _bigint(value)
    if type(value) is float and (value == 0.0 or not math.isfinite(value)):
        return _odd_float(value)
    return value


def _odd_float(value: float) -> Any:
    if value == 0.0:
        return {"json": "-0"} if math.copysign(1.0, value) < 0 else 0
    return {"number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _bigint(value: int) -> Any:
    try:
        return {"bigint": str(int(value))}
    except ValueError:  # Python's own limit on turning integers into digits
        raise KvinError("an integer of more than 4,300 digits is too long for a bigint") from None


def date_text(moment: datetime) -> str:
    """As JavaScript's Date.prototype.toISOString prints it."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f".{utc.microsecond // 1000:03d}Z"


def _regexp(pattern: "re.Pattern[Any]") -> RegExp:
    if not isinstance(pattern.pattern, str):
        raise KvinError("a pattern over bytes has no form in JavaScript; compile it from text")
    if pattern.flags & (re.VERBOSE | re.ASCII | re.LOCALE) or "(?" in pattern.pattern.replace("(?:", ""):
        raise KvinError(
            f"{pattern!r} may mean something else in JavaScript; pass RegExp(source, flags) instead"
        )
    letters = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}
    return RegExp(
        pattern.pattern, "".join(letter for flag, letter in letters.items() if pattern.flags & flag)
    )


class _Writer:
    """Writes one document; remembers which objects it has met, and as what number."""

    def __init__(self, version: str) -> None:
        if version not in ("v8", "v9"):
            raise KvinError(f"cannot write KVIN {version!r}; v8 and v9 are known")
        self._version = version
        self._numbers: dict[int, int] = {}
        self._count = 0

    def node(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return _scalar(value)
        if value is None:
            return {"raw": None}
        if value is UNDEFINED:
            return {"undefined": True}
        if kind is BigInt:
            return _bigint(value)
        for base in (str, int, float):  # subclasses, such as enumerations and addresses
            if isinstance(value, base):
                return _scalar(base(value))
        number = self._numbers.get(id(value))
        if number is not None:
            return {"seen": number}
        if depth >= MAX_DEPTH:
            raise KvinError(f"the value is nested more than {MAX_DEPTH} deep; flatten it")
        if kind is Settled:
            return {"reject" if value.rejected else "resolve": self.node(value.value, depth + 1)}
        self._numbers[id(value)] = self._count
        self._count += 1
        if kind is list or kind is tuple:
            return {"arr": self._elements(value, depth)}
        if kind is dict and set(map(type, value)) <= {str}:
            return {"ctr": 0, "ps": self._properties(value, depth)}
        for base, write in _FORMS:
            if isinstance(value, base):
                return write(self, value, depth)
        raise KvinError(f"a {kind.__qualname__} has no form in KVIN; turn it into plain data first")

    def _elements(self, items: Iterable[Any], depth: int) -> list[Any]:
        items = items if isinstance(items, list | tuple) else list(items)
        kinds = set(map(type, items))
        if kinds <= _SCALARS and _numbers_fit(items, kinds):
            return list(items)
        return [self.node(item, depth + 1) for item in items]

    def _properties(self, items: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if not all(isinstance(name, str) for name in items):
            raise KvinError("the names of properties must be text")
        return {name: self.node(item, depth + 1) for name, item in items.items()}

    def property_array(self, value: PropertyArray, depth: int) -> Any:
        node: dict[str, Any] = {"arr": self._elements(value, depth)}
        if value.properties:
            node["ps"] = self._properties(value.properties, depth)
        return node

    def mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        return self.map(JsMap(value.items()), depth)

    def map(self, value: JsMap, depth: int) -> Any:
        self._count += 1  # the array of keys
        keys = self._elements([key for key, _ in value.pairs], depth)
        self._count += 1  # the array of values
        return {
            "mapKeys": {"arr": keys},
            "mapVals": {"arr": self._elements([v for _, v in value.pairs], depth)},
        }

    def set(self, value: Iterable[Any], depth: int) -> Any:
        return {"set": {"arr": self._elements(value, depth)}}

    def error(self, value: BaseException, depth: int) -> Any:
        if not isinstance(value, JsError):
            name, text = type(value).__name__, str(value)
            value = JsError(text, name=name, stack=f"{name}: {text}")
        properties: dict[str, Any] = {"stack": value.stack} if value.stack else {}
        if value.name not in _ERROR_CLASSES:
            properties["name"] = value.name
        properties.update(self._properties(value.properties, depth))
        ctr = value.name if value.name in _ERROR_CLASSES else "Error"
        return {"ctr": ctr, "ps": properties, "arg": value.message}

    def instance(self, value: Instance, depth: int) -> Any:
        node = {"ctr": value.constructor, "ps": self._properties(value.properties, depth)}
        if value.argument is not UNDEFINED:
            if type(value.argument) not in _LEAVES and not (
                type(value.argument) in _PLAIN and is_plain(value.argument)
            ):
                raise KvinError(f"the argument of the {value.constructor} must be plain JSON")
            node["arg"] = value.argument
        return node

    def symbol(self, value: Symbol, _depth: int) -> Any:
        if self._version == "v8":
            return {"ctr": "Symbol", "ps": {}, "arg": f"Symbol({value.description})"}
        return {"symbol": value.description}

    def array(self, value: "array[Any]", _depth: int) -> Any:
        if value.typecode == "u":
            raise KvinError("an array of characters has no form in KVIN; use text")
        if value.typecode in "fd":
            ctr: Any = 8 if value.typecode == "f" else 9
        else:
            ctr = (_SIGNED if value.typecode.islower() else _UNSIGNED)[value.itemsize]
        data = value.tobytes()
        if type(ctr) is int and value.itemsize > 1 and data.count(0) * 4 > len(data):
            numbers = value.tolist()  # small numbers are mostly zero bytes, and those are dear, see _packed
            if ctr < 8 or (b"\0\0\0\x80" not in data and all(map(math.isfinite, numbers))):
                return {"ctr": ctr, "arg": numbers}
        return _packed(ctr, data)


def _packed(ctr: Any, data: bytes) -> Any:
    """One character a byte. A zero byte takes six characters of JSON text, so runs of them are left out."""
    islands: list[Any] = []
    end = 0
    for zeros in _ZEROS.finditer(data):
        if zeros.start() > end:
            islands.append({"0": data[end : zeros.start()].decode("latin-1"), "@": end})
        end = zeros.end()
    if end == 0:
        return {"ctr": ctr, "ab8": data.decode("latin-1")}
    if end < len(data):
        islands.append({"0": data[end:].decode("latin-1"), "@": end})
    return {"ctr": ctr, "isl8": islands, "len": len(data)}


def _with_argument(ctr: Any, argument: Any) -> Any:
    return {"ctr": ctr, "ps": {}, "arg": argument}


def _wide_date(value: JsDate) -> Any:
    # The npm reader takes numbers of milliseconds too; its own form of an invalid date, null, it reads as
    # 1970.
    return _with_argument(19, "invalid" if value.milliseconds is None else value.milliseconds)


_FORMS: Final[tuple[tuple[Any, Callable[[_Writer, Any, int], Any]], ...]] = (
    (ClampedBytes, lambda _w, v, _d: _packed(3, bytes(v))),
    ((bytes, bytearray), lambda _w, v, _d: _packed(2, bytes(v))),
    (memoryview, lambda _w, v, _d: _packed(2, v.tobytes())),
    (array, _Writer.array),
    (PropertyArray, _Writer.property_array),
    (datetime, lambda _w, v, _d: _with_argument(19, date_text(v))),
    (JsDate, lambda _w, v, _d: _wide_date(v)),
    (JsMap, _Writer.map),
    ((set, frozenset, JsSet), _Writer.set),
    (BaseException, _Writer.error),
    (DcpUrl, lambda _w, v, _d: _with_argument("dcpUrl$$DcpURL", v.href)),
    (Url, lambda _w, v, _d: _with_argument(18, v.href)),
    (RegExp, lambda _w, v, _d: {"ctr": 10, "args": [v.source, v.flags]}),
    (re.Pattern, lambda _w, v, _d: {"ctr": 10, "args": [_regexp(v).source, _regexp(v).flags]}),
    (Symbol, _Writer.symbol),
    (JsFunction, lambda _w, v, _d: {"ctr": 15, "ps": {}, "fnName": v.name, "arg": v.source}),
    (Instance, _Writer.instance),
    (Mapping, _Writer.mapping),
    ((list, tuple), lambda w, v, d: {"arr": w._elements(v, d)}),
)
