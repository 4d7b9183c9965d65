"""A hypothesis strategy over all values that KVIN has a form for, with shared and circular parts."""

from array import array
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from dcp_worker.protocol.dcp.kvin import (
    UNDEFINED,
    BigInt,
    ClampedBytes,
    JsDate,
    JsError,
    JsMap,
    RegExp,
    Url,
)

text = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)  # lone surrogates too
milliseconds = st.datetimes(  # hypothesis wants the bounds naive
    datetime(1, 1, 2),  # noqa: DTZ001
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))
binary = st.one_of(
    st.binary(max_size=20), st.binary(max_size=6).map(lambda part: bytes(12) + part + bytes(9))
)
numbers = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats())
hashable = st.one_of(text, milliseconds, st.binary(max_size=5), numbers.filter(lambda n: n == n))
leaves = st.one_of(
    st.none(),
    st.just(UNDEFINED),
    st.booleans(),
    numbers,
    st.integers(-(2**80), 2**80),
    st.integers().map(BigInt),
    text,
    milliseconds,
    st.sampled_from([JsDate(None), JsDate(8_640_000_000_000_000), JsDate(-62_198_755_200_001)]),
    binary,
    binary.map(ClampedBytes),
    st.lists(st.floats(width=32), max_size=4).map(lambda items: array("f", items)),
    st.lists(st.floats() | st.integers(-9, 9).map(float), max_size=4).map(lambda items: array("d", items)),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4).map(lambda items: array("i", items)),
    st.lists(st.integers(0, 2**64 - 1), max_size=2).map(lambda items: array("Q", items)),
    st.sampled_from([RegExp("a+", "gi"), RegExp("[/]\\/", ""), Url("http://a.example/b?c#d")]),
    st.sets(st.text(max_size=3), max_size=3),
)
names = text.filter(lambda name: name not in ("__proto__", "constructor"))


def _wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, min_size=1, max_size=2).map(lambda items: items * 2),  # the same objects again
        st.dictionaries(names, inner, max_size=4),
        st.lists(st.tuples(st.text(max_size=2), inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            JsMap
        ),
        st.builds(_error, st.sampled_from(["Error", "TypeError", "MyError"]), text, inner),
        inner.map(_circle),
    )


def _error(name: str, message: str, cause: Any) -> JsError:
    return JsError(message, name=name, stack="here", properties={"code": cause})


def _circle(item: Any) -> list[Any]:
    circle = [item, UNDEFINED]
    circle.append(circle)
    return circle


values = st.recursive(leaves, _wider, max_leaves=12)
