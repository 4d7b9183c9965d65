"""Real programs for the tests: start one, wait for what it says, stop it, and see that nothing stays behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

START_TIMEOUT_S = 60.0


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for a condition, not for a number of seconds; fail with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.02)


class Program:
    """One process whose output goes to a file, so that a test can wait for a line of it."""

    def __init__(
        self, arguments: Sequence[str], log: Path, *, env: Mapping[str, str] = {}, cwd: Path | None = None
    ) -> None:
        self.log = log
        self.name = Path(arguments[0]).name
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                list(arguments),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, timeout_s: float = START_TIMEOUT_S) -> re.Match[str]:
        """The first match of a regular expression in the output; fails at once when the program has ended."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            match = re.search(pattern, self.output)
            if match is None and self.process.poll() is not None:
                match = re.search(pattern, self.output)
                if match is None:
                    raise AssertionError(
                        f"{self.name} ended with {self.process.returncode} before it said {pattern!r}:\n{self.output}"
                    )
            if match is not None:
                found.append(match)
            return match is not None

        try:
            wait_until(seen, f"{self.name} to say {pattern!r}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
        return found[0]

    def descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> int:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {timeout_s:.0f} s:\n{self.output}"
            ) from None

    def interrupt(self, timeout_s: float = START_TIMEOUT_S) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait(timeout_s)

    def stop(self) -> None:
        """End it whatever it does, with all that it started (for the end of a test)."""
        left = self.descendants()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that waits for its parent to take notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command(name: str) -> str:
    """The path of one of our commands, as installed beside the running interpreter."""
    return str(Path(sys.executable).with_name(name))
