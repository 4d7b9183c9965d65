"""A real, confined evaluator for tests, with a listener that one can wait on."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dcp_worker.evaluator_host.confinement import Limits, check
from dcp_worker.evaluator_host.evaluator import EvaluatorProcess, EvaluatorProgram
from dcp_worker.evaluator_host.pipes import EvaluatorEnd, EvaluatorPipes, PipeLimits
from dcp_worker.protocol.dcp.kvin_reader import value_of
from dcp_worker.protocol.dcp.kvin_writer import node_of
from dcp_worker.protocol.dcp.values import body_of, nodes_of
from dcp_worker.protocol.evaluator_lines import (
    Assigned,
    AssignFailed,
    EventLine,
    FailedLine,
    FinishedLine,
    Line,
    LineReader,
    Ready,
    ResultsLine,
    encode_assign,
    encode_run,
)

PATIENCE_S = 30.0
WASM_ADD = (  # (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
    "0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11"
)


def skip_unless_confined() -> None:
    """A box that cannot confine an evaluator says so instead of testing something weaker."""
    missing = [f"{status.name}: {status.detail}" for status in check() if not status.available]
    if missing:
        pytest.skip("this box cannot confine an evaluator: " + "; ".join(missing))


class Driver:
    """Listens to one evaluator and speaks to it."""

    process: EvaluatorProcess

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.said: list[Line] = []
        self.end: EvaluatorEnd | None = None
        self._reader = LineReader()
        self._news = threading.Condition()

    def lines(self, lines: list[bytes]) -> None:
        with self._news:
            self.raw += lines
            self.said += self._reader.read(lines)
            self._news.notify_all()

    def ended(self, end: EvaluatorEnd) -> None:
        with self._news:
            self.end = end
            self._news.notify_all()

    def wait(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        with self._news:
            fulfilled = self._news.wait_for(lambda: condition() or self.end is not None, patience_s)
            assert condition(), f"waited in vain ({fulfilled=}); said {self.said[-5:]}, end {self.end}"

    def wait_end(self) -> EvaluatorEnd:
        self.wait(lambda: self.end is not None)
        assert self.end is not None
        return self.end

    def of(self, kind: type[Any]) -> list[Any]:
        return [line for line in self.said if isinstance(line, kind)]

    def assign(self, work_function: str, arguments: Sequence[Any] = (), **more: Any) -> Line:
        """Assign a job; gives Assigned or AssignFailed."""
        if isinstance(more.get("input_range"), dict):
            more["input_range"] = json.dumps(more["input_range"])
        body = body_of(node_of(argument) for argument in arguments)
        self.process.write(encode_assign(job="j", work_function=work_function, arguments=body, **more))
        self.wait(lambda: bool(self.of(Assigned) or self.of(AssignFailed)))
        outcome: Line = (self.of(Assigned) + self.of(AssignFailed))[0]
        return outcome

    def start_run(self, run: int, first: int, count: int, values: Sequence[Any] | None) -> None:
        body = None if values is None else body_of(node_of(value) for value in values).encode()
        self.process.write(encode_run(run, first, count, body))

    def finish(self, run: int) -> None:
        self.wait(lambda: any(line.run == run for line in self.of(FinishedLine)))

    def compute(self, values: Sequence[Any], run: int = 1) -> list[Any]:
        """Compute a run of these inputs; the results in slice order, an error where a slice failed."""
        self.start_run(run, 1, len(values), values)
        self.finish(run)
        return self.outcomes(run)

    def outcomes(self, run: int = 1) -> list[Any]:
        outcomes: list[Any] = []
        for line in self.said:
            if isinstance(line, ResultsLine) and line.run == run:
                outcomes += [value_of(node) for node in nodes_of(line.body, line.count)]
            elif isinstance(line, FailedLine) and line.run == run:
                outcomes.append(value_of(json.loads(line.body)))
        return outcomes

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(line.body) for line in self.of(EventLine) if line.event == kind]


@contextmanager
def running_evaluator(
    pipes: EvaluatorPipes,
    program: EvaluatorProgram,
    limits: PipeLimits | None = None,
) -> Iterator[Driver]:
    driver = Driver()
    driver.process = EvaluatorProcess(pipes, program, driver, limits)
    try:
        driver.wait(lambda: bool(driver.of(Ready)))
        yield driver
    finally:
        driver.process.kill()
        driver.wait_end()


@contextmanager
def running_pipes() -> Iterator[EvaluatorPipes]:
    pipes = EvaluatorPipes()
    try:
        yield pipes
    finally:
        pipes.stop()


def small_program(memory_mb: int = 256) -> EvaluatorProgram:
    return EvaluatorProgram(limits=Limits(memory_mb=memory_mb))
