"""The ``eh1`` hash of compute group secrets: hex of the personal-message Keccak of a text."""

from .signature import personal_hash


def eh1(text: str) -> str:
    """Hash a text; a join hash is ``eh1(f"{joinKey} {joinSecret}")``."""
    return "eh1-" + personal_hash(text.encode("utf-8", "surrogatepass")).hex()


def salted(salt: str, text: str) -> str:
    """Hash a text behind a salt; what travels is ``salted(dcpsid, joinHash)``."""
    return eh1(salt + text)
