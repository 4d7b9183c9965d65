"""Keystore files: one private key, encrypted, in the Ethereum Web3 Secret Storage format, version 3.

They can be exchanged with npm's dcp-client (which adds ``label``, ``timestamp`` and ``process``), geth and
other wallets. The key is encrypted with AES-128-CTR under a key derived from the passphrase by scrypt
(written and read) or PBKDF2 (read). An empty passphrase is allowed, and usual for workers; then only the
file's permissions (0600) protect the key.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ...errors import DcpError
from .address import Address, AddressError, parse_address
from .signature import PrivateKey, SignatureError, keccak256

MAX_FILE: Final = 64 * 1024  # bytes
MAX_SCRYPT_MEMORY: Final = 512 * 2**20  # bytes; standard wallets need 256 MiB
MAX_PBKDF2_ROUNDS: Final = 10_000_000
STRONG_SCRYPT: Final = 262_144  # the usual cost of guessing a passphrase: some 0.5 s and 256 MiB
QUICK_SCRYPT: Final = 1_024  # for the empty passphrase, which nobody needs to guess


class KeystoreError(DcpError):
    """A keystore file is missing, malformed, or in the way."""

    code = "EKEYSTORE"


class WrongPassphrase(KeystoreError):
    """The passphrase does not open the keystore."""

    code = "EPASSPHRASE"


@dataclass(frozen=True, slots=True)
class Keystore:
    """An encrypted key and whose it is. The key itself is only there while ``unlock`` is being called."""

    address: Address
    label: str
    content: dict[str, Any] = field(repr=False)  # the JSON object of the file

    @classmethod
    def create(cls, label: str = "", passphrase: str = "", key: PrivateKey | None = None) -> "Keystore":
        """Encrypt a key, a new one unless it is given."""
        key = key or PrivateKey.generate()
        salt, iv = secrets.token_bytes(32), secrets.token_bytes(16)
        parameters = {
            "dklen": 32,
            "salt": salt.hex(),
            "n": STRONG_SCRYPT if passphrase else QUICK_SCRYPT,
            "r": 8,
            "p": 1,
        }
        derived = _scrypt(parameters, passphrase)
        ciphertext = _aes_ctr(derived[:16], iv, key.secret_bytes())
        content = {
            "version": 3,
            "id": str(uuid.uuid4()),
            "address": key.address[2:].lower(),
            "crypto": {
                "ciphertext": ciphertext.hex(),
                "cipherparams": {"iv": iv.hex()},
                "cipher": "aes-128-ctr",
                "kdf": "scrypt",
                "kdfparams": parameters,
                "mac": keccak256(derived[16:32] + ciphertext).hex(),
            },
            "label": label,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "process": Path(sys.argv[0]).name,
        }
        return cls(key.address, label, content)

    def unlock(self, passphrase: str = "") -> PrivateKey:
        """Decrypt the key. ``WrongPassphrase`` when the passphrase does not open it."""
        crypto = _lower_keys(_object(self.content, "crypto"))
        if crypto.get("cipher") != "aes-128-ctr":
            raise KeystoreError(
                f"the cipher {crypto.get('cipher')!r} of a keystore is not known; aes-128-ctr is"
            )
        ciphertext = _bytes(crypto, "ciphertext", 32)
        iv = _bytes(_object(crypto, "cipherparams"), "iv", 16)
        mac = _bytes(crypto, "mac", 32)
        derive = {"scrypt": _scrypt, "pbkdf2": _pbkdf2}.get(str(crypto.get("kdf")))
        if derive is None:
            raise KeystoreError(
                f"the key derivation {crypto.get('kdf')!r} is not known; scrypt and pbkdf2 are"
            )
        derived = derive(_object(crypto, "kdfparams"), passphrase)
        if not hmac.compare_digest(keccak256(derived[16:32] + ciphertext), mac):
            raise WrongPassphrase(f"the passphrase does not open the keystore {self.label or self.address}")
        try:
            key = PrivateKey(_aes_ctr(derived[:16], iv, ciphertext))
        except SignatureError as problem:
            raise KeystoreError(f"a keystore holds no key: {problem}") from None
        if self.content.get("address") is not None and key.address != self.address:
            raise KeystoreError(
                f"the keystore says it is for {self.address}, but its key is that of {key.address}"
            )
        return key

    def save(self, path: Path) -> None:
        """Write the file: readable by its owner only, whole or not at all, and never over another file."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600 from the start
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.content, file)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # unlike rename, this refuses to replace
        except FileExistsError:
            raise KeystoreError(
                f"there is a keystore at {path} already; move it away or choose another name"
            ) from None
        except OSError as problem:
            raise KeystoreError(f"cannot write the keystore {path}: {problem.strerror or problem}") from None
        finally:
            Path(temporary).unlink()


def load_keystore(path: Path) -> Keystore:
    """Read a keystore file without unlocking it."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise KeystoreError(f"{path} is too large for a keystore")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KeystoreError(f"there is no keystore at {path}; make one with: dcp wallet create") from None
    except UnicodeDecodeError:
        raise KeystoreError(f"{path} is no keystore: it is not text") from None
    except OSError as problem:
        raise KeystoreError(f"cannot read the keystore {path}: {problem.strerror or problem}") from None
    return parse_keystore(text, label=path.stem)


def load_or_create(path: Path, label: str, passphrase: str = "") -> tuple[Keystore, bool]:
    """Read a keystore file, which is made if there is none; and whether it was made now."""
    made = False
    if not path.exists():
        try:
            Keystore.create(label, passphrase).save(path)
            made = True
        except KeystoreError:
            if not path.exists():
                raise
            # another program was faster, and its keystore is as good as ours
    return load_keystore(path), made


def parse_keystore(text: str, label: str = "") -> Keystore:
    """Read the text of a keystore file; ``label`` is for files that have none of their own."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise KeystoreError(f"the keystore {label} is malformed: it is not JSON") from None
    if not isinstance(content, dict):
        raise KeystoreError(f"the keystore {label} is malformed: it is not a JSON object")
    content = _lower_keys(content)  # some old wallets write "Crypto" and "Address"
    if content.get("version") != 3:
        raise KeystoreError(
            f"the keystore {label} has version {content.get('version')!r}; only version 3 can be read"
        )
    _object(content, "crypto")
    own_label = content.get("label")
    label = own_label if isinstance(own_label, str) and own_label else label
    address = content.get("address")
    if address is None:  # the definition makes it optional, for those who like to stay unknown
        return Keystore(Address(""), label, content)
    try:
        return Keystore(parse_address("0x" + str(address).removeprefix("0x")), label, content)
    except AddressError as problem:
        raise KeystoreError(f"the keystore {label} is malformed: {problem}") from None


def is_private(path: Path) -> bool:
    """Whether nobody but the owner can read the file."""
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


def _lower_keys(content: dict[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in content.items()}


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict):
        raise KeystoreError(f"a keystore is malformed: it has no {name}")
    return value


def _bytes(content: dict[str, Any], name: str, length: int | None = None) -> bytes:
    value = content.get(name)
    try:
        data = bytes.fromhex(value.removeprefix("0x") if isinstance(value, str) else "?")
    except ValueError:
        raise KeystoreError(f"a keystore is malformed: its {name} is not hexadecimal") from None
    if length is not None and len(data) != length:
        raise KeystoreError(f"a keystore is malformed: its {name} must have {length} bytes, not {len(data)}")
    return data


def _number(parameters: dict[str, Any], name: str, most: int) -> int:
    value = parameters.get(name)
    if type(value) is not int or not 1 <= value <= most:
        raise KeystoreError(f"a keystore is malformed: its {name} must be between 1 and {most:,}")
    return value


def _scrypt(parameters: dict[str, Any], passphrase: str) -> bytes:
    n, r, p = _number(parameters, "n", 2**22), _number(parameters, "r", 1024), _number(parameters, "p", 64)
    length, salt = _number(parameters, "dklen", 1024), _bytes(parameters, "salt")
    memory = 128 * r * (n + p + 2)
    if n < 2 or n & (n - 1) or length < 32 or memory > MAX_SCRYPT_MEMORY or n * r * p > 2**24:
        raise KeystoreError("a keystore is malformed: its scrypt parameters make no sense, or cost too much")
    password = passphrase.encode()
    if n < 2 ** (16 * r):
        return hashlib.scrypt(
            password, salt=salt, n=n, r=r, p=p, dklen=length, maxmem=MAX_SCRYPT_MEMORY + 2**20
        )
    from Crypto.Protocol import KDF  # the published example has such an n; OpenSSL refuses it

    derive: Callable[..., Any] = KDF.scrypt  # declared for texts only, though it takes bytes as well
    return bytes(derive(passphrase, salt, length, n, r, p))


def _pbkdf2(parameters: dict[str, Any], passphrase: str) -> bytes:
    if parameters.get("prf") != "hmac-sha256":
        raise KeystoreError(f"the PBKDF2 function {parameters.get('prf')!r} is not known; hmac-sha256 is")
    rounds, length = _number(parameters, "c", MAX_PBKDF2_ROUNDS), _number(parameters, "dklen", 1024)
    if length < 32:
        raise KeystoreError("a keystore is malformed: its dklen must be at least 32")
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), _bytes(parameters, "salt"), rounds, length)


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # not needed before a key is

    context = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return context.update(data) + context.finalize()
