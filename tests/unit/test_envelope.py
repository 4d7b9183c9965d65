"""Addresses, signatures and envelopes."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_worker.protocol.dcp.address import Address, AddressError, parse_address
from dcp_worker.protocol.dcp.envelope import EnvelopeError, open_envelope, seal
from dcp_worker.protocol.dcp.hashing import eh1, salted
from dcp_worker.protocol.dcp.signature import PrivateKey, Signature, SignatureError, recover
from dcp_worker.protocol.dcp.signer import LocalSigner

KEY = PrivateKey.from_hex("0x" + "46" * 32)
SEALED = asyncio.run(seal('{"type":"request","text":"é😀","n":1e-7}', LocalSigner(KEY)))


@pytest.mark.parametrize(
    "text",
    [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_checksums_follow_eip_55(text: str) -> None:
    """The examples of EIP-55 keep their spelling, and gain it from lower or upper case."""
    assert parse_address(text) == text
    assert parse_address(text.lower()) == text
    assert parse_address("0x" + text[2:].upper()) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        5,
        None,
    ],
)
def test_bad_addresses_are_refused(text: object) -> None:
    """Wrong form and wrong checksum are errors that say so."""
    with pytest.raises(AddressError):
        parse_address(text)


def test_known_key_has_its_known_address() -> None:
    """A published Ethereum example: this key belongs to this address."""
    assert KEY.address == "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"


def test_a_key_never_shows_itself() -> None:
    """Neither repr nor str have the secret in them."""
    assert "46" * 32 not in repr(KEY) + str(KEY) + repr(LocalSigner(KEY))


@pytest.mark.parametrize("secret", ["", "00" * 32, "ff" * 32, "12" * 31, "zz" * 32])
def test_bad_keys_are_refused_without_showing_them(secret: str) -> None:
    """The error of a bad key does not repeat it."""
    with pytest.raises(SignatureError) as caught:
        PrivateKey.from_hex(secret)

    assert not secret or secret not in str(caught.value)


@settings(deadline=None)
@given(message=st.binary(max_size=200))
def test_signatures_recover_their_signer(message: bytes) -> None:
    """A signature names its signer, also after a trip over the wire, and another one for another message."""
    signature = Signature.from_wire(json.loads(json.dumps(KEY.sign(message).to_wire())))

    assert recover(signature, message) == KEY.address
    assert _recovered(signature, message + b"x") != KEY.address


def _recovered(signature: Signature, message: bytes) -> Address | None:
    try:
        return recover(signature, message)
    except SignatureError:
        return None


def test_plain_lists_are_signatures_too() -> None:
    """r and s may be lists of byte values instead of Node buffers."""
    signature = KEY.sign(b"x")
    wire = {"r": list(signature.r), "s": list(signature.s), "v": signature.v}

    assert Signature.from_wire(wire) == signature


@pytest.mark.parametrize(
    "wire",
    [
        None,
        {},
        {"r": "00", "s": [], "v": 27},
        {"r": [256], "s": [1], "v": 27},
        {"r": [1] * 33, "s": [1], "v": 27},
        {"r": [1], "s": [1], "v": 29},
        {"r": [True], "s": [1], "v": 27},
    ],
)
def test_malformed_signatures_are_refused(wire: object) -> None:
    """Hex strings, wrong sizes and wrong numbers are errors."""
    with pytest.raises(SignatureError):
        Signature.from_wire(wire)


def test_eh1_is_the_one_of_the_reference() -> None:
    """A vector observed on the wire."""
    digest = "672937c2b944982e071185b888770f8b8ea67c11f56d545e403e0d513c609b87"

    assert eh1("scott tiger") == f"eh1-{digest}"
    assert salted("scott ", "tiger") == f"eh1-{digest}"


def test_an_envelope_gives_back_what_was_sealed() -> None:
    """Owner, exact text and value come out of an envelope."""
    opened = open_envelope(SEALED)

    assert opened.owner == KEY.address
    assert opened.body_text == '{"type":"request","text":"é😀","n":1e-7}'
    assert opened.body == {"type": "request", "text": "é😀", "n": 1e-7}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("é", "e"),
        ('"n":1e-7', '"n":1e-8'),
        ("request", "reqüest"),
        ('"v":27', '"v":28'),
        ('"v":28', '"v":27'),
        (str(KEY.address), "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
        (',"body"', ',"owner":"x","body"'),
        ("}}", "}"),
        ("}}", "}} "),
        ('{"type":"request"', '{"type":"request" '),
    ],
)
def test_a_changed_envelope_is_refused(old: str, new: str) -> None:
    """Whatever is changed, removed or added, the envelope does not open."""
    if old not in SEALED:
        return  # this key signs with the other v
    with pytest.raises(EnvelopeError):
        open_envelope(SEALED.replace(old, new))


@pytest.mark.parametrize("body", ["[1]", "5", '"x"', "{}}", "nonsense", '{"a":1}garbage'])
def test_a_body_must_be_an_object(body: str) -> None:
    """A good signature does not make a body good."""
    sealed = asyncio.run(seal(body, LocalSigner(KEY)))

    with pytest.raises(EnvelopeError):
        open_envelope(sealed)


@settings(deadline=None)
@given(text=st.text(max_size=100))
def test_nonsense_is_no_envelope(text: str) -> None:
    """Arbitrary text raises EnvelopeError and nothing else."""
    with pytest.raises(EnvelopeError):
        open_envelope(text)
    with pytest.raises(EnvelopeError):
        open_envelope(SEALED[:300] + text)
