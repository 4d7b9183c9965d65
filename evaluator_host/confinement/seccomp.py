"""Seccomp: the system calls that an evaluator may make, as a BPF program.

What is not named here is answered EPERM. The list is the measured need of deno 2.9.8; a call too few
shows only under load (without ``recvfrom`` deno answers its first job and then panics at random), so
every change to it needs the test with eight evaluators at once. execve stays allowed because it is needed
to become deno: Landlock is what limits it to that binary. This layer must be applied last.
"""

import ctypes
import struct
from dataclasses import dataclass

from . import kernel
from .errors import ConfinementError
from .syscalls import NUMBERS

ALLOWED = tuple(
    """
    read write close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
    rt_sigreturn rt_sigsuspend pread64 readv writev access sched_yield mremap madvise dup nanosleep
    getpid gettid getppid uname fcntl getcwd readlink readlinkat gettimeofday getrlimit getrusage
    sysinfo times getuid getgid geteuid getegid sigaltstack recvfrom sendto arch_prctl futex futex_waitv
    sched_getaffinity set_tid_address timer_create timer_settime timer_delete clock_gettime clock_getres
    clock_nanosleep exit exit_group epoll_wait epoll_ctl epoll_pwait epoll_create1 openat newfstatat
    ppoll set_robust_list eventfd2 pipe2 getrandom membarrier pkey_mprotect pkey_alloc pkey_free statx
    rseq faccessat2 getcpu tgkill execve wait4 getpriority sched_getscheduler sched_getparam
    sched_get_priority_min sched_get_priority_max""".split()  # noqa: SIM905 (a list literal of ninety names is ninety lines)
)

# BPF: classic, over struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6]} (little
# endian).
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_NR, _ARCH = 0, 4

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_EPERM, _ENOTTY, _ENOSYS = 1, 25, 38

_CLONE_THREAD = 0x00010000
_PR_SET_NAME, _PR_SET_VMA = 15, 0x53564D41
_AF_UNIX = 1
_X32_BIT = 0x40000000

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""machine -> (AUDIT_ARCH value, column of NUMBERS)."""

_SECCOMP_MODE_FILTER = 2


def _low(argument: int) -> int:
    return 16 + 8 * argument


def _high(argument: int) -> int:
    return 20 + 8 * argument


def _op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, k)


def assemble(machine: str) -> bytes:
    """The filter program for a machine ("x86_64" or "aarch64"). Raises ConfinementError for any other."""
    if machine not in _ARCHITECTURES:
        raise ConfinementError("seccomp", f"no filter is written for machine {machine!r}")
    arch, column = _ARCHITECTURES[machine]

    def number(name: str) -> int | None:
        return NUMBERS[name][column]

    def when(name: str, *body: bytes) -> list[bytes]:
        """Run body, which returns on every path, when the call is this one."""
        nr = number(name)
        return [] if nr is None else [_op(_JUMP_EQUAL, nr, 0, len(body)), *body]

    def answer(errno: int) -> bytes:
        return _op(_RETURN, _ERRNO | errno)

    allow = _op(_RETURN, _ALLOW)
    program = [
        _op(_LOAD, _ARCH),
        _op(_JUMP_EQUAL, arch, 1, 0),
        _op(_RETURN, _KILL_PROCESS),
        _op(_LOAD, _NR),
    ]
    if machine == "x86_64":
        program += [_op(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _op(_RETURN, _KILL_PROCESS)]
    program += when("ptrace", _op(_RETURN, _KILL_PROCESS))
    program += when("clone3", answer(_ENOSYS))  # glibc then falls back to clone, whose flags can be read
    program += when("ioctl", answer(_ENOTTY))
    program += when(
        "clone", _op(_LOAD, _low(0)), _op(_JUMP_ANY_BIT, _CLONE_THREAD, 1, 0), answer(_EPERM), allow
    )
    program += when(
        "prctl",
        _op(_LOAD, _low(0)),
        _op(_JUMP_EQUAL, _PR_SET_NAME, 2, 0),
        _op(_JUMP_EQUAL, _PR_SET_VMA, 1, 0),
        answer(_EPERM),
        allow,
    )
    program += when(  # reading its own limits only: no new limits, no other process
        "prlimit64",
        _op(_LOAD, _low(0)),
        _op(_JUMP_EQUAL, 0, 0, 4),
        _op(_LOAD, _low(2)),
        _op(_JUMP_EQUAL, 0, 0, 2),
        _op(_LOAD, _high(2)),
        _op(_JUMP_EQUAL, 0, 1, 0),
        answer(_EPERM),
        allow,
    )
    program += when(
        "socketpair", _op(_LOAD, _low(0)), _op(_JUMP_EQUAL, _AF_UNIX, 1, 0), answer(_EPERM), allow
    )
    for name in ALLOWED:
        program += when(name, allow)
    program.append(answer(_EPERM))
    return b"".join(program)


class _SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


@dataclass(frozen=True)
class Seccomp:
    """A filter ready to be put on; the structures are built before the fork."""

    program: bytes

    def __post_init__(self) -> None:
        buffer = ctypes.create_string_buffer(self.program, len(self.program))
        fprog = _SockFprog(len(self.program) // 8, ctypes.addressof(buffer))
        object.__setattr__(self, "_keep", (buffer, fprog))
        object.__setattr__(self, "_pointer", ctypes.byref(fprog))

    @classmethod
    def prepare(cls) -> "Seccomp":
        return cls(assemble(kernel.MACHINE))

    def apply(self) -> None:
        """Filter this process from now on and for good. Needs no_new_privs. Raises OSError."""
        kernel.prctl(kernel.PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._pointer)  # type: ignore[attr-defined]
