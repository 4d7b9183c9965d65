"""Landlock: which files an evaluator may open, and nothing else of the file system.

The rule set is made in the parent (it is a file descriptor); the child only puts it on. Every right that
the kernel knows is handled, so what has no rule is denied: reading, writing, making, executing,
connecting, binding, and signals and abstract sockets to anything outside. Structures as in
linux/landlock.h.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import kernel

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE = 1 << 0
READ_FILE = 1 << 2

_FS_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many bits, from EXECUTE up
_NET_BIND_AND_CONNECT = 0b11
_SCOPE_ABSTRACT_UNIX_AND_SIGNAL = 0b11

_LIBRARIES = ("libdl.so.2", "libgcc_s.so.1", "librt.so.1", "libpthread.so.0", "libm.so.6", "libc.so.6")
_LIBRARY_FOLDERS = tuple(
    f"{root}{below}"
    for root in ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
    for below in ("", f"/{kernel.MACHINE}-linux-gnu")
)
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_ALWAYS_READABLE = ("/etc/ld.so.cache", "/dev/urandom", "/dev/null")


def abi() -> int:
    """The Landlock version of this kernel, 0 when it has none."""
    try:
        return kernel.syscall(kernel.NR_LANDLOCK_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def libraries() -> list[Path]:
    """The system libraries that deno is linked with, where this box has them."""
    found = [Path(folder) / name for folder in _LIBRARY_FOLDERS for name in _LIBRARIES]
    return [path for path in found if path.exists()]


def loaders() -> list[Path]:
    return [Path(name) for name in _LOADERS if Path(name).exists()]


def ruleset_attributes(version: int) -> bytes:
    """struct landlock_ruleset_attr that handles everything this version of the interface knows."""
    bits = _FS_RIGHTS_BY_ABI[min(version, max(_FS_RIGHTS_BY_ABI))]
    attributes = struct.pack("<Q", (1 << bits) - 1)
    if version >= 4:
        attributes += struct.pack("<Q", _NET_BIND_AND_CONNECT)
    if version >= 6:
        attributes += struct.pack("<Q", _SCOPE_ABSTRACT_UNIX_AND_SIGNAL)
    return attributes


@dataclass(frozen=True)
class Landlock:
    """A rule set ready to be put on, as a file descriptor that stays open as long as the plan lives."""

    descriptor: int
    version: int

    @classmethod
    def prepare(cls, executable: Path, readable: Iterable[Path]) -> "Landlock":
        """Allow to run ``executable`` and to read it, its libraries and ``readable``. Raises OSError."""
        version = abi()
        if version < 1:
            raise OSError(
                "this kernel has no Landlock (Linux 5.13 or later with the landlock LSM switched on)"
            )
        attributes = ruleset_attributes(version)
        descriptor = kernel.syscall(kernel.NR_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
        try:
            for path in (executable, *loaders()):
                _allow(descriptor, path, READ_FILE | EXECUTE)
            for path in (*readable, *libraries(), *map(Path, _ALWAYS_READABLE)):
                if path.exists():
                    _allow(descriptor, path, READ_FILE)
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor, version)

    def apply(self) -> None:
        """Put the rules on this process for good. Needs no_new_privs. Raises OSError."""
        kernel.syscall(kernel.NR_LANDLOCK_RESTRICT_SELF, self.descriptor, 0)

    def close(self) -> None:
        os.close(self.descriptor)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, handle), 12)
        kernel.syscall(kernel.NR_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)
