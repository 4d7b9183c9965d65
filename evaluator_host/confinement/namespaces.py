"""Namespaces: a network without interfaces, and no IPC objects or host name of the box.

A plain user gets them inside a new user namespace, in which the evaluator is uid 65534 and holds nothing.
Where the kernel refuses user namespaces but the caller is root, the others are left directly and the
process gives up root for uid 65534.
"""

import os
from dataclasses import dataclass

from . import kernel

_NEWUTS, _NEWIPC, _NEWUSER, _NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x40000000
NOBODY = 65534


@dataclass(frozen=True)
class Namespaces:
    """Which way into the namespaces; the texts are made before the fork."""

    own_user: bool  # True: a new user namespace; False: as root, then setresuid
    uid_map: bytes
    gid_map: bytes

    @classmethod
    def prepare(cls, own_user: bool = True) -> "Namespaces":
        return cls(own_user, f"{NOBODY} {os.geteuid()} 1\n".encode(), f"{NOBODY} {os.getegid()} 1\n".encode())

    def apply(self) -> None:
        """Leave the box's namespaces. Raises OSError."""
        if not self.own_user:
            kernel.unshare(_NEWNET | _NEWIPC | _NEWUTS)
            give_up_root()
            return
        kernel.unshare(_NEWUSER | _NEWNET | _NEWIPC | _NEWUTS)
        _write("/proc/self/setgroups", b"deny")
        _write("/proc/self/uid_map", self.uid_map)
        _write("/proc/self/gid_map", self.gid_map)


def give_up_root() -> None:
    """Become nobody, when root. Raises OSError."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _write(path: str, text: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text)
    finally:
        os.close(handle)
