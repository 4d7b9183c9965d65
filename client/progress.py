"""A progress bar on a terminal, a line now and then elsewhere. Written to the standard error output."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 5.0
QUIET_S = 2.0  # shorter jobs print no lines


class Shown(Protocol):
    """Shows how far a job is. Use as a context manager."""

    def __enter__(self) -> "Shown": ...

    def __exit__(self, *_: Any) -> None: ...

    def update(self, done: int, total: int | None, state: str) -> None:
        """Show that ``done`` slices of ``total`` (None: nobody knows yet) have an outcome."""
        ...


def progress_for(name: str, wanted: bool | None, out: TextIO | None = None) -> Shown:
    """What shows the progress of a job: a bar on a terminal, lines elsewhere, nothing when not wanted.

    ``wanted=None`` means a bar on a terminal and nothing elsewhere.
    """
    out = out or sys.stderr
    terminal = out.isatty()
    if wanted is False or (wanted is None and not terminal):
        return Silent()
    return Bar(name, out) if terminal else Lines(name, out)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def update(self, done: int, total: int | None, state: str) -> None:
        """Do nothing."""


class Lines:
    """A line at most every few seconds, and one at the end, for logs and pipes."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._started = time.monotonic()
        self._last = self._started
        self._latest = (0, 0, "")
        self._printed = False

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._printed:
            self._print()

    def update(self, done: int, total: int | None, state: str) -> None:
        """Print a line when the last one is long ago."""
        self._latest = (done, total or 0, state)
        now = time.monotonic()
        if now - self._started >= QUIET_S and now - self._last >= LINE_EVERY_S:
            self._last = now
            self._print()

    def _print(self) -> None:
        done, total, state = self._latest
        share = f"{done} of {total} slices ({done / total:.0%})" if total else f"{done} slices"
        elapsed = time.monotonic() - self._started
        print(f"{self._name}: {share}, {state}, {elapsed:.0f} s", file=self._out, flush=True)
        self._printed = True


class Bar:
    """A bar that moves. rich is loaded only here, because it takes a while."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Shown:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=Console(file=self._out),
        )
        self._progress.start()
        self._task = self._progress.add_task(self._name, total=None, state="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, done: int, total: int | None, state: str) -> None:
        """Move the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, state=state)
