"""What an evaluator is started from: deno, the setup files, the walls around it."""

import functools
import gc
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..errors import DcpError
from .confinement import ConfinementError, ConfinementPlan, Limits

HERE = Path(__file__).resolve().parent
ENTRY = HERE / "evaluator.js"

SANDBOX_FILES = tuple(
    HERE / "sandbox" / f"{name}.js"
    for name in (
        "intrinsics",
        "kvin_shared",
        "kvin_writer",
        "kvin_reader",
        "kvin",
        "errors",
        "protocol",
        "values",
        "range",
        "timers",
        "metering",
        "console",
        "work",
        "globals",
        "runs",
        "assign",
        "bootstrap",
    )
)
"""Our sandbox environment, in load order."""

MESSAGE_SANDBOX_FILES = (*SANDBOX_FILES[:-1], HERE / "sandbox" / "worker_messages.js")
"""The same, but speaking the reference's line protocol: for somebody else's worker."""

ENVIRONMENT = {
    "DENO_NO_UPDATE_CHECK": "1",  # deno asks the network for updates otherwise
    "DENO_NO_PROMPT": "1",
    "DENO_DIR": "/dev/null/x",  # localStorage and caches would be written there without any permission
    "HOME": "/nonexistent",  # must be missing: deno reads ~/.npmrc
    "NO_COLOR": "1",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
}


class EvaluatorError(DcpError):
    """An evaluator could not be started, or cannot take what it was given."""

    code = "EEVALUATOR"


@functools.cache
def find_deno() -> Path:
    """The deno of this installation. Raises EvaluatorError."""
    try:
        import deno  # type: ignore[import-untyped]

        return Path(deno.find_deno_bin()).resolve(strict=True)
    except (ImportError, OSError) as error:
        raise EvaluatorError(
            f"deno is not installed beside this program ({error}); pip install deno==2.9.8"
        ) from error


class EvaluatorProgram:
    """What to run, and how confined: shared by any number of evaluators.

    ``files`` are the setup files (absolute paths, in load order), our own when None; ``together`` makes
    them one script. Raises ConfinementError when this box cannot give a layer that is not in
    ``allow_weaker``.
    """

    def __init__(
        self,
        files: Sequence[Path] | None = None,
        *,
        limits: Limits | None = None,
        allow_weaker: frozenset[str] = frozenset(),
    ) -> None:
        own = files is None or tuple(files) == MESSAGE_SANDBOX_FILES
        self.files = [path.resolve() for path in (SANDBOX_FILES if files is None else files)]
        for path in self.files:
            if not path.is_file():
                raise EvaluatorError(f"the setup file {path} is not there")
            if "," in str(path):
                raise EvaluatorError(
                    f"the setup file {path} has a comma in its name, which deno cannot be told"
                )
        self.limits = limits or Limits()
        self.deno = find_deno()
        self.plan = ConfinementPlan.prepare(self.deno, [ENTRY, *self.files], self.limits, allow_weaker)
        self.command = [
            str(self.deno),
            "run",
            *(
                "--no-prompt",
                "--no-config",
                "--no-lock",
                "--no-remote",
                "--no-npm",
                "--cached-only",
                "--no-check",
            ),
            "--no-code-cache",
            f"--allow-read={','.join(map(str, self.files))}",  # given back before a setup file runs
            f"--v8-flags=--max-old-space-size={self.limits.heap_mb}",
            str(ENTRY),
            *(["--together"] if own else []),
            *map(str, self.files),
        ]


def spawn(program: EvaluatorProgram, stdin: int, stdout: int, stderr: int) -> "subprocess.Popen[bytes]":
    """Start a confined deno. Raises ConfinementError or EvaluatorError.

    ``preexec_fn`` is the one way of the standard library to run something between fork and exec; it is
    known to be risky in a process with threads because a lock may be held at the fork. The plan takes
    none: all it needs exists already, and it makes system calls only. A launcher program instead would
    cost twice the start of an evaluator.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def confine() -> None:
        gc.disable()  # a finalizer of the parent's garbage has no business here
        try:
            program.plan.apply()
        except ConfinementError as error:
            os.write(writer, f"{error.layer}\n{error.detail}".encode())
            raise

    try:
        return subprocess.Popen(
            program.command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT,
            cwd="/",
            close_fds=False,  # the plan marks all of them close-on-exec with one system call
            preexec_fn=confine,
            bufsize=0,
        )
    except subprocess.SubprocessError as error:
        os.close(writer)
        writer = -1
        layer, _, detail = os.read(reader, 4096).decode(errors="replace").partition("\n")
        if layer:
            raise ConfinementError(layer, detail) from error
        raise EvaluatorError(f"the evaluator could not be confined: {error}") from error
    except OSError as error:
        raise EvaluatorError(f"the evaluator {program.deno} could not be started: {error}") from error
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
