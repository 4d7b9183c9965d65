"""What can be checked of the confinement without applying it: the filter, the rules, the limits."""

import struct

import pytest

from dcp_worker.evaluator_host.confinement import ConfinementError, Limits
from dcp_worker.evaluator_host.confinement.landlock import ruleset_attributes
from dcp_worker.evaluator_host.confinement.seccomp import ALLOWED, assemble
from dcp_worker.evaluator_host.confinement.syscalls import NUMBERS

ALLOW, KILL, EPERM, ENOTTY, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050019, 0x00050026
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}


def verdict(program: bytes, arch: int, nr: int, *arguments: int) -> int:
    """Run a classic BPF program as the kernel would."""
    words = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", nr, arch, 0, *words)
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, yes, no, k = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x15:
            at += yes if accumulator == k else no
        elif code == 0x35:
            at += yes if accumulator >= k else no
        elif code == 0x45:
            at += yes if accumulator & k else no
        else:
            assert code == 0x06
            return int(k)


@pytest.mark.parametrize("machine", ARCH)
def test_the_filter_allows_what_it_names_and_nothing_else(machine: str) -> None:
    program = assemble(machine)

    def ask(name: str, *arguments: int) -> int:
        number = NUMBERS[name][COLUMN[machine]]
        assert number is not None
        return verdict(program, ARCH[machine], number, *arguments)

    allowed = {NUMBERS[name][COLUMN[machine]] for name in ALLOWED}
    conditional = {NUMBERS[n][COLUMN[machine]] for n in NUMBERS if n not in ALLOWED}
    for number in range(600):
        if number not in conditional:
            expected = ALLOW if number in allowed else EPERM
            assert verdict(program, ARCH[machine], number) == expected, number
    assert ask("clone", 0x00010000 | 0x3D0F00) == ALLOW  # a thread
    assert ask("clone", 17) == EPERM  # a process: SIGCHLD
    assert ask("clone3") == ENOSYS
    assert ask("ioctl", 0, 0x5401) == ENOTTY
    assert ask("ptrace", 0) == KILL
    assert ask("prctl", 15) == ask("prctl", 0x53564D41) == ALLOW
    assert ask("prctl", 38) == ask("prctl", 22) == EPERM
    assert ask("prlimit64", 0, 7, 0, 1 << 40) == ALLOW  # reads its own
    assert ask("prlimit64", 0, 7, 1 << 40) == ask("prlimit64", 0, 7, 4096) == EPERM  # sets
    assert ask("prlimit64", 1234, 7, 0) == EPERM  # somebody else's
    assert ask("socketpair", 1) == ALLOW
    assert ask("socketpair", 2) == EPERM


def test_calls_of_another_architecture_kill() -> None:
    """i386 and x32 have other numbers for the same calls."""
    program = assemble("x86_64")

    assert verdict(program, 0x40000003, 1) == KILL
    assert verdict(program, ARCH["x86_64"], 0x40000000 | 1) == KILL


def test_the_filter_names_no_call_that_reaches_out() -> None:
    """A reminder for whoever extends the list."""
    assert not {
        *(
            "socket",
            "connect",
            "bind",
            "listen",
            "accept",
            "accept4",
            "fork",
            "vfork",
            "kill",
            "tkill",
            "mount",
        ),
        *("unshare", "setns", "bpf", "keyctl", "memfd_create", "io_uring_setup", "userfaultfd", "execveat"),
        *(
            "process_vm_readv",
            "process_vm_writev",
            "unlink",
            "unlinkat",
            "rename",
            "mkdir",
            "chmod",
            "setuid",
        ),
    } & {*NUMBERS}


def test_an_unknown_machine_is_refused_by_name() -> None:
    with pytest.raises(ConfinementError, match="riscv64") as refusal:
        assemble("riscv64")

    assert refusal.value.layer == "seccomp"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, (0x1FFF,)),
        (3, (0x7FFF,)),
        (4, (0x7FFF, 3)),
        (5, (0xFFFF, 3)),
        (6, (0xFFFF, 3, 3)),
        (9, (0xFFFF, 3, 3)),
    ],
)
def test_landlock_handles_all_that_its_version_knows(version: int, words: tuple[int, ...]) -> None:
    """A right that is not handled is allowed; one that the kernel does not know is an error."""
    assert ruleset_attributes(version) == struct.pack(f"<{len(words)}Q", *words)


def test_the_heap_stays_below_the_budget() -> None:
    """So that V8 meets its own cap first, and says so."""
    for memory in (64, 256, 1024, 65536):
        assert 0 < Limits(memory_mb=memory).heap_mb <= memory
