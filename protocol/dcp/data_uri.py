"""Values inside URIs: ``data:`` URIs as DCP writes them, and JavaScript's own ``encodeURI`` and
``decodeURI``.

DCP encodes the text of a data URI with ``encodeURI`` and reads it with ``decodeURI``, not with the variants
for components: ``#``, ``?``, ``&`` and their like stand as they are, and their escapes (``%23``) are not
decoded.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from ...errors import DcpError

_RESERVED: Final = ";/?:@&=+$,#"
_ESCAPES: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,120}/[\w!#$&^.+-]{1,120}\Z", re.ASCII)


class DataUriError(DcpError):
    """A URI is not well formed, or a text cannot be one."""

    code = "EDATAURI"


@dataclass(frozen=True, slots=True)
class DataUri:
    """What a data URI holds: bytes when it was base64, else text."""

    mime: str  # "text/plain" when the URI names none, as RFC 2397 says
    charset: str | None
    data: str | bytes

    @property
    def text(self) -> str:
        """The content as text, read in its charset (UTF-8 when it names none)."""
        if isinstance(self.data, str):
            return self.data
        try:
            return self.data.decode(self.charset or "utf-8")
        except (UnicodeDecodeError, LookupError):
            raise DataUriError(
                f"the content of a data URI is not text in {self.charset or 'utf-8'}"
            ) from None


def encode_uri(text: str) -> str:
    """JavaScript's ``encodeURI``: escapes all but letters, digits, reserved characters and marks."""
    try:
        return quote(text, safe=_RESERVED + "!*'()")
    except UnicodeEncodeError:
        raise DataUriError("half a surrogate pair cannot stand in a URI") from None


def decode_uri(text: str) -> str:
    """JavaScript's ``decodeURI``: decodes all escapes but those of reserved characters."""
    if "%" not in text:
        return text
    bare = _ESCAPES.sub("", text).find("%")
    if bare >= 0:
        raise DataUriError("a % in a URI must be followed by two hexadecimal digits; write a plain % as %25")
    return _ESCAPES.sub(_decode_run, text)


def _decode_run(match: re.Match[str]) -> str:
    run = match[0]
    try:
        decoded = bytes.fromhex(run.replace("%", "")).decode("utf-8")
    except UnicodeDecodeError:
        raise DataUriError(f"the escapes {run[:30]} in a URI are not UTF-8") from None
    if not any(character in _RESERVED for character in decoded):
        return decoded
    at, parts = 0, []
    for character in decoded:
        width = 3 * len(character.encode())
        parts.append(run[at : at + width] if character in _RESERVED else character)
        at += width
    return "".join(parts)


def encode_data_uri(data: str | bytes, mime: str = "", charset: str = "") -> str:
    """A ``data:`` URI: text escaped as DCP does it, bytes in base64."""
    head = "data:" + mime + (f";charset={charset}" if charset else "")
    if isinstance(data, bytes):
        return f"{head};base64,{base64.b64encode(data).decode()}"
    return f"{head},{encode_uri(data)}"


def decode_data_uri(uri: str) -> DataUri:
    """Read a ``data:`` URI."""
    scheme, _, rest = uri.partition(":")
    head, comma, body = rest.partition(",")
    if scheme.lower() != "data" or not comma:
        raise DataUriError(f"this is no data URI: {uri[:60]!r}")
    if len(head) > 1000:
        raise DataUriError("the head of a data URI is too long")
    mime, *parameters = head.split(";")
    charset = None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"')
    if mime and not _MEDIA_TYPE.match(mime):
        raise DataUriError(f"this is no media type: {mime[:60]!r}")
    if parameters and parameters[-1].strip().lower() == "base64":
        return DataUri(mime.lower() or "text/plain", charset, _from_base64(decode_uri(body)))
    return DataUri(mime.lower() or "text/plain", charset, decode_uri(body))


def _from_base64(text: str) -> bytes:
    text = text.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise DataUriError("the content of a data URI is not base64") from None
