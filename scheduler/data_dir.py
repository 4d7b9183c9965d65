"""The data directory of a scheduler: made private, locked while in use, with the key that is its identity."""

import fcntl
import os
from pathlib import Path

from ..errors import DcpError
from ..protocol.dcp.signature import PrivateKey


class DataDirError(DcpError):
    """The data directory cannot be used."""

    code = "EDATADIR"


def prepare(path: Path) -> None:
    """Make the directory when it is missing, for its owner only, and see that it can be written to."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataDirError(
            f"The data directory {path} cannot be written to ({error.strerror}); "
            "name another one with --data, or change who owns it."
        ) from error


class DirectoryLock:
    """Held as long as a scheduler uses the directory; the kernel lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._file, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise DataDirError(
                f"The data directory {path} is in use by another scheduler (process {owner}); "
                "stop that one first, or name another directory with --data."
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._file)


def load_or_create_key(path: Path) -> PrivateKey:
    """The scheduler's private key. Clients remember its address, so it is made once and kept.

    The file holds 64 hexadecimal digits and is readable by its owner only; a wider one is refused.
    """
    try:
        if path.exists():
            if path.stat().st_mode & 0o077:
                raise DataDirError(f"The key file {path} can be read by others; run chmod 600 on it.")
            return PrivateKey.from_hex(path.read_text().strip())
        key = PrivateKey.generate()
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key.secret_bytes().hex() + "\n")
            file.flush()
            os.fsync(handle)
        os.link(temporary, path)  # never over a key that appeared meanwhile
        temporary.unlink()
    except OSError as error:
        raise DataDirError(f"The key file {path} cannot be used: {error.strerror}.") from error
    return key
