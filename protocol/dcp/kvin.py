"""KVIN: JSON that can also say typed arrays, dates, maps, errors, bigints, ``undefined``, and shared or
circular parts.

A document is ``{"_serializeVerId": "v9", "what": NODE}``. Versions 8 and 9 are written, 4 to 9 are read; the
npm packages kvin 1.2 (8) and 9.0 (9) are the measure. ``kvin_types`` says how values appear in Python.
"""

from collections.abc import Mapping
from typing import Any, Final

from .json_text import JsonError, dumps, loads
from .kvin_reader import value_of
from .kvin_types import (
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
from .kvin_writer import node_of

__all__ = [
    "UNDEFINED",
    "BigInt",
    "ClampedBytes",
    "DcpUrl",
    "Instance",
    "JsDate",
    "JsError",
    "JsFunction",
    "JsMap",
    "JsSet",
    "KvinError",
    "PropertyArray",
    "RegExp",
    "Settled",
    "Symbol",
    "Url",
    "deserialize",
    "marshal",
    "node_in",
    "node_of",
    "serialize",
    "unmarshal",
    "value_of",
]

READABLE: Final = frozenset({"v4", "v5", "v6", "v7", "v8", "v9"})


def marshal(value: Any, version: str = "v9") -> dict[str, Any]:
    """The document of a value, as an object that JSON can write."""
    return {"_serializeVerId": version, "what": node_of(value, version)}


def node_in(document: Any) -> Any:
    """The node of a document, after a look at the document's version."""
    if not isinstance(document, Mapping) or "what" not in document:
        raise KvinError(f"this is no KVIN document: {repr(document)[:80]}")
    version = document.get("_serializeVerId")
    if not isinstance(version, str) or version not in READABLE:
        raise KvinError(f"KVIN version {version!r} cannot be read; v4 to v9 can")
    return document["what"]


def unmarshal(document: Any) -> Any:
    """The value of a document."""
    return value_of(node_in(document))


def serialize(value: Any, version: str = "v9") -> str:
    """The text of the document of a value."""
    try:
        return dumps(marshal(value, version))
    except JsonError as problem:
        raise KvinError(str(problem)) from None


def deserialize(text: str | bytes) -> Any:
    """The value of the text of a document."""
    try:
        document = loads(text)
    except JsonError as problem:
        raise KvinError(f"the text of a KVIN document is {problem}") from None
    return unmarshal(document)
