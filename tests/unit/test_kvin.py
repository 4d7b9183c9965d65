"""KVIN on its own: the forms of the dossier, values that come back, and documents that mean harm."""

import contextlib
import re
import time
from array import array
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp import kvin
from dcp_worker.protocol.dcp.kvin import (
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
    node_of,
    value_of,
)
from dcp_worker.tests.kvin_describe import describe, unordered
from dcp_worker.tests.kvin_values import values

SHARED: dict[str, Any] = {}
READ: list[tuple[Any, Any]] = [
    (5, 5),
    ("hi", "hi"),
    ({"raw": "hi"}, "hi"),
    ({"raw": None}, None),
    ({"undefined": True}, UNDEFINED),
    ({"number": "-Infinity"}, float("-inf")),
    ({"bigint": "123"}, BigInt(123)),
    ({"symbol": "z"}, Symbol("z")),
    ({"ctr": "Symbol", "ps": {}, "arg": "Symbol(z)"}, Symbol("z")),
    ({"arr": [1, "a", {"undefined": True}]}, [1, "a", UNDEFINED]),
    ({"arr": [7, {"lst": 3}, 8]}, [7, 7, 7, 7, 8]),
    ({"arr": [1, {"lst": 1}, {"lst": 2}]}, [1, 1, 1, 1]),
    ({"arr": [1], "ps": {"0": 1, "4": 2}, "len": 5}, [1, UNDEFINED, UNDEFINED, UNDEFINED, 2]),
    ({"arr": [], "isl": [{"@": 2, "arr": [1, "x"]}], "len": 5}, [UNDEFINED, UNDEFINED, 1, "x", UNDEFINED]),
    ({"arr": [], "isl": [{"@": 1, "arr": {"arr": [1, {"lst": 2}]}}]}, [UNDEFINED, 1, 1, 1]),
    ({"arr": [1, 2, 3], "len": 2}, [1, 2]),
    ({"ctr": 0, "ps": {"a": 1, "__proto__": {"raw": 2}}}, {"a": 1, "__proto__": 2}),
    ({"ctr": 14, "ps": {"0": 1}}, [1]),
    ({"ctr": 2, "ab8": "\x01\x02ÿ"}, b"\x01\x02\xff"),
    ({"ctr": 2, "isl8": [{"0": "\x05\x06", "@": 10}], "len": 14}, bytes(10) + b"\x05\x06\0\0"),
    ({"ctr": 2, "arg": [1, 2]}, b"\x01\x02"),
    ({"ctr": 2, "ab16": "\u0201\u0403", "eb": "\x05"}, b"\x01\x02\x03\x04\x05"),
    ({"ctr": 2, "isl16": [{"0": "\u0201", "@": 1}], "len": 5}, b"\0\0\x01\x02\0"),
    ({"ctr": 3, "ab8": "a"}, ClampedBytes(b"a")),
    ({"ctr": 9, "arg": [1, 2.5]}, array("d", [1, 2.5])),
    ({"ctr": 4, "ab8": "ÿÿ,\x01"}, array("h", [-1, 300])),
    ({"ctr": "BigUint64Array", "ab8": "\x01" + "\0" * 7}, array("Q", [1])),
    ({"ctr": "Buffer", "ab8": "ab"}, b"ab"),
    ({"ctr": "ArrayBuffer", "ps": {}}, b""),
    ({"ctr": 19, "ps": {}, "arg": "1970-01-01T00:00:00.005Z"}, datetime(1970, 1, 1, 0, 0, 0, 5000, UTC)),
    ({"ctr": 19, "ps": {}, "arg": "+275760-09-13T00:00:00.000Z"}, JsDate(8_640_000_000_000_000)),
    ({"ctr": 19, "ps": {}, "arg": None}, JsDate(None)),
    ({"ctr": 10, "args": ["a+", "gi"]}, RegExp("a+", "gi")),
    (
        {"ctr": "Error", "ps": {"code": "E", "stack": "s"}, "arg": "m"},
        JsError("m", stack="s", properties={"code": "E"}),
    ),
    (
        {"ctr": "Error", "ps": {"extra": {"a": [None]}}, "arg": "m"},
        JsError("m", properties={"extra": {"a": [None]}}),
    ),
    ({"mapKeys": {"arr": [1]}, "mapVals": {"arr": ["x"]}}, JsMap([(1, "x")])),
    ({"set": {"arr": [1, "a"]}}, {1, "a"}),
    ({"set": {"arr": [1, True]}}, JsSet([1, True])),
    ({"ctr": 18, "ps": {}, "arg": "http://a/b"}, Url("http://a/b")),
    ({"ctr": "dcpUrl$$DcpURL", "ps": {}, "arg": "http://a/"}, DcpUrl("http://a/")),
    ({"ctr": 11, "arg": "3"}, 3),
    ({"ctr": 13, "arg": "false"}, False),
    ({"ctr": 12, "arg": "abc"}, "abc"),
    ({"ctr": "Foo", "ps": {"x": 1}}, Instance("Foo", {"x": 1})),
    ({"ctr": 15, "ps": {}, "fnName": "f", "arg": "x=>x"}, JsFunction("x=>x", "f")),
    ({"resolve": {"arr": [1]}}, Settled([1])),
    ({"reject": 5}, Settled(5, rejected=True)),
    ({"ptv": 5}, 5),
    ({"json": '{"a":1}'}, {"a": 1}),
    ({"arr": [{"arr": [1]}, {"lst": 1}, {"ctr": 0, "ps": {}}, {"seen": 3}]}, [[1], [1], *[SHARED] * 2]),
]


@pytest.mark.parametrize(("node", "value"), READ)
def test_reads_every_form(node: Any, value: Any) -> None:
    """Each form that writers of v4 to v9 produce is understood."""
    assert describe_or_self(value_of(node)) == describe_or_self(value)
    assert type(value_of(node)) is type(value)


def describe_or_self(value: Any) -> Any:
    try:
        return describe(value)
    except AssertionError:
        return value


WRITTEN: list[tuple[Any, Any]] = [
    (5, 5),
    ("hi", "hi"),
    (-0.0, {"json": "-0"}),
    (float("nan"), {"number": "NaN"}),
    (2**53, {"bigint": "9007199254740992"}),
    (None, {"raw": None}),
    ([1, [None, "x"], {"a": True}], {"raw": [1, [None, "x"], {"a": True}]}),
    ([UNDEFINED, None], {"arr": [{"undefined": True}, {"raw": None}]}),
    (b"\x01\xff", {"ctr": 2, "ab8": "\x01ÿ"}),
    (bytes(100), {"ctr": 2, "isl8": [], "len": 100}),
    (array("d", [1, 2]), {"ctr": 9, "arg": [1.0, 2.0]}),
    ({1: 2}, {"mapKeys": {"arr": [1]}, "mapVals": {"arr": [2]}}),
    (re.compile("a+", re.IGNORECASE), {"ctr": 10, "args": ["a+", "i"]}),
    (IntEnum("E", "A")["A"], 1),
    (
        datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        {"ctr": 19, "ps": {}, "arg": "2020-01-01T00:00:00.000Z"},
    ),
    (ValueError("m"), {"ctr": "Error", "ps": {"stack": "ValueError: m", "name": "ValueError"}, "arg": "m"}),
    (PropertyArray([1]), {"arr": [1]}),
]


@pytest.mark.parametrize(("value", "node"), WRITTEN)
def test_writes_the_documented_forms(value: Any, node: Any) -> None:
    """Python values take the forms that the table of ``kvin_types`` promises."""
    assert node_of(value) == node


@given(values)
@settings(max_examples=200, deadline=None)
def test_values_come_back(value: Any) -> None:
    """What is written as text is read as the same value, shared and circular parts included."""
    for version in ("v8", "v9"):
        back = kvin.deserialize(kvin.serialize(value, version))

        assert unordered(describe(back)) == unordered(describe(value))


def test_shared_and_circular_parts() -> None:
    """An object that stands twice in a value stands twice in the value that is read, also inside itself."""
    circle: dict[str, Any] = {"u": UNDEFINED}
    circle["me"] = [circle, circle["u"]]
    back = value_of(node_of(circle))

    assert back["me"][0] is back


def test_a_symbol_in_v8() -> None:
    """v8 has its own form for symbols; both are read as the same."""
    assert kvin.deserialize(kvin.serialize(Symbol("q"), "v8")) == kvin.deserialize(
        kvin.serialize(Symbol("q"))
    )


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, {"a": object()}, re.compile("(?P<x>a)"), array("u", "a"), 10**5000, 5j],
    ids=lambda value: type(value).__name__,
)
def test_says_what_it_cannot_write(value: Any) -> None:
    """A value without a form is refused with a text that names it."""
    with pytest.raises(KvinError, match=r"KVIN|JavaScript|bigint"):
        node_of(value)


def nested(depth: int, node: Any = 1) -> Any:
    for _ in range(depth):
        node = {"arr": [node]}
    return node


def doubled(depth: int, times: int) -> Any:
    node: Any = {"arr": [1]}
    for _ in range(depth):
        node = {"arr": [node, {"lst": times}]}
    return node


@pytest.mark.parametrize(
    "node",
    [
        None,
        [1],
        {},
        {"what": 1},
        {"arr": [None]},
        {"arr": 5},
        {"arr": [{"lst": 2}]},
        {"arr": [1, {"lst": -1}]},
        {"arr": [1, {"lst": 1.5}]},
        {"arr": [1, {"lst": True}]},
        {"arr": [1, {"lst": 10**9}]},
        {"arr": [1, {"lst": 10**30}]},
        {"arr": [{"raw": "x" * 1000}, {"lst": 3_000_000}]},
        {"arr": [], "len": 2**32 - 1},
        {"arr": [], "len": -1},
        {"arr": [], "ps": {"4294967294": 1}},
        {"arr": [], "isl": [{"@": 2**40, "arr": [1]}]},
        {"arr": [], "isl": [{"@": 0, "arr": "ab"}]},
        {"arr": [{"seen": 5}]},
        {"arr": [{"seen": -1}]},
        {"arr": [{"seen": True}]},
        {"seen": 0},
        {"bigint": "9" * 100_000},
        {"bigint": "0x10"},
        {"bigint": 5},
        {"number": "5"},
        {"number": ["NaN"]},
        {"json": "["},
        {"json": "[" * 100_000},
        {"ctr": 21},
        {"ctr": -1},
        {"ctr": None},
        {"ctr": 2, "ab8": "Ā"},
        {"ctr": 2, "ab8": 5},
        {"ctr": 9, "ab8": "abc"},
        {"ctr": 2, "isl8": [], "len": 10**12},
        {"ctr": 2, "isl8": [{"0": "ab", "@": 3}], "len": 4},
        {"ctr": 2, "isl8": [5], "len": 4},
        {"ctr": 2, "isl16": [5], "len": 4},
        {"ctr": 2, "arg": [256]},
        {"ctr": 9, "arg": ["x"]},
        {"ctr": 10, "args": ["a"]},
        {"ctr": 11, "arg": [1]},
        {"ctr": 18, "arg": 5},
        {"mapKeys": {"arr": [1]}},
        {"mapKeys": {"arr": [1, 2]}, "mapVals": {"arr": [1]}},
        {"set": [1]},
        nested(1000),
        doubled(40, 1),
        doubled(6, 100),
    ],
    ids=lambda node: (
        "deep" if isinstance(node, dict) and isinstance(node.get("arr"), list) else repr(node)[:40]
    ),
)
def test_hostile_nodes_are_refused(node: Any) -> None:
    """Nonsense and bombs give KvinError, quickly and in little memory."""
    start = time.process_time()
    with pytest.raises(KvinError):
        value_of(node)

    assert time.process_time() - start < 10


WORDS = (
    *(
        "arr",
        "ctr",
        "ps",
        "lst",
        "seen",
        "len",
        "isl",
        "isl8",
        "ab8",
        "ab16",
        "eb",
        "arg",
        "args",
        "@",
        "0",
        "set",
    ),
    *(
        "mapKeys",
        "mapVals",
        "raw",
        "number",
        "bigint",
        "symbol",
        "json",
        "ptv",
        "resolve",
        "reject",
        "fnName",
    ),
    "undefined",
)
scraps = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.floats() | st.text(max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)


@given(scraps)
@settings(max_examples=300, deadline=None)
def test_scraps_raise_nothing_but_kvin_error(node: Any) -> None:
    """Whatever is put together from the words of KVIN is read or refused, and never anything else."""
    with contextlib.suppress(KvinError):
        value_of(node)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"what": 1},
        {"_serializeVerId": "v10", "what": 1},
        {"_serializeVerId": ["v9"], "what": 1},
    ],
)
def test_documents_of_other_versions_are_refused(document: Any) -> None:
    """Only v4 to v9 are read, and the error names what came."""
    with pytest.raises(KvinError, match="KVIN"):
        kvin.unmarshal(document)


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"_serializeVerId":"v9","what":NaN}', b"\xff", "[" * 100_000]
)
def test_text_that_is_no_json(text: str | bytes) -> None:
    """Text that is no JSON gives KvinError."""
    with pytest.raises(KvinError):
        kvin.deserialize(text)


def test_undefined_is_one_and_false() -> None:
    """There is one UNDEFINED, also after a copy."""
    import copy
    import pickle

    assert not UNDEFINED
    assert copy.deepcopy([UNDEFINED])[0] is UNDEFINED
    assert pickle.loads(pickle.dumps(UNDEFINED)) is UNDEFINED
