"""Messages as frames: msgpack arrays that are checked, field by field, when they come back.

On the wire one message is ``[header][message][body]...``:

* header: msgpack ``[version, kind, target actor, sender actor, correlation]``, see `Header`.
* message: msgpack ``[version, tag, field, field, ...]``. The tag is the name of the message's class.
* bodies: raw bytes, opaque to everybody on the way.

Everything that arrives is hostile until it is decoded: a frame has a bounded size, a text, an array and a
number have bounded lengths, and a field that is not exactly of its declared type is a `FramingError`,
never a guess.
"""

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum, IntEnum
from functools import cache
from types import GenericAlias
from typing import Any, NamedTuple, get_args, get_type_hints

import msgpack  # type: ignore[import-untyped]

from ..errors import DcpError
from . import messages

MAX_MESSAGE_BYTES = 1 << 20
"""Largest header or message frame. Bodies have their own limit, the socket's."""
MAX_TEXT_BYTES = 1 << 19
MAX_ITEMS = 10_000
MAX_NAME = 200
"""Longest actor name, in characters."""
MAX_INTEGER_BYTES = 32
"""Amounts of money in 10^-18 DCC do not fit into 64 bits; 256 are enough for anybody."""

_INTEGER_EXT = 1
_MAX_CORRELATION = 1 << 63


class FramingError(DcpError):
    """A frame from a peer is not a message of this protocol version."""

    code = "EFRAMING"


class Kind(IntEnum):
    """What a message is to its target."""

    TELL = 0
    ASK = 1  # the sender waits for a REPLY with the same correlation
    REPLY = 2
    NOBODY = 3  # answer to an ASK whose target does not exist; the message frame is empty


class Header(NamedTuple):
    """Who talks to whom."""

    kind: Kind
    target: str  # actor name in the receiving process
    sender: str  # actor name in the sending process, "" when nobody waits there
    correlation: int  # pairs an ASK with its REPLY; 0 otherwise


def encode_header(header: Header) -> bytes:
    """Encode the first frame of a message."""
    kind, target, sender, correlation = header
    return _pack([messages.PROTOCOL_VERSION, int(kind), target, sender, correlation])


def decode_header(frame: bytes) -> Header:
    """Decode and check the first frame of a message."""
    parts = _unpack(frame)
    if len(parts) != 5:
        raise FramingError(f"a header has 5 fields, this one has {len(parts)}")
    version, kind, target, sender, correlation = parts
    _check_version(version)
    for name in (target, sender):
        if type(name) is not str or len(name) > MAX_NAME:
            raise FramingError(f"an actor name is a text of at most {MAX_NAME} characters")
    if type(kind) is not int or not 0 <= kind <= 3:
        raise FramingError("a header has a kind that is unknown")
    if type(correlation) is not int or not 0 <= correlation < _MAX_CORRELATION:
        raise FramingError("a header has a correlation that is not a number of 63 bits")
    return Header(Kind(kind), target, sender, correlation)


def encode(message: Any) -> bytes:
    """Encode one message of `messages`. Raises FramingError when it is none or too large to be accepted."""
    codec = _by_class().get(type(message))
    if codec is None:
        raise FramingError(f"{type(message).__name__} is no message that can travel to another process")
    frame = _pack([messages.PROTOCOL_VERSION, codec.tag, *codec.plain(message)])
    if len(frame) > MAX_MESSAGE_BYTES:
        raise FramingError(
            f"{codec.tag} is {len(frame)} bytes, more than the {MAX_MESSAGE_BYTES} a message may have; "
            "large payloads travel as bodies"
        )
    return frame


def decode(frame: bytes) -> Any:
    """Decode one message and check each of its fields. Raises FramingError."""
    parts = _unpack(frame)
    if len(parts) < 2:
        raise FramingError("a message has a version and a tag at least")
    _check_version(parts[0])
    codec = _by_tag().get(parts[1]) if type(parts[1]) is str else None
    if codec is None:
        raise FramingError("a message has a tag that is unknown")
    return codec.build(parts[2:])


# -- codecs, one for each message class -----------------------------------------------------------------


Check = Callable[[Any], Any]
"""Gives the value in its declared type, or raises FramingError."""


class _Codec:
    """How one dataclass is written and checked."""

    def __init__(self, cls: type) -> None:
        hints = get_type_hints(cls)
        self.cls = cls
        self.tag = cls.__name__
        self.names = tuple(field.name for field in fields(cls))
        self.checks = tuple(_check_for(hints[name]) for name in self.names)
        self.nested = frozenset(name for name in self.names if is_dataclass(hints[name]))

    def plain(self, message: Any) -> list[Any]:
        if not self.nested:
            return [getattr(message, name) for name in self.names]
        return [
            _codec_of(value.__class__).plain(value) if name in self.nested else value
            for name in self.names
            for value in (getattr(message, name),)
        ]

    def build(self, values: list[Any]) -> Any:
        if len(values) != len(self.checks):
            raise FramingError(f"{self.tag} has {len(self.checks)} fields, this one has {len(values)}")
        try:
            return self.cls(*[check(value) for check, value in zip(self.checks, values, strict=True)])
        except FramingError as error:
            raise FramingError(f"{self.tag}: {error}") from None


@cache
def _codec_of(cls: Any) -> _Codec:
    return _Codec(cls)


@cache
def _by_tag() -> dict[str, _Codec]:
    classes = [value for value in vars(messages).values() if isinstance(value, type) and is_dataclass(value)]
    return {cls.__name__: _codec_of(cls) for cls in classes if cls is not messages.Metrics}


@cache
def _by_class() -> dict[type, _Codec]:
    return {codec.cls: codec for codec in _by_tag().values()}


def _exactly(expected: type) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not expected:
            raise FramingError(f"a field is {type(value).__name__} and should be {expected.__name__}")
        return value

    return check


def _check_float(value: Any) -> float:
    if type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if type(value) is not float or not math.isfinite(value):
        raise FramingError("a field should be a finite number")
    return value


def _check_for(hint: Any) -> Check:
    """The check of one declared type. Only what messages use exists; anything else is a mistake of ours."""
    if hint in (int, str, bool, bytes):
        return _exactly(hint)
    if hint is float:
        return _check_float
    if isinstance(hint, type) and not isinstance(hint, GenericAlias):
        if issubclass(hint, Enum):
            return _check_enum(hint)
        if is_dataclass(hint):
            return _check_nested(hint)
    if getattr(hint, "__origin__", None) is tuple:
        return _check_tuple(get_args(hint))
    raise TypeError(f"framing knows no check for a field of type {hint}")


def _check_enum(enum: type[Enum]) -> Check:
    members = {member.value: member for member in enum}

    def check(value: Any) -> Any:
        member = members.get(value) if type(value) in (str, int) else None
        if member is None:
            raise FramingError(f"a field is no {enum.__name__}")
        return member

    return check


def _check_nested(cls: type) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not list:
            raise FramingError(f"a field should be a {cls.__name__}")
        return _codec_of(cls).build(value)

    return check


def _check_tuple(items: tuple[Any, ...]) -> Check:
    repeated = len(items) == 2 and items[1] is Ellipsis
    checks = tuple(_check_for(item) for item in (items[:1] if repeated else items))

    def check(value: Any) -> Any:
        if type(value) is not list:
            raise FramingError("a field should be an array")
        if repeated:
            return tuple([checks[0](item) for item in value])
        if len(value) != len(checks):
            raise FramingError(f"an array should have {len(checks)} items")
        return tuple([item_check(item) for item_check, item in zip(checks, value, strict=True)])

    return check


# -- msgpack, with integers beyond 64 bits and limits ---------------------------------------------------


def _pack_default(value: Any) -> Any:
    if type(value) is int and value.bit_length() < 8 * MAX_INTEGER_BYTES:
        return msgpack.ExtType(_INTEGER_EXT, value.to_bytes(MAX_INTEGER_BYTES, "big", signed=True))
    raise FramingError(f"a field of type {type(value).__name__} cannot travel")


def _pack(parts: list[Any]) -> bytes:
    try:
        # str subclasses (enum members, addresses) are written as the text they are
        return msgpack.packb(parts, default=_pack_default)  # type: ignore[no-any-return]
    except (ValueError, TypeError, OverflowError, UnicodeEncodeError) as error:
        raise FramingError(f"a message cannot be encoded: {error}") from None


def _unpack_ext(code: int, data: bytes) -> int:
    if code != _INTEGER_EXT or len(data) != MAX_INTEGER_BYTES:
        raise FramingError("a field has an extension type that is unknown")
    return int.from_bytes(data, "big", signed=True)


def _unpack(frame: bytes) -> list[Any]:
    if len(frame) > MAX_MESSAGE_BYTES:
        raise FramingError(f"a frame of {len(frame)} bytes is larger than {MAX_MESSAGE_BYTES}")
    try:
        parts = msgpack.unpackb(
            frame,
            ext_hook=_unpack_ext,
            max_str_len=MAX_TEXT_BYTES,
            max_bin_len=MAX_TEXT_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=0,
            max_ext_len=MAX_INTEGER_BYTES,
        )
    except FramingError:
        raise
    except Exception as error:  # msgpack raises many kinds, all of them mean: this is no message
        raise FramingError(f"a frame is not msgpack of the expected form: {type(error).__name__}") from None
    if type(parts) is not list:
        raise FramingError("a frame should hold an array")
    return parts


def _check_version(version: Any) -> None:
    if version is not messages.PROTOCOL_VERSION and (
        type(version) is not int or version != messages.PROTOCOL_VERSION
    ):
        raise FramingError(
            f"a peer speaks version {version!r:.20} of the actor protocol and this program "
            f"{messages.PROTOCOL_VERSION}; install the same version of dcp-worker on both boxes"
        )
