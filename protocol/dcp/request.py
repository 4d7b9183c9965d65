"""Requests as they come in, and what they allow the server to do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError, JSONDecoder
from typing import Any

from ...errors import DcpError
from . import js_json
from .address import Address, AddressError, parse_address
from .signature import Signature, SignatureError, recover

_MAX_ALLOWED = 64  # resources in one request
_MAX_OPERATION = 100
_PAYLOAD = re.compile(r'\{"id":"[^"\\]*","type":"request","payload":')


class MalformedRequest(DcpError):
    """A request whose shape is wrong."""

    code = "EINVAL"


class OperationError(DcpError):
    """Raise it in a handler to answer with failure; ``details`` go into the payload beside the message."""

    code = "EOPERATION"

    def __init__(
        self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.details = dict(details or {})


@dataclass(frozen=True, slots=True)
class Request:
    """A verified request: what to do, with what, and whose signatures came with it."""

    id: str
    operation: str
    data: Any
    allow: list[Any]  # of {resource, guardian, accessor}, as the sender wrote them
    auth: Mapping[str, Any]  # resource address -> signature
    validity: Any
    _body_text: str = field(repr=False, default="")
    _payload: Any = field(repr=False, default=None)

    @property
    def payload_text(self) -> str:
        """The payload exactly as it was sent: what the signatures in ``auth`` are over."""
        head = _PAYLOAD.match(self._body_text)
        if head is not None:
            try:
                _, end = JSONDecoder().raw_decode(self._body_text, head.end())
                return self._body_text[head.end() : end]
            except (JSONDecodeError, RecursionError):
                pass
        return js_json.dumps(self._payload)


def read_request(body: Mapping[str, Any], body_text: str = "") -> Request:
    """Check the shape of a request's body; ``body_text`` is its exact text unless it came in a batch."""
    payload, name = body.get("payload"), body.get("id")
    if not isinstance(payload, Mapping) or not isinstance(name, str):
        raise MalformedRequest("a request needs an id and a payload that is an object")
    operation = payload.get("operation")
    if not isinstance(operation, str) or not 0 < len(operation) <= _MAX_OPERATION:
        raise MalformedRequest("a request needs the name of an operation")
    data = payload.get("data")
    if "jsonData" in payload:
        text = payload["jsonData"]
        if not isinstance(text, str):
            raise MalformedRequest("the jsonData of a request must be a string of JSON")
        try:
            data = js_json.loads(text)
        except js_json.JsJsonError as error:
            raise MalformedRequest(f"the jsonData of the request is {error}") from None
    allow, auth = payload.get("allow"), body.get("auth")
    if allow is not None and (not isinstance(allow, list) or len(allow) > _MAX_ALLOWED):
        raise MalformedRequest(
            f"the allow list of a request must be a list of at most {_MAX_ALLOWED} entries"
        )
    auth = auth if isinstance(auth, Mapping) else {}
    return Request(name, operation, data, allow or [], auth, payload.get("validity"), body_text, payload)


def verify_allow(
    request: Request, *, guardian: Address | None = None, accessor: Address | None = None
) -> set[Address]:
    """The resources whose owners have signed that the accessor may use them through the guardian.

    The guardian is this service's address and the accessor the peer's; where given, an entry that names
    another one does not count. An entry without a good signature is left out: a missing address means not
    allowed.
    """
    granted: set[Address] = set()
    message: bytes | None = None
    for entry in request.allow:
        try:
            resource = parse_address(entry["resource"])
            if not _names(entry.get("guardian"), guardian) or not _names(entry.get("accessor"), accessor):
                continue
            if message is None:
                message = request.payload_text.encode()
            if recover(Signature.from_wire(request.auth.get(resource)), message) == resource:
                granted.add(resource)
        except (AddressError, SignatureError, TypeError, KeyError, AttributeError, UnicodeEncodeError):
            continue
    return granted


def _names(word: object, wanted: Address | None) -> bool:
    # A request that an npm client has batched still has placeholders here, and no signatures that could count.
    return wanted is None or parse_address(word) == wanted
