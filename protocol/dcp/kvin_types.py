"""What KVIN can say and Python has no word for: small types, and the sentinel of ``undefined``.

How JavaScript values appear in Python, and back:

=====================================  ====================================================================
JavaScript                             Python
=====================================  ====================================================================
null, undefined                        ``None``, ``UNDEFINED``
number                                 ``int`` when written without fraction and exponent, else ``float``
bigint                                 ``BigInt`` (an ``int``); an ``int`` beyond 2**53 - 1 is written as one
string, boolean                        ``str`` (lone surrogates survive), ``bool``
array                                  ``list`` (written from ``tuple`` too), holes as ``UNDEFINED``;
                                       ``PropertyArray`` (a ``list``) when it has named properties
plain object                           ``dict`` with string keys
Map                                    ``JsMap``; written from a ``dict`` with other keys too
Set                                    ``set``; ``JsSet`` when Python cannot tell its elements apart
Date                                   ``datetime`` in UTC, to the millisecond; ``JsDate`` when out of its
                                       range or invalid; a naive ``datetime`` is local time, as ever
Uint8Array, ArrayBuffer, DataView      ``bytes``, written as Uint8Array, and so are other buffers
Uint8ClampedArray                      ``ClampedBytes`` (a ``bytes``)
other typed arrays                     ``array.array`` with typecode b h H i I f d q Q
RegExp                                 ``RegExp``; written from ``re.Pattern`` if that means the same
Error                                  ``JsError``; written from any exception
URL, DcpURL                            ``Url``, ``DcpUrl``
symbol, function                       ``Symbol``, ``JsFunction`` (its source; never executed)
settled promise                        ``Settled``
boxed Number, String, Boolean          the plain value
instance of any other class            ``Instance``
=====================================  ====================================================================
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ...errors import DcpError

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""Beyond this a JavaScript number no longer tells neighbouring integers apart."""


class KvinError(DcpError):
    """A KVIN document is malformed or exceeds a limit, or a Python value has no form in KVIN."""

    code = "EKVIN"


class _Undefined:
    """The type of ``UNDEFINED``; there is one instance, and it is false."""

    _instance: "_Undefined | None" = None

    def __new__(cls) -> "_Undefined":
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "UNDEFINED"  # copies and pickles to itself


UNDEFINED: Final = _Undefined()


class BigInt(int):
    """A JavaScript bigint: written back as one, even when it is small."""


class ClampedBytes(bytes):
    """The bytes of a Uint8ClampedArray."""


class PropertyArray(list[Any]):
    """A JavaScript array that has named properties besides its elements, in ``properties``."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self.properties: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Symbol:
    """A JavaScript symbol; two are the same when they are the same Python object in a document."""

    description: str


@dataclass(frozen=True, slots=True)
class RegExp:
    """A JavaScript regular expression, in JavaScript's own syntax."""

    source: str
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Url:
    """A JavaScript URL object."""

    href: str


@dataclass(frozen=True, slots=True)
class DcpUrl(Url):
    """A URL in the type that dcp-client wants for the URLs of its configuration."""


@dataclass(frozen=True, slots=True)
class JsDate:
    """A Date beyond ``datetime``: milliseconds since 1970 in UTC, or ``None`` for an invalid date."""

    milliseconds: int | None


@dataclass(frozen=True, slots=True)
class JsFunction:
    """The source text of a function. KVIN carries it as text only; nothing here ever runs it."""

    source: str
    name: str = ""


@dataclass(slots=True)
class Settled:
    """A promise that was fulfilled with ``value`` or rejected with it."""

    value: Any
    rejected: bool = False


@dataclass(slots=True)
class Instance:
    """An instance of a class that only the other side knows: name, own properties, constructor argument."""

    constructor: str
    properties: dict[str, Any] = field(default_factory=dict)
    argument: Any = UNDEFINED


class JsError(Exception):
    """A JavaScript Error as a value. ``properties`` are its own properties except message, name and stack."""

    def __init__(
        self,
        message: str = "",
        *,
        name: str = "Error",
        stack: str = "",
        properties: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.stack = stack
        self.properties: dict[str, Any] = {} if properties is None else properties

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JsError):
            return NotImplemented
        mine = (self.name, self.message, self.stack, self.properties)
        return mine == (other.name, other.message, other.stack, other.properties)

    __hash__ = Exception.__hash__


class JsMap:
    """A JavaScript Map, in order. Unlike in a ``dict`` any value may be a key, even a list."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = ()) -> None:
        self.pairs: list[tuple[Any, Any]] = list(pairs)

    def to_dict(self) -> dict[Any, Any]:
        """The same as a ``dict``; ``TypeError`` when a key is not hashable."""
        return dict(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return self.pairs == other.pairs if isinstance(other, JsMap) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"JsMap({self.pairs!r})"


class JsSet:
    """A JavaScript Set that is no Python ``set``: it has a list in it, or ``1`` beside ``True``."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self.items: list[Any] = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        return self.items == other.items if isinstance(other, JsSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"JsSet({self.items!r})"
