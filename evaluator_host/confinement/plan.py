"""The plan of a confinement: made in the parent, carried out in the child between fork and exec.

``prepare`` does all that can fail for a reason worth telling, and all that allocates: it opens the files
of the Landlock rules, assembles the filter, tries the namespaces once in a throw-away child. ``apply``
only makes system calls.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import kernel, landlock, namespaces
from .errors import ConfinementError
from .landlock import Landlock
from .limits import Limits
from .namespaces import Namespaces
from .seccomp import Seccomp

LAYERS = ("limits", "namespaces", "landlock", "seccomp")
"""Names of the layers in the order in which they are put on. ``limits`` cannot be left out."""


@dataclass(frozen=True, slots=True)
class LayerStatus:
    """Whether this box can give a layer, and a sentence about how or why not."""

    name: str
    available: bool
    detail: str


@dataclass(frozen=True)
class ConfinementPlan:
    """Everything between fork and exec. One plan serves any number of evaluators with the same files."""

    limits: Limits
    namespaces: Namespaces | None
    landlock: Landlock | None
    seccomp: Seccomp | None
    parent: int  # process that must live as long as the evaluator

    @classmethod
    def prepare(
        cls,
        executable: Path,
        readable: Iterable[Path] = (),
        limits: Limits | None = None,
        allow_weaker: frozenset[str] = frozenset(),
    ) -> "ConfinementPlan":
        """Plan to run ``executable``, which may read itself, its libraries and the files in ``readable``.

        Raises ConfinementError for the first layer that this box cannot give, unless it is in
        ``allow_weaker``.
        """
        for status in check():
            if not status.available and status.name not in allow_weaker:
                raise ConfinementError(status.name, status.detail)
        available = {status.name for status in check() if status.available}
        return cls(
            limits=limits or Limits(),
            namespaces=Namespaces.prepare(_user_namespace_works()) if "namespaces" in available else None,
            landlock=Landlock.prepare(executable, readable) if "landlock" in available else None,
            seccomp=Seccomp.prepare() if "seccomp" in available else None,
            parent=os.getpid(),
        )

    def apply(self) -> None:
        """Confine the calling process, which must have one thread. Raises ConfinementError that names the
        layer.
        """
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("limits", self._begin),
            ("namespaces", self._enter_namespaces),
            (
                "limits",
                lambda: self.limits.apply(own_user=bool(self.namespaces and self.namespaces.own_user)),
            ),
            ("limits", _no_new_privileges),
            ("landlock", self.landlock.apply if self.landlock else _nothing),
            ("seccomp", self.seccomp.apply if self.seccomp else _nothing),
        )
        for layer, step in steps:
            try:
                step()
            except (OSError, ValueError) as error:
                raise ConfinementError(layer, str(error)) from error

    def _begin(self) -> None:
        die_with_parent(self.parent)
        with contextlib.suppress(PermissionError):
            os.setsid()  # refused to the leader of a group, as when a shell has started dcp-evaluator-start
        self.limits.apply_priority()
        # Python marks its own descriptors close-on-exec; those of C libraries (ZeroMQ, SQLite) are made sure
        # of here.
        kernel.syscall(kernel.NR_CLOSE_RANGE, 3, 0x7FFFFFFF, kernel.CLOSE_RANGE_CLOEXEC)

    def _enter_namespaces(self) -> None:
        if self.namespaces is not None:
            self.namespaces.apply()
        else:
            namespaces.give_up_root()
        die_with_parent(None)  # a change of user clears it

    def close(self) -> None:
        """Give back the descriptor of the Landlock rules; the plan is of no use afterwards."""
        if self.landlock is not None:
            self.landlock.close()


def die_with_parent(parent: int | None) -> None:
    """Ask the kernel to kill this process when the thread that forked it ends. Ends at once if that has
    happened.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if parent is not None and parent not in (os.getppid(), os.getpid()):
        os._exit(1)


def check() -> list[LayerStatus]:
    """Try each layer in a throw-away child and say what this box can give."""
    return list(_check())


@cache
def _check() -> tuple[LayerStatus, ...]:
    return (
        _status(
            "limits",
            lambda: Limits().apply(own_user=False),
            "resource limits, no_new_privs, dies with its parent",
        ),
        _namespaces_status(),
        _landlock_status(),
        _status("seccomp", _try_seccomp, "filter of system calls"),
    )


def _status(name: str, attempt: Callable[[], None], detail: str) -> LayerStatus:
    problem = _try_in_child(attempt)
    return LayerStatus(name, not problem, problem or detail)


def _namespaces_status() -> LayerStatus:
    if _user_namespace_works():
        return LayerStatus("namespaces", True, "own user, network, IPC and UTS namespaces")
    problem = _try_in_child(Namespaces.prepare(own_user=False).apply) if os.geteuid() == 0 else "see below"
    if not problem:
        return LayerStatus("namespaces", True, "own network, IPC and UTS namespaces, as uid 65534")
    refusal = _try_in_child(Namespaces.prepare().apply)
    return LayerStatus("namespaces", False, f"unprivileged user namespaces are refused: {refusal}")


def _landlock_status() -> LayerStatus:
    version = landlock.abi()
    if version < 1:
        return LayerStatus(
            "landlock", False, "the kernel has no Landlock (Linux 5.13 or later, lsm=landlock)"
        )

    def attempt() -> None:
        _no_new_privileges()
        Landlock.prepare(Path("/dev/null"), ()).apply()

    return _status("landlock", attempt, f"version {version} of the interface")


def _try_seccomp() -> None:
    _no_new_privileges()
    try:
        Seccomp.prepare().apply()
    except ConfinementError as error:
        raise OSError(error.detail) from error


@cache
def _user_namespace_works() -> bool:
    return not _try_in_child(Namespaces.prepare().apply)


def _no_new_privileges() -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def _nothing() -> None:
    pass


def _try_in_child(attempt: Callable[[], None]) -> str:
    """Run attempt in a forked child; "" when it went well, else what it said."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            attempt()
            os._exit(0)
        except BaseException as error:
            os.write(writer, str(error).encode()[:1000])
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return text if status != 0 and text else ("" if status == 0 else f"ended with status {status}")
