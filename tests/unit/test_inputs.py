"""Inputs are cut by slices without being decoded; what is no values body is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.actors.inputs import Inputs, InputsError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, min_size=1, max_size=12), st.data())
def test_a_cut_is_the_body_of_those_slices(values: list[object], data: st.DataObject) -> None:
    """Any stretch of the inputs is the array of exactly its values."""
    body = json.dumps(values, ensure_ascii=data.draw(st.booleans())).encode()
    inputs = Inputs(body, 11, len(values))
    start = data.draw(st.integers(0, len(values) - 1))
    count = data.draw(st.integers(1, len(values) - start))

    cut = inputs.cut(11 + start, count)

    assert json.loads(cut) == values[start : start + count]
    assert 0 < inputs.size(11 + start, count) <= len(body)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"", 1),
        (b"[]", 1),
        (b"[1,2]", 3),
        (b"[1,2]", 1),
        (b"{}", 1),
        (b'["a]', 1),
        (b"[[1]", 1),
        (b"[1]]", 1),
        (b"[1\n]", 1),
        (b'["a\nb"]', 1),
        (b"[" + b"[" * 2000 + b"]" * 2000 + b"]", 1),
    ],
)
def test_what_is_no_values_body_is_refused(body: bytes, count: int) -> None:
    """A wrong count, an open bracket or a line break is an error and never reaches a sandbox."""
    with pytest.raises(InputsError):
        Inputs(body, 1, count)


def test_slices_outside_are_an_error() -> None:
    """A stretch that is not covered is a mistake of the caller."""
    with pytest.raises(IndexError):
        Inputs(b"[1,2,3]", 5, 3).cut(7, 2)
