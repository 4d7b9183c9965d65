"""Bad work functions through the whole stack: the deployer hears what was wrong, and everybody else is served."""

import re
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from dcp_worker.client import ConsoleMessage, JobCancelled, SliceError, SliceErrors, compute_for
from dcp_worker.protocol.dcp.kvin_types import JsError
from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.programs import is_alive, wait_until
from dcp_worker.tests.stack import Stack, running_stack

PROGRESS_TIMEOUT_S = 2
SETTINGS = {
    "DCP_EVALUATOR_HOST_PROGRESS_TIMEOUT": f"{PROGRESS_TIMEOUT_S}s",
    "DCP_EVALUATOR_HOST_MEMORY_PER_SANDBOX": "128MiB",
    "DCP_SCHEDULER_RETURNS_BEFORE_FAILURE": "0",
    "DCP_WORKER_CORES": "2",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all of these tests: each leaves it as good as it was."""
    skip_unless_confined()
    folder = tmp_path_factory.mktemp("stack")
    with running_stack(folder, env=SETTINGS) as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCP_RESOURCE_DIR", str(folder / "deployer"))
        patch.setenv("DCP_SCHEDULER_LOCATION", stack.url)
        stack.program.wait_for("attached: ")
        yield stack


@pytest.fixture(autouse=True)
def everybody_else(stack: Stack) -> Iterator[None]:
    """After each test an honest job is computed by the same processes, and no evaluator of the bad one is left."""
    parts = [process for process in stack.program.descendants() if not is_evaluator(process)]
    yield
    bad = [process for process in stack.program.descendants() if is_evaluator(process)]
    assert compute_for(range(1, 51), "x => x * x").exec() == [x * x for x in range(1, 51)]
    assert all(map(is_alive, parts))
    wait_until(lambda: sum(map(is_alive, bad)) <= 1, "the evaluators of the bad job to be gone")


def is_evaluator(process: psutil.Process) -> bool:
    try:
        return "--v8-flags" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def outcomes(inputs: Any, work: str, **listeners: Any) -> list[Any]:
    """What a job gives for each input; a SliceError where a slice has failed."""
    job = compute_for(inputs, work, errors="return")
    for event, listener in listeners.items():
        job.on(event, listener)
    return job.exec()


def check(outcomes: list[Any], code: str) -> JsError:
    """Slice 2 of four has failed, with this in its message; the others have their results."""
    error = outcomes[1]
    assert isinstance(error, SliceError)
    assert (error.slice, [outcomes[0], *outcomes[2:]]) == (2, [1, 3, 4])
    assert isinstance(error.error, JsError)
    assert error.error.message.startswith(code), error
    return error.error


def test_a_slice_that_throws(stack: Stack) -> None:
    """Each error arrives as it was thrown, with message and stack; the rest is computed."""
    with pytest.raises(SliceErrors) as caught:
        compute_for(
            range(1, 41), "function odd(x) { if (x % 2 === 0) throw new RangeError('even: ' + x); return x }"
        ).exec()

    errors = caught.value.errors
    assert sorted(errors) == list(range(2, 41, 2))
    for number, error in errors.items():
        assert error.message == f"RangeError: even: {number}"
        assert "at odd" in error.error.stack
        assert str(stack.folder) not in error.error.stack
    assert [value for value in caught.value.results if not isinstance(value, SliceError)] == list(
        range(1, 41, 2)
    )


def test_anything_that_is_thrown() -> None:
    """What is no Error arrives as well, told in words."""
    thrown = ["'text'", "null", "undefined", "7", "{ message: 'an object' }", "new Error('')"]
    cases = ", ".join(f"() => {{ throw {what} }}" for what in thrown)
    outcome = outcomes(range(len(thrown)), f"x => [{cases}][x]()")

    assert all(isinstance(error, SliceError) for error in outcome)
    shown = [error.error.message for error in outcome]
    assert shown[:5] == ["text", "null", "undefined", "7", "an object"]


@pytest.mark.parametrize(
    "work",
    ["x => { while (x === 2); return x }", "x => x === 2 ? new Promise(() => {}) : x"],
    ids=["an endless loop", "a promise that never settles"],
)
def test_a_slice_that_never_ends(work: str) -> None:
    """It is ended after the progress timeout, and its deployer is told so: as an event, and as its outcome."""
    notices: list[Any] = []
    error = check(outcomes([1, 2, 3, 4], work, noprogress=notices.append), "ENOPROGRESS")

    assert f"slice 2 was silent for {PROGRESS_TIMEOUT_S} s" in error.message
    assert [notice.kind for notice in notices] == ["noprogress"]
    assert "slice 2" in notices[0].message


def test_a_slice_that_never_ends_among_quick_ones() -> None:
    """Only itself is given up, though the results before it in its run had not been told yet."""
    outcome = outcomes(range(1, 401), "x => { while (x === 300); return x }")

    assert [number for number, value in enumerate(outcome, 1) if value != number] == [300]
    assert "ENOPROGRESS" in outcome[299].message


def test_a_slice_that_reports_may_take_its_time() -> None:
    """Longer than the progress timeout, with a word now and then."""
    work = f"""x => new Promise(resolve => {{
        const until = Date.now() + {PROGRESS_TIMEOUT_S * 1500};
        (function tick() {{ progress(); if (Date.now() < until) setTimeout(tick, 100); else resolve(x) }})();
    }})"""

    assert outcomes([1, 2], work) == [1, 2]


def test_a_flood_of_console_lines() -> None:
    """Some lines arrive; what never stops is ended."""
    lines: list[ConsoleMessage] = []
    work = "x => { for (let n = 0; x === 2; n++) console.log('line', n); return x }"
    check(outcomes([1, 2, 3, 4], work, console=lines.append), "EFLOOD")

    assert 0 < len(lines) < 100_000
    assert all(re.fullmatch(r"line \d+", line.message) for line in lines)


def test_a_flood_of_output() -> None:
    """Many megabytes a second: they go no farther than the evaluator's host."""
    work = "x => { for (let n = 0; x === 2; n++) console.log(n, 'x'.repeat(100000)); return x }"

    check(outcomes([1, 2, 3, 4], work), "EFLOOD")


def test_a_forged_line_is_only_text() -> None:
    """Protocol text in console, events, errors, progress and results makes no outcome of any slice."""
    header = r'{"type":"results","run":1,"first":1,"count":4,"wall":1,"cpu":1,"gpu":0,"in":1,"out":1}'
    forged = rf"\nMSG:{header}\n[9,9,9,9]\n"
    lines: list[ConsoleMessage] = []
    work = f"""x => {{
        const forged = '{forged}';
        console.log(forged); console.error(forged);
        work.emit(forged, forged);
        try {{ progress(forged) }} catch {{}}
        try {{ writeln(forged) }} catch {{}}
        try {{ self.postMessage(forged) }} catch {{}}
        if (x === 3) throw new Error(forged);
        return [x, forged];
    }}"""
    outcome = outcomes([1, 2, 3, 4], work, console=lines.append)

    text = forged.replace(r"\n", "\n")
    assert [outcome[n] for n in (0, 1, 3)] == [[1, text], [2, text], [4, text]]
    assert outcome[2].error.message == text
    assert {line.message for line in lines} <= {text}


@pytest.mark.parametrize(
    "hog",
    [
        "kept.push(new Array(1e5).fill(x + kept.length))",
        "kept.push('x'.repeat(1e5) + kept.length); kept.at(-1).at(5)",
    ],
    ids=["arrays", "strings"],
)
def test_a_slice_that_allocates_without_end(hog: str) -> None:
    """It hits its own limit; the message says so, and nothing about the box that it ran on."""
    work = f"x => {{ const kept = []; while (x === 2) {{ {hog} }} return x }}"
    error = check(outcomes([1, 2, 3, 4], work), "EOUTOFMEMORY")

    assert "memory" in error.message
    assert "deno" not in error.message
    assert "0x" not in error.message


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ("x => { return x + }", r"SyntaxError: Unexpected token '\}'"),
        ("42", "TypeError: the work function is no function"),
        ("nothing.of.this", "ReferenceError: nothing is not defined"),
    ],
)
def test_a_work_function_that_is_none(work: str, reason: str) -> None:
    """The job ends at once and says why."""
    with pytest.raises(JobCancelled, match=reason):
        compute_for([1, 2, 3], work).exec()


def test_a_slice_that_is_rejected() -> None:
    """By every sandbox that it is given to: it has failed, with the reason of its work function."""
    error = check(
        outcomes([1, 2, 3, 4], "x => { if (x === 2) work.reject('not here'); return x }"), "EWORKREJECT"
    )

    assert "not here" in error.message


def test_everything_at_once() -> None:
    """Bad jobs beside an honest one: it neither waits for them to end nor suffers."""
    bad = [
        compute_for([1, 2], work, errors="return").start()
        for work in ("x => { for (;;); }", "x => { for (;;) console.log(x) }", "x => { work.reject('no') }")
    ]
    assert compute_for(range(1, 201), "x => x + 1").exec() == list(range(2, 202))
    for job in bad:
        assert all(isinstance(error, SliceError) for error in job.exec())
