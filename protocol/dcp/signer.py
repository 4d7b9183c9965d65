"""Who signs: the one thing the wire needs from whoever keeps a key."""

import asyncio
from typing import Protocol

from .address import Address
from .signature import PrivateKey, Signature

_INLINE = 512 * 1024  # bytes; hashing more than this would hold up everybody else on the loop


class Signer(Protocol):
    """Signs for one address. The key may be in this process, in another, or on a device."""

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        ...

    async def sign(self, message: bytes) -> Signature:
        """Sign a message of any length."""
        ...


class LocalSigner:
    """A signer that holds its key in this process."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.address: Address = key.address

    async def sign(self, message: bytes) -> Signature:
        """Sign; that costs some 30 microseconds, and 3 milliseconds per megabyte."""
        if len(message) > _INLINE:
            return await asyncio.to_thread(self._key.sign, message)
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"
