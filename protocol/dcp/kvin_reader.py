"""From KVIN nodes to Python values. A document may come from anybody, so depth, expansion and sizes are
bounded.

Understood is all that writers of v4 to v9 produce, including forms that only old ones use (``ptv``, ``json``)
and that only tuned ones use (``arg``, ``ab16``, ``isl16``). Objects are numbered for ``{"seen": n}`` as the
npm package's reader does: when they are first met, ``raw`` parts never, and inside a Map the array of keys
and that of values too.
"""

from array import array
from collections.abc import Callable
from typing import Any, Final

from .json_text import JsonError, dumps, loads
from .kvin_leaves import (
    BINARY,
    CONSTRUCTORS,
    SIMPLE,
    TYPECODES,
    as_array,
    as_object,
    as_size,
    as_text,
    island_bytes,
    latin_bytes,
    malformed,
    read_bigint,
    read_json,
    read_number,
    typed_array_of_numbers,
    utf16_bytes,
)
from .kvin_types import (
    MAX_SAFE_INTEGER,
    UNDEFINED,
    ClampedBytes,
    Instance,
    JsError,
    JsFunction,
    JsMap,
    JsSet,
    KvinError,
    PropertyArray,
    Settled,
    Symbol,
)
from .kvin_writer import MAX_DEPTH

MAX_EXPANSION: Final = 4_000_000
"""How many elements repetition (``lst``) and holes (``len``) may add to what is written in the document."""
MAX_BINARY: Final = 256 * 2**20
"""How many bytes all typed arrays of a document may have together."""

_SCALARS: Final = frozenset({float, str, bool})


def value_of(node: Any, *, max_expansion: int = MAX_EXPANSION, max_binary: int = MAX_BINARY) -> Any:
    """The Python value of a KVIN node. What stands under ``raw`` is not copied."""
    kind = type(node)
    if kind in _SCALARS or (kind is int and -MAX_SAFE_INTEGER <= node <= MAX_SAFE_INTEGER):
        return node
    return _Reader(max_expansion, max_binary).read(node, 0)


class _Reader:
    """Reads one document; remembers the objects it has made, by number."""

    def __init__(self, max_expansion: int, max_binary: int) -> None:
        self._expansion = max_expansion
        self._binary = max_binary
        self._seen: list[Any] = []

    def read(self, node: Any, depth: int) -> Any:
        kind = type(node)
        if kind in _SCALARS:
            return node
        if kind is int:
            return node if -MAX_SAFE_INTEGER <= node <= MAX_SAFE_INTEGER else float(node)
        if kind is not dict:
            raise malformed("this is no KVIN node", node)
        if "raw" in node:
            return node["raw"]
        if depth >= MAX_DEPTH:
            raise KvinError(f"the document is nested more than {MAX_DEPTH} deep")
        for key, read in _FORMS:
            if key in node:
                return read(self, node, depth)
        raise malformed("this is no KVIN node", node)

    def _push(self, value: Any) -> int:
        self._seen.append(value)
        return len(self._seen) - 1

    def _spend(self, elements: int) -> None:
        self._expansion -= elements
        if self._expansion < 0:
            raise KvinError("the document would grow beyond all measure; repetitions and holes are limited")

    # -- arrays ----------------------------------------------------------------------------------------------

    def array(self, node: dict[str, Any], depth: int) -> list[Any]:
        properties = as_object(node.get("ps", {}), "ps")
        named = {name for name in properties if not _is_index(name)}
        result: list[Any] = PropertyArray() if named else []
        self._push(result)
        self._elements(as_array(node.get("arr", []), "arr"), result, depth)
        for island in as_array(node.get("isl", []), "isl"):
            self._island(island, result, depth)
        for name, item in properties.items():
            value = self.read(item, depth + 1)
            if name not in named:
                self._fill(result, int(name) + 1)
                result[int(name)] = value
            elif isinstance(result, PropertyArray):
                result.properties[name] = value
        if "len" in node:
            length = as_size(node["len"], "len")
            self._fill(result, length)
            del result[length:]
        return result

    def _elements(self, items: list[Any], result: list[Any], depth: int) -> None:
        kinds = set(map(type, items))
        if kinds <= _SCALARS or (kinds <= _SCALARS | {int} and _safe(items)):
            result += items
            return
        previous: Any = _ABSENT
        for item in items:
            if type(item) is dict and "lst" in item and len(item) == 1:
                times = as_size(item["lst"], "lst")
                self._spend(times)
                if previous is _ABSENT:
                    raise malformed("a repetition with nothing before it", item)
                if type(previous) is dict and not previous.keys() & {"undefined", "seen"}:
                    self._repeat(previous, times, result, depth)
                else:
                    result += [result[-1]] * times
            else:
                result.append(self.read(item, depth + 1))
                previous = item

    def _repeat(self, node: dict[str, Any], times: int, result: list[Any], depth: int) -> None:
        try:
            text = dumps(node)
        except JsonError as problem:
            raise KvinError(f"the document cannot be repeated: {problem}") from None
        self._spend(times * (16 + len(text) // 2))  # what a repetition costs, in elements of an array
        for _ in range(times):  # every repetition is an object of its own
            result.append(self.read(loads(text), depth + 1))

    def _island(self, island: Any, result: list[Any], depth: int) -> None:
        island = as_object(island, "island")
        at, inner = as_size(island.get("@"), "@"), island.get("arr")
        # A short island holds plain JSON, a long one the node of an array.
        items = inner if type(inner) is list else self.array(as_object(inner, "arr"), depth + 1)
        self._fill(result, at)
        result[at : at + len(items)] = items

    def _fill(self, result: list[Any], length: int) -> None:
        if length > len(result):
            self._spend(length - len(result))
            result += [UNDEFINED] * (length - len(result))

    # -- collections, promises, references -------------------------------------------------------------------

    def map(self, node: dict[str, Any], depth: int) -> JsMap:
        result = JsMap()
        self._push(result)
        keys = self.array(as_object(node["mapKeys"], "mapKeys"), depth + 1)
        values = self.array(as_object(node.get("mapVals"), "mapVals"), depth + 1)
        if len(keys) != len(values):
            raise KvinError(f"a Map has {len(keys)} keys but {len(values)} values")
        result.pairs += zip(keys, values, strict=True)
        return result

    def set(self, node: dict[str, Any], depth: int) -> Any:
        result = JsSet()
        number = self._push(result)
        items: list[Any] = []
        self._elements(as_array(as_object(node["set"], "set").get("arr"), "arr"), items, depth + 1)
        result.items += items
        try:
            plain = set(items)
        except TypeError:
            return result
        if len(plain) == len(items) and not any(item is result for item in items):
            self._seen[number] = plain
            return plain
        return result

    def seen(self, node: dict[str, Any], _depth: int) -> Any:
        number = node["seen"]
        if type(number) is not int or not 0 <= number < len(self._seen):
            raise malformed("a reference to an object that was not there before", node)
        return self._seen[number]

    def settled(self, node: dict[str, Any], depth: int) -> Settled:
        rejected = "reject" in node
        return Settled(self.read(node["reject" if rejected else "resolve"], depth + 1), rejected)

    def symbol(self, node: dict[str, Any], _depth: int) -> Symbol:
        result = Symbol(as_text(node["symbol"], "symbol"))
        self._push(result)
        return result

    # -- instances of classes --------------------------------------------------------------------------------

    def instance(self, node: dict[str, Any], depth: int) -> Any:
        ctr = node["ctr"]
        if type(ctr) is int:
            if not 0 <= ctr < len(CONSTRUCTORS):
                raise malformed("there is no constructor of this number", ctr)
            ctr = CONSTRUCTORS[ctr]
        name = as_text(ctr, "ctr")
        if name == "Array":
            return self.array(node, depth)
        if name in BINARY:
            return self._pushed(self._typed_array(name, node))
        if name in SIMPLE:
            return self._pushed(SIMPLE[name](node))
        properties = as_object(node.get("ps", {}), "ps")
        if name == "Object":
            plain: dict[str, Any] = {}
            self._push(plain)
            self._properties(properties, plain, depth)
            return plain
        if name == "Error" or (name.endswith("Error") and "arg" in node):
            return self._error(name, node, properties, depth)
        result = Instance(name, {}, node.get("arg", UNDEFINED))
        self._push(result)
        self._properties(properties, result.properties, depth)
        return result

    def _pushed(self, value: Any) -> Any:
        self._push(value)
        return value

    def _properties(self, nodes: dict[str, Any], into: dict[str, Any], depth: int) -> None:
        for name, node in nodes.items():
            into[name] = self.read(node, depth + 1)

    def _error(self, name: str, node: dict[str, Any], nodes: dict[str, Any], depth: int) -> JsError:
        message = node.get("arg", "")
        result = JsError(message if isinstance(message, str) else "", name=name)
        self._push(result)
        for key, item in nodes.items():
            try:
                value = self.read(item, depth + 1)
            except KvinError:
                value = item  # the npm writer puts an error's own objects there as they are
            if key in ("name", "stack", "message") and isinstance(value, str):
                setattr(result, key, value)
            else:
                result.properties[key] = value
        result.args = (result.message,)
        return result

    def _typed_array(self, name: str, node: dict[str, Any]) -> Any:
        argument = node.get("arg")
        if type(argument) is list:
            return typed_array_of_numbers(name, argument)
        data = self._bytes(node)
        if name in TYPECODES:
            result: array[Any] = array(TYPECODES[name])
            if len(data) % result.itemsize:
                raise KvinError(f"{len(data)} bytes make no whole {name}")
            result.frombytes(data)
            return result
        return ClampedBytes(data) if name == "Uint8ClampedArray" else data

    def _bytes(self, node: dict[str, Any]) -> bytes:
        if "ab8" in node:
            data = latin_bytes(node["ab8"])
            self._binary -= len(data)
        elif "ab16" in node:
            data = utf16_bytes(node["ab16"]) + latin_bytes(node.get("eb", ""))
            self._binary -= len(data)
        elif "isl8" in node or "isl16" in node:
            size = as_size(node.get("len"), "len")
            self._binary -= size
            if self._binary >= 0:
                return island_bytes(node, size)
        else:
            return b""
        if self._binary < 0:
            raise KvinError("the typed arrays of the document are too large together")
        return data


_ABSENT: Final = object()


def _safe(items: list[Any]) -> bool:
    ints = [item for item in items if type(item) is int]
    return min(ints) >= -MAX_SAFE_INTEGER and max(ints) <= MAX_SAFE_INTEGER


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 10 and str(int(name)) == name


_FORMS: Final[tuple[tuple[str, Callable[[_Reader, dict[str, Any], int], Any]], ...]] = (
    ("ctr", _Reader.instance),
    ("arr", _Reader.array),
    ("seen", _Reader.seen),
    ("undefined", lambda _r, _n, _d: UNDEFINED),
    ("number", lambda _r, n, _d: read_number(n)),
    ("bigint", lambda _r, n, _d: read_bigint(n)),
    ("mapKeys", _Reader.map),
    ("set", _Reader.set),
    ("json", lambda _r, n, _d: read_json(n)),
    ("ptv", lambda _r, n, _d: n["ptv"]),
    ("symbol", _Reader.symbol),
    ("resolve", _Reader.settled),
    ("reject", _Reader.settled),
    (
        "fnName",
        lambda r, n, _d: r._pushed(
            JsFunction(as_text(n.get("arg", ""), "arg"), as_text(n["fnName"], "fnName"))
        ),
    ),
)
