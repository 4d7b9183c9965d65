"""A whole stack, `dcp up`, in its own folders: what the end-to-end tests run against."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dcp_worker.tests.programs import Program, command, is_alive, wait_until


class Stack:
    """`dcp up` on a free port; ``environment`` points clients at it."""

    def __init__(
        self, folder: Path, arguments: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.resource_dir = folder / "resources"
        self.data_dir = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {"DCP_RESOURCE_DIR": str(self.resource_dir), **(env or {})}
        self.program = Program(
            [
                command("dcp"),
                "up",
                "--listen",
                "127.0.0.1:0",
                "--data",
                str(self.data_dir),
                *arguments,
            ],
            folder / "up.log",
            env=self.environment,
            cwd=folder,
        )
        self.url = self.program.wait_for(r"listening on (http://\S+)").group(1)
        self.environment["DCP_SCHEDULER_LOCATION"] = self.url

    def run(self, arguments: Sequence[str], name: str = "client", cwd: Path | None = None) -> Program:
        """Start a program beside the stack, with the stack's environment."""
        return Program(arguments, self.folder / f"{name}.log", env=self.environment, cwd=cwd or self.folder)


@contextmanager
def running_stack(
    folder: Path, arguments: Sequence[str] = (), env: dict[str, str] | None = None
) -> Iterator[Stack]:
    """A stack for the length of a test. Nothing that it started may be left when it has been stopped."""
    stack = Stack(folder, arguments, env)
    try:
        yield stack
        started = stack.program.descendants()
        assert stack.program.interrupt() == 130
        wait_until(
            lambda: not any(map(is_alive, started)), "everything that the stack started to be gone", 10
        )
    finally:
        stack.program.stop()
