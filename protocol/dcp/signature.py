"""Keys and signatures: recoverable ECDSA over secp256k1, on the hash of Ethereum's personal messages.

A signature names its signer: the address is recovered from it, so a verifier needs no public key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import coincurve
from Crypto.Hash import keccak

from ...errors import DcpError
from .address import Address, to_checksum


class SignatureError(DcpError):
    """A signature or key that is malformed, or does not belong to what it came with."""

    code = "ESIGNATURE"


def keccak256(data: bytes) -> bytes:
    """Hash with Keccak-256 in its original padding, as Ethereum does (not SHA3-256)."""
    return keccak.new(digest_bits=256, data=data).digest()


def personal_hash(message: bytes) -> bytes:
    """Hash a message as Ethereum's personal signatures do: behind a prefix and the length in bytes."""
    state = keccak.new(digest_bits=256, data=b"\x19Ethereum Signed Message:\n%d" % len(message))
    return state.update(message).digest()


@dataclass(frozen=True, slots=True)
class Signature:
    """r and s as 32 big-endian bytes each, v as 27 or 28."""

    r: bytes
    s: bytes
    v: int

    def to_wire(self) -> dict[str, Any]:
        """The form that stands in envelopes: Node's JSON spelling of buffers."""
        return {
            "r": {"type": "Buffer", "data": list(self.r)},
            "s": {"type": "Buffer", "data": list(self.s)},
            "v": self.v,
        }

    @classmethod
    def from_wire(cls, wire: object) -> "Signature":
        """Read ``{r, s, v}`` where r and s are Node buffers or plain lists of byte values."""
        if not isinstance(wire, Mapping):
            raise SignatureError("a signature must be an object with r, s and v")
        v = wire.get("v")
        if type(v) is not int or v not in (27, 28):
            raise SignatureError("the v of a signature must be 27 or 28")
        return cls(_number_bytes(wire.get("r"), "r"), _number_bytes(wire.get("s"), "s"), v)


def _number_bytes(wire: object, name: str) -> bytes:
    data = wire.get("data") if isinstance(wire, Mapping) else wire
    if not isinstance(data, Sequence) or isinstance(data, str) or len(data) > 32:
        raise SignatureError(f"the {name} of a signature must be a list of at most 32 byte values")
    if not all(type(byte) is int and 0 <= byte < 256 for byte in data):
        raise SignatureError(f"the {name} of a signature must be a list of byte values")
    return bytes(data).rjust(32, b"\0")


def recover(signature: Signature, message: bytes) -> Address:
    """The address whose key made this signature over this message."""
    compact = signature.r + signature.s + bytes([signature.v - 27])
    try:
        key = coincurve.PublicKey.from_signature_and_message(compact, personal_hash(message), hasher=None)
    except Exception:  # coincurve raises bare Exception and ValueError for numbers out of range
        raise SignatureError("the signature is no point on the curve; it was damaged or made up") from None
    return _address_of(key)


def _address_of(key: coincurve.PublicKey) -> Address:
    return to_checksum(keccak256(key.format(compressed=False)[1:])[-20:])


class PrivateKey:
    """A secp256k1 key. It signs, and never shows itself: not in repr, str, or errors."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        try:
            if len(secret) != 32:
                raise ValueError
            self._key = coincurve.PrivateKey(secret)
        except ValueError:
            raise SignatureError(
                "a private key is 32 bytes, neither zero nor beyond the curve's order"
            ) from None
        self.address: Address = _address_of(self._key.public_key)

    @classmethod
    def generate(cls) -> "PrivateKey":
        """Make a new key from the operating system's randomness."""
        return cls(coincurve.PrivateKey().secret)

    @classmethod
    def from_hex(cls, text: str) -> "PrivateKey":
        """Read 64 hexadecimal digits, with or without ``0x``."""
        digits = text.strip().removeprefix("0x")
        try:
            secret = bytes.fromhex(digits)
        except ValueError:
            raise SignatureError("a private key is written as 64 hexadecimal digits") from None
        return cls(secret)

    def secret_bytes(self) -> bytes:
        """The 32 bytes themselves, for a keystore file. Handle with care; never log them."""
        return bytes(self._key.secret)

    def sign(self, message: bytes) -> Signature:
        """Sign a message of any length."""
        compact = self._key.sign_recoverable(personal_hash(message), hasher=None)
        return Signature(compact[:32], compact[32:64], compact[64] + 27)

    def __repr__(self) -> str:
        return f"PrivateKey(address={self.address})"

    def __reduce__(self) -> Any:
        raise TypeError("a private key is not pickled; move it as a keystore file")
