"""Values on their way: opaque KVIN nodes, bodies of many of them, and the wire's forms for one.

A *node* is what stands behind ``"what":`` in a KVIN document, on its own: no ``{"seen": n}`` in it refers to
anything outside. A *values body* is the text of a JSON array with one node for each slice, on one line:
``[1,2,{"ctr":0,"ps":{"a":1}}]``. A value that is at an address stands there as ``{"uri": "https://..."}``,
which is no KVIN node. Nodes are never changed in place; several slices may share one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ...errors import DcpError
from .data_uri import DataUriError, decode_data_uri, encode_data_uri
from .json_text import JsonError, dumps, loads
from .kvin import node_in
from .kvin_reader import value_of
from .kvin_types import KvinError
from .kvin_writer import node_of

Node = Any

MAX_BODY: Final = 256 * 2**20  # bytes; the most a values body may be when a caller names no limit
MAX_ELEMENTS: Final = 4_000_000  # the most nodes that one document may be split into
MAX_COPIES: Final = 32 * 2**20  # characters; the most that may be written anew where elements share objects,
_COST_OF_NODE: Final = 60  # ... to which each object in them adds this many, for the work that it makes
_BARE: Final = frozenset({int, float, str, bool})
_NODES: Final = _BARE | {dict}
_UNDEFINED: Final[dict[str, Any]] = {"undefined": True}
_V9_ONLY: Final = ('"symbol":', '"resolve":', '"reject":')
_EMPTY: Final = frozenset({"", "[]"})

__all__ = [
    "Node",
    "ValuesError",
    "argument_nodes",
    "body_of",
    "count_of",
    "join_bodies",
    "needs_v9",
    "node_from_result",
    "node_of",
    "node_to_document_text",
    "node_to_uri",
    "nodes_of",
    "plain_node",
    "result_from_node",
    "split_document",
    "uri_to_node",
    "value_of",
]


class ValuesError(DcpError):
    """A values body, or a value in one of the wire's other forms, is malformed or too large."""

    code = "EVALUES"


# -- values bodies -------------------------------------------------------------------------------------------


def body_of(nodes: Iterable[Node]) -> str:
    """The values body of these nodes."""
    try:
        return dumps(nodes if isinstance(nodes, list) else list(nodes))
    except JsonError as problem:
        raise ValuesError(f"a node {problem}") from None


def nodes_of(body: str | bytes, expected: int | None = None, max_bytes: int = MAX_BODY) -> list[Node]:
    """The nodes of a values body; ``expected`` is how many there must be.

    Checked is the outer shape. What a node says is checked by whoever turns it into a value.
    """
    if len(body) > max_bytes:
        raise ValuesError(f"a values body of {len(body):,} is longer than the {max_bytes:,} allowed here")
    try:
        nodes = loads(body)
    except JsonError as problem:
        raise ValuesError(f"a values body is {problem}") from None
    if type(nodes) is not list or not _NODES.issuperset(map(type, nodes)):
        raise ValuesError("a values body must be a JSON array of KVIN nodes")
    if expected is not None and len(nodes) != expected:
        raise ValuesError(f"a values body has {len(nodes)} values where {expected} belong")
    return nodes


def count_of(body: str | bytes) -> int:
    """How many values a body has (checks it as ``nodes_of`` does)."""
    return len(nodes_of(body))


def join_bodies(bodies: Iterable[str]) -> str:
    """One body of several, in order, without reading them."""
    return "[" + ",".join(body[1:-1] for body in bodies if body not in _EMPTY) + "]"


# -- documents of many values --------------------------------------------------------------------------------


def split_document(document: Mapping[str, Any], max_elements: int = MAX_ELEMENTS) -> list[Node]:
    """One standalone node for each element of a document that holds an array, in order.

    Repetitions are written out, holes become ``undefined``. Where an element refers to an object of another
    one, it gets its own copy.
    """
    what = node_in(document)
    if type(what) is dict and what.keys() == {"arr"} and type(what["arr"]) is list:
        items: list[Any] = what["arr"]
        if _BARE.issuperset(map(type, items)):
            return list(items) if len(items) <= max_elements else _refuse(max_elements)
        if '"seen":' not in _text(items):
            return _written_out(items, max_elements)
    elif type(what) is dict and type(what.get("raw")) is list:
        if len(what["raw"]) > max_elements:
            _refuse(max_elements)
        return [plain_node(item) for item in what["raw"]]
    return _split_by_value(what, max_elements)


def _written_out(items: list[Any], max_elements: int) -> list[Node]:
    nodes: list[Node] = []
    for item in items:
        kind = type(item)
        if kind in _BARE:
            nodes.append(item)
        elif kind is dict and "lst" in item:
            times = item["lst"]
            if type(times) is not int or times < 0 or not nodes:
                raise ValuesError(f"a repetition makes no sense here: {repr(item)[:80]}")
            if len(nodes) + times > max_elements:
                _refuse(max_elements)
            if times * len(_text(nodes[-1])) > MAX_BODY:
                raise ValuesError(
                    "a repetition makes more values than fit into one body; send smaller portions"
                )
            nodes += [nodes[-1]] * times
        elif kind is dict or item is None:
            nodes.append(item if kind is dict else {"raw": None})
        else:
            raise ValuesError(f"an element of the array is no KVIN node: {repr(item)[:80]}")
    return nodes if len(nodes) <= max_elements else _refuse(max_elements)


def _split_by_value(what: Any, max_elements: int) -> list[Node]:
    try:
        value = value_of(what, max_expansion=max_elements)
    except KvinError as problem:
        raise ValuesError(f"the values cannot be taken apart: {problem}") from None
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise ValuesError("the values must be an array")
    items = list(value)
    if len(items) > max_elements:
        _refuse(max_elements)
    nodes: list[Node] = []
    written: dict[
        int, tuple[Node, int]
    ] = {}  # one node for all elements that are the same object, and its length
    work = characters = 0
    for item in items:
        if type(item) in _BARE:
            nodes.append(node_of(item))
            continue
        if id(item) not in written:
            node = node_of(item)
            text = _text(node)
            written[id(item)] = node, len(text)
            work += len(text) + _COST_OF_NODE * text.count("{")
        node, length = written[id(item)]
        nodes.append(node)
        characters += length
        if work > MAX_COPIES or characters > MAX_BODY:
            raise ValuesError("the values share too much to be taken apart; send them without shared objects")
    return nodes


def _refuse(max_elements: int) -> list[Node]:
    raise ValuesError(f"more than {max_elements:,} values at once; send them in smaller portions")


def _text(node: Node) -> str:
    try:
        return dumps(node)
    except JsonError as problem:
        raise ValuesError(f"a node {problem}") from None


# -- one value in the wire's forms ---------------------------------------------------------------------------


def plain_node(value: Any) -> Node:
    """The node of a value that came out of a JSON parser."""
    return value if type(value) in _BARE else {"raw": value}


def node_to_document_text(node: Node, version: str = "v9") -> str:
    """The text of a whole KVIN document with this node."""
    return f'{{"_serializeVerId":"{version}","what":{_text(node)}}}'


def _parsed_document(text: str) -> Node:
    try:
        return node_in(loads(text))
    except (JsonError, KvinError) as problem:
        raise ValuesError(f"a value is no KVIN: {problem}") from None


def _parsed_json(text: str) -> Node:
    try:
        return plain_node(loads(text))
    except JsonError as problem:
        raise ValuesError(f"a value is {problem}") from None


def needs_v9(node: Node) -> bool:
    """Whether a reader of KVIN v8 might not understand the value. Plain values go as JSON, which all read."""
    if type(node) in _BARE or (type(node) is dict and node.keys() in ({"uri"}, {"raw"})):
        return False
    text = _text(node)
    return any(mark in text for mark in _V9_ONLY)


def node_to_uri(node: Node, version: str | None = None) -> str:
    """The value as a URI: its address, or a ``data:`` URI. Plain values go as JSON, which every worker reads.

    Without a version a document is written as v8 when v8 can say it, since all readers of v9 read it too.
    """
    if type(node) in _BARE:
        return encode_data_uri(_text(node), "application/json")
    if type(node) is dict:
        if node.keys() == {"uri"}:
            return str(node["uri"])
        if node.keys() == {"raw"}:
            return encode_data_uri(_text(node["raw"]), "application/json")
    if version is None:
        version = "v9" if needs_v9(node) else "v8"
    return encode_data_uri(node_to_document_text(node, version), "application/x-kvin")


def uri_to_node(uri: str) -> Node:
    """The node of a value given by URI. Only ``data:`` URIs are read; others become ``{"uri": uri}``."""
    if not isinstance(uri, str):
        raise ValuesError(f"a value's URI must be text, not {repr(uri)[:60]}")
    if uri[:5].lower() != "data:":
        return {"uri": uri}
    try:
        content = decode_data_uri(uri)
        if content.mime == "application/json":
            return _parsed_json(content.text)
        if content.mime == "application/x-kvin":
            return _parsed_document(content.text)
        if isinstance(content.data, str) or content.mime.startswith("text/") or content.charset:
            return content.text
    except DataUriError as problem:
        raise ValuesError(str(problem)) from None
    return node_of(content.data)


def _node_of_serialized(value: Any) -> Node:
    """The node inside ``{"string", "method", "MIMEType"}``, the wire's wrapper around a serialised value."""
    if isinstance(value, Mapping) and isinstance(value.get("string"), str):
        if value.get("method") == "kvin" or value.get("MIMEType") == "application/x-kvin":
            return _parsed_document(value["string"])
        if value.get("method") == "json" or value.get("MIMEType") == "application/json":
            return _parsed_json(value["string"])
    raise ValuesError(f"a serialised value must have string, method and MIMEType: {repr(value)[:80]}")


def node_from_result(result: Any) -> Node:
    """The node in ``resultV2``, which workers submit for a slice: KVIN of a wrapper around its text."""
    try:
        return _node_of_serialized(value_of(node_in(result)))
    except KvinError as problem:
        raise ValuesError(f"a result is no KVIN: {problem}") from None


def result_from_node(node: Node, version: str = "v9") -> dict[str, Any]:
    """The ``resultV2`` of a node."""
    wrapper = {
        "string": node_to_document_text(node, version),
        "method": "kvin",
        "MIMEType": "application/x-kvin",
    }
    return {"_serializeVerId": version, "what": {"raw": wrapper}}


def argument_nodes(marshaled: Mapping[str, Any]) -> Sequence[Node]:
    """The nodes in ``marshaledArguments`` of a job: KVIN of an array of wrapped values and of URLs."""
    nodes = []
    for node in split_document(marshaled):
        href = node.get("arg") if type(node) is dict and node.get("ctr") in (18, "dcpUrl$$DcpURL") else None
        if isinstance(href, str):
            nodes.append(uri_to_node(href))
        else:
            nodes.append(_node_of_serialized(value_of(node)))
    return nodes
