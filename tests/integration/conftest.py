"""What the tests of one evaluator share: its pipes, its program, and a running one."""

from collections.abc import Iterator

import pytest

from dcp_worker.evaluator_host.evaluator import EvaluatorProgram
from dcp_worker.evaluator_host.pipes import EvaluatorPipes
from dcp_worker.tests.evaluators import (
    Driver,
    running_evaluator,
    running_pipes,
    skip_unless_confined,
    small_program,
)


@pytest.fixture(scope="module")
def pipes() -> Iterator[EvaluatorPipes]:
    """One thread that reads the pipes of a module's evaluators."""
    skip_unless_confined()
    with running_pipes() as pipes:
        yield pipes


@pytest.fixture(scope="module")
def program() -> EvaluatorProgram:
    """How to start a small, fully confined evaluator."""
    skip_unless_confined()
    return small_program()


@pytest.fixture
def sandbox(pipes: EvaluatorPipes, program: EvaluatorProgram) -> Iterator[Driver]:
    """A running evaluator of the test's own."""
    with running_evaluator(pipes, program) as driver:
        yield driver
