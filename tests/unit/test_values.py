"""Values on their way: bodies, documents that are split, and the wire's forms for one value."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp import kvin
from dcp_worker.protocol.dcp.kvin import UNDEFINED
from dcp_worker.protocol.dcp.values import (
    ValuesError,
    argument_nodes,
    body_of,
    count_of,
    join_bodies,
    node_from_result,
    node_of,
    node_to_document_text,
    node_to_uri,
    nodes_of,
    result_from_node,
    split_document,
    uri_to_node,
    value_of,
)
from dcp_worker.tests.kvin_describe import describe, unordered
from dcp_worker.tests.kvin_values import values


def document(what: Any, version: str = "v9") -> dict[str, Any]:
    return {"_serializeVerId": version, "what": what}


SPLIT: list[tuple[Any, list[Any]]] = [
    ({"raw": []}, []),
    ({"arr": [1, 2.5, "x", True]}, [1, 2.5, "x", True]),
    ({"arr": [1, {"lst": 3}, 2]}, [1, 1, 1, 1, 2]),
    (
        {"arr": [{"raw": None}, {"undefined": True}, {"lst": 1}]},
        [{"raw": None}, {"undefined": True}, {"undefined": True}],
    ),
    ({"raw": [1, None, [2], {"a": 3}]}, [1, {"raw": None}, {"raw": [2]}, {"raw": {"a": 3}}]),
    ({"arr": [1], "ps": {"0": 1, "2": 3}, "len": 4}, [1, {"undefined": True}, 3, {"undefined": True}]),
    (
        {"arr": [{"ctr": 0, "ps": {"seen": {"undefined": True}}}]},
        [{"ctr": 0, "ps": {"seen": {"undefined": True}}}],
    ),
    ({"ctr": 9, "arg": [1, 2]}, [1.0, 2.0]),
]


@pytest.mark.parametrize(("what", "nodes"), SPLIT)
def test_splits_every_form_of_array(what: Any, nodes: list[Any]) -> None:
    """Dense, repeated, raw and sparse arrays all become one standalone node an element."""
    assert split_document(document(what)) == nodes


@given(st.lists(values, max_size=5))
@settings(max_examples=100, deadline=None)
def test_each_node_stands_on_its_own(items: list[Any]) -> None:
    """Elements that share objects are taken apart: each node alone gives its element."""
    nodes = split_document(kvin.marshal(items * 2))

    assert [unordered(describe(value_of(node))) for node in nodes] == [
        unordered(describe(item)) for item in items * 2
    ]


def test_an_element_that_holds_the_whole_array() -> None:
    """A reference to the array that is being split becomes a copy of it inside the element."""
    nodes = split_document(document({"arr": [{"ctr": 0, "ps": {"all": {"seen": 0}, "n": 1}}, 5]}))
    first = value_of(nodes[0])

    assert nodes[1] == 5
    assert first["all"][0] is first
    assert first["all"][1] == 5


@pytest.mark.parametrize(
    "what",
    [
        5,
        "text",
        {"ctr": 0, "ps": {}},
        {"raw": {}},
        {"raw": "abc"},
        {"arr": [[1]]},
        {"arr": [{"lst": 1}]},
        {"arr": [1, {"lst": 10**9}]},
        {"arr": [1, {"lst": "x"}]},
        {"arr": ["x" * 1000, {"lst": 1_000_000}]},
        {"arr": [], "len": 10**9},
        {"arr": [{"seen": 9}]},
        {"arr": [{"arr": [{"seen": 0}]} for _ in range(5000)]},
    ],
    ids=lambda what: repr(what)[:40],
)
def test_hostile_documents_are_refused(what: Any) -> None:
    """What is no array, or would grow beyond measure, gives ValuesError in bounded time."""
    start = time.process_time()
    with pytest.raises(ValuesError):
        split_document(document(what))

    assert time.process_time() - start < 20


def test_bodies_are_one_line() -> None:
    """A body is the text of a JSON array without line ends, and gives its nodes back."""
    nodes = [1, "a\nb\u2028", {"ctr": 0, "ps": {"a": 1}}, {"uri": "https://a.example/x"}, "\ud800"]
    body = body_of(nodes)

    assert "\n" not in body
    assert nodes_of(body, expected=5) == nodes
    assert nodes_of(body.encode()) == nodes
    assert count_of(body) == 5
    assert body_of(iter([1, 2])) == "[1,2]"


def test_joined_bodies_keep_the_order() -> None:
    """Bodies are put together as text, empty ones vanish."""
    assert join_bodies(["[1,2]", "[]", '["x"]']) == '[1,2,"x"]'
    assert join_bodies([]) == "[]"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "not JSON"),
        ("5", "JSON array"),
        ("{}", "JSON array"),
        ("[null]", "KVIN nodes"),
        ("[[1]]", "KVIN nodes"),
        ("[1] [2]", "not JSON"),
        ("[NaN]", "not JSON"),
        ("[1,2,3]", "has 3 values where 2 belong"),
        (b"[\xff]", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[" + "1," * 100 + "1]", "longer than the 100"),
    ],
)
def test_bodies_that_are_wrong(body: str | bytes, says: str) -> None:
    """A body of another shape, count or size is refused."""
    with pytest.raises(ValuesError, match=says):
        nodes_of(body, expected=2, max_bytes=100 if len(body) < 5000 else 10**6)


def test_plain_numbers_cost_next_to_nothing() -> None:
    """Fifty thousand numbers are split, put into a body and taken out again in microseconds each."""
    doc = document({"arr": list(range(50_000))})
    start = time.process_time()
    nodes = split_document(doc)
    body = body_of(nodes)
    assert nodes_of(body, expected=50_000) == nodes
    assert count_of(body) == 50_000

    assert time.process_time() - start < 50_000 * 8e-6


@pytest.mark.parametrize(
    ("node", "uri"),
    [
        (3, "data:application/json,3"),
        ("ä b", "data:application/json,%22%C3%A4%20b%22"),
        ({"raw": {"a": "50%#"}}, "data:application/json,%7B%22a%22:%2250%25#%22%7D"),
        ({"uri": "https://a.example/x"}, "https://a.example/x"),
        (
            {"undefined": True},
            "data:application/x-kvin,%7B%22_serializeVerId%22:%22v8%22,%22what%22:%7B%22undefined%22:true%7D%7D",
        ),
    ],
)
def test_nodes_as_uris(node: Any, uri: str) -> None:
    """Plain values are JSON, others KVIN in the oldest version that says them; both are read back."""
    assert node_to_uri(node) == uri
    assert uri_to_node(uri) == node


def test_symbols_need_v9() -> None:
    """A node that v8 cannot say goes out as v9."""
    assert "%22v9%22" in node_to_uri({"symbol": "x"})


@pytest.mark.parametrize(
    ("uri", "value"),
    [
        ("data:,hello%20there", "hello there"),
        ("data:text/plain;charset=utf-8;base64,aMOk", "hä"),
        ("data:application/json;base64,WzFd", [1]),
        ("data:application/octet-stream;base64,AAH/", b"\0\x01\xff"),
        ("data:image/svg+xml,<x/>", "<x/>"),
    ],
)
def test_other_data_uris(uri: str, value: Any) -> None:
    """Text becomes a string, bytes become a Uint8Array."""
    assert value_of(uri_to_node(uri)) == value


@pytest.mark.parametrize(
    "uri",
    [
        "data:",
        "data:application/json,{",
        "data:application/x-kvin,5",
        "data:,%zz",
        "data:;base64,!!",
        "data:<>,x",
        5,
    ],
)
def test_uris_that_are_wrong(uri: Any) -> None:
    """A data URI that cannot be read gives ValuesError."""
    with pytest.raises(ValuesError):
        uri_to_node(uri)


@given(values)
@settings(max_examples=60, deadline=None)
def test_results_come_back(value: Any) -> None:
    """A node survives the wrapper that workers submit results in."""
    node = node_of(value)

    assert node_from_result(result_from_node(node)) == nodes_of(body_of([node]))[0]


def test_a_result_as_it_was_observed() -> None:
    """The wrapper of the npm worker, with KVIN and with JSON."""
    text = node_to_document_text({"undefined": True}, "v8")
    wrapped = {"string": text, "method": "kvin", "MIMEType": "application/x-kvin"}

    assert node_from_result(document({"raw": wrapped})) == {"undefined": True}
    assert node_from_result(document({"raw": {"string": "[1]", "method": "json"}}, "v8")) == {"raw": [1]}


@pytest.mark.parametrize(
    "result",
    [
        None,
        5,
        {},
        document(5),
        document({"raw": {"string": 5}}),
        document({"raw": {"string": "x", "method": "kvin"}}),
        document({"raw": {"string": "x", "method": "?"}}),
    ],
)
def test_results_that_are_wrong(result: Any) -> None:
    """A result in another shape gives ValuesError."""
    with pytest.raises(ValuesError):
        node_from_result(result)


def test_arguments() -> None:
    """Arguments are wrapped values or addresses."""
    wrapped = {
        "string": '{"_serializeVerId":"v9","what":7}',
        "method": "kvin",
        "MIMEType": "application/x-kvin",
    }
    marshaled = document({"arr": [{"raw": wrapped}, {"ctr": 18, "ps": {}, "arg": "https://a.example/x"}]})

    assert argument_nodes(marshaled) == [7, {"uri": "https://a.example/x"}]
    assert argument_nodes(document({"raw": []})) == []


def test_undefined_in_the_middle() -> None:
    """The value of an undefined element is UNDEFINED, not None."""
    assert [value_of(node) for node in split_document(kvin.marshal([1, UNDEFINED, None]))] == [
        1,
        UNDEFINED,
        None,
    ]
