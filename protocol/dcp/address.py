"""Addresses: twenty bytes, written as ``0x`` and forty hex digits whose case is a checksum (EIP-55)."""

import functools
import re

from Crypto.Hash import keccak

from ...errors import DcpError

_FORM = re.compile(r"0x[0-9a-fA-F]{40}\Z")


class AddressError(DcpError):
    """A text that is no address."""

    code = "EADDRESS"


class Address(str):
    """An address in its checksummed spelling. Make one with ``parse_address`` or ``to_checksum``."""

    __slots__ = ()

    @property
    def raw(self) -> bytes:
        """The twenty bytes."""
        return bytes.fromhex(self[2:])


@functools.lru_cache(maxsize=4096)  # a connection recovers the same address all its life
def to_checksum(raw: bytes) -> Address:
    """Spell twenty bytes as a checksummed address."""
    if len(raw) != 20:
        raise AddressError(f"an address has 20 bytes, not {len(raw)}")
    digits = raw.hex()
    pattern = keccak.new(digest_bits=256, data=digits.encode()).hexdigest()
    cased = (
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, pattern, strict=False)
    )
    return Address("0x" + "".join(cased))


def parse_address(text: object) -> Address:
    """Check and normalise an address. Text in one case only carries no checksum and is accepted as it is."""
    if isinstance(text, Address):
        return text
    if not isinstance(text, str) or not _FORM.match(text):
        raise AddressError(f"{str(text)[:60]!r} is no address; it should be 0x and 40 hexadecimal digits")
    address = to_checksum(bytes.fromhex(text[2:]))
    digits = text[2:]
    if digits not in (address[2:], digits.lower(), digits.upper()):
        raise AddressError(f"the address {text} has a wrong checksum; was a character changed or mistyped?")
    return address
