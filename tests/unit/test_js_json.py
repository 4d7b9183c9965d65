"""JSON as JavaScript prints it, measured against node itself."""

import json
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp import js_json
from dcp_worker.tests.npm import node_binary

# Reads lines of JSON and answers each with what JSON.stringify makes of the value.
PROGRAM = """
const rl = require('readline').createInterface({ input: process.stdin });
rl.on('line', (line) => {
  const text = JSON.stringify(JSON.parse(line));
  process.stdout.write(JSON.stringify(text).replace(/[\\u007f-\\uffff]/g,
    (c) => '\\\\u' + c.charCodeAt(0).toString(16).padStart(4, '0')) + '\\n');
});
"""

texts = st.text(st.characters(blacklist_categories=()), max_size=20)
keys = (
    texts
    | st.integers(0, 2**34).map(str)
    | st.sampled_from(["", "00", "01", "-1", "1.5", "4294967295", "4294967294"])
)
numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(1e-9, 1e-3)
    | st.floats(1e14, 1e23)
    | st.integers(-30, 30).map(lambda power: 10.0**power)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def stringify() -> Any:
    """A function that lets node print the value of a JSON text."""
    process = subprocess.Popen(
        [str(node_binary()), "-e", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="ascii"
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(text: str) -> str:
        process.stdin.write(text + "\n")
        process.stdin.flush()
        return str(json.loads(process.stdout.readline()))

    yield ask
    process.stdin.close()
    process.wait(10)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_dumps_equals_stringify(stringify: Any, value: Any) -> None:
    """What Python prints is what node prints for the same value, to the character."""
    assert js_json.dumps(value) == stringify(json.dumps(value))


@settings(deadline=None)
@given(value=values)
def test_what_is_printed_reads_back_the_same(value: Any) -> None:
    """Printing, reading and printing again changes nothing."""
    text = js_json.dumps(value)

    assert js_json.dumps(js_json.loads(text)) == text


def test_lone_surrogates_are_escaped_and_pairs_joined() -> None:
    """Half a pair is printed as an escape in lower case; two halves are the character that they make."""
    assert js_json.dumps({"\ud83d\ude00": "\udc00\ud83dx"}) == '{"😀":"\\udc00\\ud83dx"}'


def test_not_a_number_is_null() -> None:
    """JavaScript prints what JSON has no number for as null."""
    assert js_json.dumps([float("nan"), float("inf"), -float("inf"), 10**400]) == "[null,null,null,null]"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "NaN", "[Infinity]", "1e999", '"\\ud800" NaN', "nul", "1 2", "{'a':1}", "[" * 100_000],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """What JSON.parse refuses is a JsJsonError, as are numbers without a double and deep nesting."""
    with pytest.raises(js_json.JsJsonError):
        js_json.loads(text)


def test_long_texts_are_refused() -> None:
    """The limit on the size holds before anything is parsed."""
    with pytest.raises(js_json.JsJsonError, match="limit"):
        js_json.loads("[1,2,3,4,5]", max_size=10)


@pytest.mark.parametrize("value", [{1: 2}, {"a": {2, 3}}, b"x", [object()]])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    """Values without a form in JSON raise instead of being guessed at."""
    with pytest.raises(js_json.JsJsonError):
        js_json.dumps(value)


def test_deep_values_are_refused() -> None:
    """A value nested beyond reason is an error, not a crash."""
    value: Any = 1.0
    for _ in range(100_000):
        value = [value]

    with pytest.raises(js_json.JsJsonError, match="deep"):
        js_json.dumps(value)
    while isinstance(value, list):  # taken apart here, where no destructor recurses
        value = value.pop()


def test_bytes_are_read_as_text_is() -> None:
    """Half a surrogate pair comes as an escape in bytes, too; bytes that are no UTF-8 are refused."""
    assert js_json.loads(b'["\\ud800x"]') == js_json.loads('["\\ud800x"]') == ["\ud800x"]
    with pytest.raises(js_json.JsJsonError):
        js_json.loads(b'["\\ud800", "\xff"]')
