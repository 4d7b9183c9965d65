"""The signed envelope around every message and every acknowledgement.

``{"owner":"0x…","signature":{"r":{"type":"Buffer","data":[…]},"s":{…},"v":27},"body":{…}}``: the signature
covers the characters of the body as they stand there, so we verify that raw text and never reprint it.
"""

import re
from dataclasses import dataclass
from typing import Any

from ...errors import DcpError
from . import js_json
from .address import Address, AddressError, parse_address
from .signature import Signature, SignatureError, recover
from .signer import Signer

_BYTES = r"\[[0-9,]{0,140}\]"
_NUMBER = rf'(?:\{{"type":"Buffer","data":({_BYTES})\}}|({_BYTES}))'
# Owner and signature stand before the body in this order in every known implementation.
_HEAD = re.compile(
    rf'\{{"owner":"(0x[0-9a-fA-F]{{40}})","signature":\{{"r":{_NUMBER},"s":{_NUMBER},"v":(27|28)\}},"body":'
)
_MAX_HEAD = 600  # characters; longer than the longest head that matches


class EnvelopeError(DcpError):
    """An envelope that is malformed, or was not signed by whom it says."""

    code = "EENVELOPE"


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified envelope: who signed it, the exact text signed, and that text parsed (a JSON object)."""

    owner: Address
    body_text: str
    body: dict[str, Any]


async def seal(body_text: str, signer: Signer) -> str:
    """Sign the text of a body (an object as ``js_json.dumps`` prints it) and wrap it."""
    signature = await signer.sign(body_text.encode())
    r, s = ",".join(map(str, signature.r)), ",".join(map(str, signature.s))
    return (
        f'{{"owner":"{signer.address}","signature":{{"r":{{"type":"Buffer","data":[{r}]}},'
        f'"s":{{"type":"Buffer","data":[{s}]}},"v":{signature.v}}},"body":{body_text}}}'
    )


def open_envelope(text: str) -> Opened:
    """Verify an envelope and parse its body."""
    head = _HEAD.match(text, 0, _MAX_HEAD)
    if head is None or not text.endswith("}}"):
        raise EnvelopeError("the message is no envelope of owner, signature and body; it cannot be verified")
    body_text = text[head.end() : -1]
    try:
        owner = parse_address(head[1])
        signature = Signature(_number(head[2] or head[3]), _number(head[4] or head[5]), int(head[6]))
        signer = recover(signature, body_text.encode())
    except (AddressError, SignatureError) as error:
        raise EnvelopeError(f"the envelope's owner or signature is malformed: {error}") from None
    except UnicodeEncodeError:
        raise EnvelopeError("the message has half a surrogate pair as a literal character") from None
    if signer != owner:
        raise EnvelopeError(
            f"the message says it is from {owner} but was signed by {signer}, or was changed on the way"
        )
    try:
        body = js_json.loads(body_text)
    except js_json.JsJsonError as error:
        raise EnvelopeError(f"the body of the message is {error}") from None
    if not isinstance(body, dict):
        raise EnvelopeError("the body of the message is no object")
    return Opened(owner, body_text, body)


def _number(text: str) -> bytes:
    """The bytes that a JSON list of byte values lists, filled up in front to 32."""
    try:
        number = bytes(map(int, text[1:-1].split(",")))
    except ValueError:
        raise SignatureError("r and s must be lists of byte values") from None
    if len(number) > 32:
        raise SignatureError("r and s have at most 32 bytes")
    return number.rjust(32, b"\0")
