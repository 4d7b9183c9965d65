"""encodeURI, decodeURI and data URIs exactly as JavaScript has them."""

import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp.data_uri import (
    DataUri,
    DataUriError,
    decode_data_uri,
    decode_uri,
    encode_data_uri,
    encode_uri,
)
from dcp_worker.tests.npm import node_binary

TEXTS = [
    *(chr(code) for code in range(0x100)),
    *("%" + f"{code:02X}" for code in range(0x100)),
    *(
        "€",
        "%E2%82%AC",
        "%e2%82%ac%23x",
        "😀",
        "%F0%9F%98%80",
        "%F0%9F%98",
        "%C0%80",
        "%ED%A0%80",
        "%F4%90%80%80",
    ),
    *(
        "%",
        "%2",
        "%zz",
        "a%",
        "%%41",
        "%25%2541",
        "%E2%82",
        "%E2(%82",
        "\ud800",
        "a\udc00b",
        "%23%3B%2c%41",
        "%c3%a4%2F",
    ),
]


def test_same_as_javascript() -> None:
    """V8's own encodeURI and decodeURI give the same on every byte and on the odd cases."""
    program = """
const of = (f) => (t) => { try { return f(t); } catch { return null; } };
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify([texts.map(of(encodeURI)), texts.map(of(decodeURI))]));
"""
    said = subprocess.run(
        [node_binary(), "-e", program], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    encoded, decoded = json.loads(said.stdout)

    assert dict(zip(TEXTS, map(_or_none(encode_uri), TEXTS), strict=True)) == dict(
        zip(TEXTS, encoded, strict=True)
    )
    assert dict(zip(TEXTS, map(_or_none(decode_uri), TEXTS), strict=True)) == dict(
        zip(TEXTS, decoded, strict=True)
    )


def _or_none(function):  # type: ignore[no-untyped-def]
    def call(text: str) -> str | None:
        try:
            return str(function(text))
        except DataUriError:
            return None

    return call


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_what_is_encoded_is_decoded(text: str) -> None:
    """Every text without lone surrogates comes back."""
    assert decode_uri(encode_uri(text)) == text
    assert decode_data_uri(encode_data_uri(text, "text/plain")).data == text
    assert decode_data_uri(encode_data_uri(text.encode(), "text/plain", "utf-8")).text == text


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("data:,x", DataUri("text/plain", None, "x")),
        ("DATA:Text/HTML;charset=utf-8,a,b", DataUri("text/html", "utf-8", "a,b")),
        ("data:;base64,YQ==", DataUri("text/plain", None, b"a")),
        ("data:;base64,YQ%3D%3D", DataUri("text/plain", None, b"a")),
        ("data:;base64,YQ", DataUri("text/plain", None, b"a")),
        ("data:application/json;x=y,%7B%7D", DataUri("application/json", None, "{}")),
    ],
)
def test_reads_the_forms(uri: str, content: DataUri) -> None:
    """Media type, charset and base64 are understood in any order and case."""
    assert decode_data_uri(uri) == content


@pytest.mark.parametrize(
    "uri", ["", "data:", "http://x/,", "data:a b,x", "data:;base64,*", "data:,%", "data:" + ";x" * 999 + ",y"]
)
def test_refuses_others(uri: str) -> None:
    """What is no data URI gives DataUriError."""
    with pytest.raises(DataUriError):
        decode_data_uri(uri)


def test_text_in_an_unknown_charset() -> None:
    """Content that is not text in its charset says so."""
    with pytest.raises(DataUriError, match="not text"):
        _ = decode_data_uri("data:text/plain;charset=klingon;base64,YQ==").text
