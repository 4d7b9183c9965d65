"""CURVE keys in files, the hosts that may attach, and the answer to ZeroMQ when somebody knocks.

A key is shown to people and kept in files as 64 hexadecimal digits (ZeroMQ's own Z85 form is full of
characters that a shell eats). The private half of a key is in a file of mode 0600 with the public half
beside it in ``<file>.pub``. The hosts that a supervisor accepts are one small JSON file each in a folder,
``{"name": "box-7", "key": "<public key>"}``; the folder is read again whenever it has changed, so
authorising a host needs no restart.

Authentication is ZAP (https://rfc.zeromq.org/spec/27/). The switchboard's own thread answers it with
`Authenticator.answer`: pyzmq's ThreadAuthenticator would cost a second thread and socket, and its table of
keys is a copy that somebody has to keep in step with the folder.
"""

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger
from zmq.utils import z85

from ..errors import DcpError

_KEY = re.compile(r"[0-9a-f]{64}")
_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_MAX_FILE = 4096
_RECHECK_S = 2.0
_MAX_REMEMBERED = 1000


class CurveError(DcpError):
    """A key, a key file or a list of authorised hosts cannot be used."""

    code = "ECURVE"


def parse_key(text: str) -> str:
    """Give the key (64 hexadecimal digits) that a text is, or that is in the file at this path."""
    stripped = text.strip().lower()
    if _KEY.fullmatch(stripped):
        return stripped
    if _Z85.fullmatch(text.strip()):
        return z85.decode(text.strip().encode()).hex()
    path = Path(text).expanduser()
    try:
        with path.open() as file:
            stripped = file.read(_MAX_FILE).strip().lower()
    except (OSError, ValueError):
        raise CurveError(
            f"{text!r:.120} is neither a key (64 hexadecimal digits) nor a file that can be read"
        ) from None
    if not _KEY.fullmatch(stripped):
        raise CurveError(f"{path} does not hold a public key (64 hexadecimal digits)")
    return stripped


@dataclass(frozen=True)
class CurveKey:
    """A key pair, both halves as 64 hexadecimal digits."""

    public: str
    secret: str = field(repr=False)

    @property
    def zmq_pair(self) -> tuple[bytes, bytes]:
        """The pair as ZeroMQ wants it: (public, secret) in Z85."""
        return to_z85(self.public), to_z85(self.secret)

    @classmethod
    def load_or_create(cls, path: Path) -> "CurveKey":
        """Load the pair whose private half is at ``path``, or make one there (0600, in a 0700 folder)."""
        import zmq

        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            public, secret = zmq.curve_keypair()
            key = cls(z85.decode(public).hex(), z85.decode(secret).hex())
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                _write_new(path, key.secret + "\n", 0o600)
            except FileExistsError:
                return cls.load_or_create(path)  # another process was faster
            path.with_name(path.name + ".pub").write_text(key.public + "\n")
            return key
        if mode & 0o077:
            raise CurveError(f"{path} holds a private key and others may read it; run: chmod 600 {path}")
        secret_hex = parse_key(str(path))
        return cls(z85.decode(zmq.curve_public(to_z85(secret_hex))).hex(), secret_hex)


def to_z85(key: str) -> bytes:
    """Give ZeroMQ's form of a key."""
    return z85.encode(bytes.fromhex(key))


def _write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that must not exist yet; it appears complete or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of a process that had our number and was killed
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class DialIn:
    """What a host needs to connect to a supervisor: its own pair and the supervisor's public key."""

    key: CurveKey
    server: str


class AuthorisedHosts:
    """The folder with one file for each host that may attach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._names: dict[str, str] = {}

    def all(self) -> dict[str, str]:
        """Give the authorised hosts as public key -> name."""
        seen = self._listing()
        if seen != self._seen:
            self._names = dict(filter(None, (self._read(self.folder / name) for name, _, _ in seen)))
            self._seen = seen
        return dict(self._names)

    def authorise(self, key: str, name: str = "") -> None:
        """Let a host with this public key attach; to name it again replaces the old name."""
        key = parse_key(key)
        name = name or f"host-{key[:8]}"
        if len(name) > 100 or not name.isprintable():
            raise CurveError("a host's name has at most 100 printable characters")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.folder / f".{key}.{os.getpid()}"
        temporary.write_text(json.dumps({"name": name, "key": key}) + "\n")
        temporary.replace(self.folder / f"{key}.json")

    def revoke(self, key_or_name: str) -> list[str]:
        """Take the permission back from a key, or from every key of that name; gives the keys."""
        wanted = key_or_name.strip()
        keys = [key for key, name in self.all().items() if wanted in (key, name)]
        if not keys:
            raise CurveError(f"no authorised host has the key or name {wanted!r:.100}; see: dcp host list")
        for path in self.folder.glob("*.json"):
            entry = self._read(path)
            if entry is not None and entry[0] in keys:
                path.unlink(missing_ok=True)
        return keys

    def _listing(self) -> tuple[tuple[str, int, int], ...]:
        try:
            with os.scandir(self.folder) as entries:
                files = [
                    (entry.name, entry.stat().st_mtime_ns, entry.stat().st_size)
                    for entry in entries
                    if entry.name.endswith(".json") and not entry.name.startswith(".")
                ]
        except FileNotFoundError:
            return ()
        return tuple(sorted(files))

    def _read(self, path: Path) -> tuple[str, str] | None:
        try:
            with path.open() as file:
                entry = json.loads(file.read(_MAX_FILE))
            key, name = entry["key"].lower(), entry["name"]
            if not _KEY.fullmatch(key) or type(name) is not str:
                raise ValueError("no key or no name")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("{} does not describe an authorised host ({}); it is ignored", path, error)
            return None
        return key, name


class Authenticator:
    """Answers ZAP for one CURVE socket: a host whose key is in the folder may attach, nobody else."""

    def __init__(self, key: CurveKey, hosts: AuthorisedHosts) -> None:
        self.key = key
        self.hosts = hosts
        self._refused: set[str] = set()
        self._checked_at = -_RECHECK_S
        self._allowed: dict[str, str] = {}

    def answer(self, request: Sequence[bytes]) -> list[bytes]:
        """Give the ZAP reply to a ZAP request (frames without the delimiter)."""
        if len(request) < 6 or request[0] != b"1.0":
            return [b"1.0", b"", b"500", b"this is no ZAP 1.0 request", b"", b""]
        sequence, address, mechanism, credentials = request[1], request[3], request[5], request[6:]
        if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            return [b"1.0", sequence, b"400", b"only CURVE is accepted here", b"", b""]
        public = credentials[0].hex()
        name = self.hosts.all().get(public)
        if name is None:
            self._report(public, address.decode(errors="replace"))
            return [b"1.0", sequence, b"400", b"this key is not authorised", b"", b""]
        self._refused.discard(public)
        self._checked_at = -_RECHECK_S
        logger.bind(host=name).info("host {} ({}) proved its key", name, address.decode(errors="replace"))
        return [b"1.0", sequence, b"200", b"OK", public.encode(), b""]

    def still_authorised(self, public: str) -> bool:
        """Tell whether a key that was accepted still is; the folder is looked at every 2 s at most."""
        now = time.monotonic()
        if now - self._checked_at >= _RECHECK_S:
            self._allowed, self._checked_at = self.hosts.all(), now
        return public in self._allowed

    def _report(self, public: str, address: str) -> None:
        if public in self._refused or len(self._refused) >= _MAX_REMEMBERED:
            return
        self._refused.add(public)
        logger.warning(
            "a host at {} wants to attach and its key is not authorised; if it is yours, run: "
            "dcp host authorise {}",
            address,
            public,
        )
