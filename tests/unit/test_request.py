"""Requests as they come in, and the permissions that they carry."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp.request import MalformedRequest, Request, read_request, verify_allow
from dcp_worker.protocol.dcp.signature import PrivateKey

ACCOUNT, SERVER, CLIENT = (PrivateKey.from_hex(digit * 64) for digit in "456")
ENTRY = {"resource": ACCOUNT.address, "guardian": SERVER.address, "accessor": CLIENT.address}
PAYLOAD = {
    "operation": "submit@5",
    "data": {"2": 1, "n": 1.0, "text": "é😀}"},
    "allow": [ENTRY],
    "validity": {},
}


def request(payload: Any = PAYLOAD, auth: Any = None, *, signed: str | None = None) -> Request:
    """A request whose payload is signed by the account, spelled as JavaScript would not."""
    payload_text = json.dumps(payload, ensure_ascii=False)
    if auth is None:
        auth = {ACCOUNT.address: ACCOUNT.sign((signed or payload_text).encode()).to_wire()}
    text = f'{{"id":"1-1","type":"request","payload":{payload_text},"auth":{json.dumps(auth)},"time":1}}'
    return read_request(json.loads(text), text)


def test_the_text_of_the_payload_is_what_was_sent() -> None:
    """Not what we would have printed for it."""
    assert request().payload_text == json.dumps(PAYLOAD, ensure_ascii=False)


def test_a_signed_permission_counts() -> None:
    """For whom it is meant, and for nobody else."""
    account = {ACCOUNT.address}

    assert verify_allow(request()) == account
    assert verify_allow(request(), guardian=SERVER.address, accessor=CLIENT.address) == account
    assert verify_allow(request(), guardian=CLIENT.address) == set()
    assert verify_allow(request(), accessor=SERVER.address) == set()


def test_an_unsigned_permission_does_not_count() -> None:
    """Neither without a signature, nor with one over something else or by somebody else."""
    other = {ACCOUNT.address: CLIENT.sign(request().payload_text.encode()).to_wire()}

    assert verify_allow(request(auth={})) == set()
    assert verify_allow(request(auth=other)) == set()
    assert verify_allow(request(signed="{}")) == set()


@settings(deadline=None)
@given(
    allow=st.lists(
        st.none() | st.text() | st.dictionaries(st.sampled_from(list(ENTRY)), st.none() | st.text()),
        max_size=4,
    ),
    auth=st.none()
    | st.text()
    | st.dictionaries(st.sampled_from([str(ACCOUNT.address), "x"]), st.none() | st.text()),
)
def test_nonsense_grants_nothing(allow: Any, auth: Any) -> None:
    """Whatever stands where permissions belong, nothing is granted and nothing raised."""
    assert verify_allow(request({**PAYLOAD, "allow": allow}, auth or {})) == set()


def test_data_may_be_a_string_of_json() -> None:
    """jsonData is parsed and takes the place of data."""
    assert request({"operation": "x", "jsonData": '{"a":[1]}'}).data == {"a": [1]}


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        {},
        {"operation": ""},
        {"operation": "x" * 101},
        {"operation": 5},
        {"operation": "x", "jsonData": 5},
        {"operation": "x", "jsonData": "{"},
        {"operation": "x", "allow": {}},
        {"operation": "x", "allow": [ENTRY] * 65},
    ],
)
def test_malformed_requests_are_refused(payload: Any) -> None:
    """What is no request is an error."""
    with pytest.raises(MalformedRequest):
        request(payload, {})
