"""The few system calls that Python has no function for, by ctypes.

Everything here is called between fork and exec too, so it takes no locks of ours and imports nothing
late. ``PyDLL`` keeps the GIL during a call: after a fork there is no other thread that could want it, and
giving it up would only add a way to wait.
"""

import ctypes
import os
import platform
from typing import Any

LIBC = ctypes.PyDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.prctl.restype = ctypes.c_int
LIBC.unshare.restype = ctypes.c_int  # looked up now: the loader's lock may be held by somebody at a fork

MACHINE = platform.machine()

# The same numbers on x86_64 and aarch64: they are younger than the unification of the tables.
NR_LANDLOCK_CREATE_RULESET = 444
NR_LANDLOCK_ADD_RULE = 445
NR_LANDLOCK_RESTRICT_SELF = 446
NR_CLOSE_RANGE = 436

CLOSE_RANGE_CLOEXEC = 4

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call; raises OSError with the errno that it left."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, argument: Any, third: Any = 0) -> None:
    """Call prctl; raises OSError."""
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in (argument, third, 0, 0)]
    if LIBC.prctl(ctypes.c_int(option), *words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """Leave namespaces (there is ``os.unshare`` only from Python 3.12 on); raises OSError."""
    if LIBC.unshare(ctypes.c_int(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
