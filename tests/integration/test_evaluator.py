"""One evaluator under full confinement, in our sandbox environment: what jobs may count on, and cannot do."""

import math

import pytest

from dcp_worker.protocol.dcp.kvin_reader import value_of
from dcp_worker.protocol.dcp.kvin_types import UNDEFINED, JsError
from dcp_worker.protocol.evaluator_lines import (
    AssignFailed,
    DieLine,
    FailedLine,
    ProgressLine,
    RejectedLine,
    ResultsLine,
)
from dcp_worker.tests.evaluators import (
    WASM_ADD,
    Driver,
)


def test_results_come_in_slice_order(sandbox: Driver) -> None:
    """Many slices of several runs: every result, in order, a few lines for thousands of slices."""
    sandbox.assign("x => x * x")
    sandbox.start_run(1, 1, 3000, list(range(3000)))
    sandbox.start_run(2, 3001, 2, [7, 8])
    sandbox.finish(2)

    assert sandbox.outcomes(1) == [x * x for x in range(3000)]
    assert sandbox.outcomes(2) == [49, 64]
    lines = sandbox.of(ResultsLine)
    assert [line.first for line in lines] == sorted(line.first for line in lines)
    assert all(line.count <= 1000 and line.cost.wall_ms > 0 for line in lines)


def test_arguments_follow_the_input(sandbox: Driver) -> None:
    sandbox.assign("(x, a, b) => [x, a, b.c]", [10, {"c": "text"}])

    assert sandbox.compute([1, 2]) == [[1, 10, "text"], [2, 10, "text"]]


@pytest.mark.parametrize(
    ("range_object", "expected"),
    [
        ({"start": 1, "end": 10, "step": 3}, [1, 4, 7, 10]),
        ({"start": 5, "end": 3}, [5, 4, 3]),
        ({"start": 1, "end": 5, "step": 1, "group": 2}, [[1, 2], [3, 4], [5]]),
        (
            {"ranges": [{"start": 1, "end": 2, "step": 1}, {"start": 8, "end": 9, "step": 1}]},
            [[1, 8], [1, 9], [2, 8], [2, 9]],
        ),
        (
            {
                "sparse": True,
                "ranges": [{"start": 1, "end": 2, "step": 1}, {"start": 8, "end": 9, "step": 1}],
            },
            [1, 2, 8, 9],
        ),
    ],
)
def test_range_elements_are_computed_from_the_slice_number(
    sandbox: Driver, range_object: dict[str, object], expected: list[object]
) -> None:
    """As dcp-client counts through the same range object."""
    sandbox.assign("x => x", input_range=range_object)
    sandbox.start_run(1, 1, len(expected), None)
    sandbox.finish(1)

    assert sandbox.outcomes() == expected


def test_values_survive_the_way_in_and_out(sandbox: Driver) -> None:
    """Kinds of values that JSON has no word for."""
    values = [
        *(
            None,
            UNDEFINED,
            True,
            0,
            -1.5,
            2**53 - 1,
            "",
            "snow ☃ \n \u2028",
            [1, [2, {}]],
            {"a": {"b": [None]}},
        ),
        *(b"\0\xff\n", 2**80, [UNDEFINED, 1], {"x": math.inf}),
    ]
    sandbox.assign("x => x")

    assert sandbox.compute(values) == values


def test_an_async_work_function_is_awaited(sandbox: Driver) -> None:
    sandbox.assign("async x => { await new Promise(r => setTimeout(r, 5)); return x + 1 }")

    assert sandbox.compute([1, 2, 3]) == [2, 3, 4]


def test_many_async_slices_do_not_wait_for_a_timer_each(sandbox: Driver) -> None:
    """A promise that settles at once costs no tick of a clock."""
    sandbox.assign("async x => -x")

    assert sandbox.compute(list(range(1, 2001))) == [-x for x in range(1, 2001)]
    assert len(sandbox.of(ResultsLine)) < 200


def test_results_do_not_wait_for_a_slow_slice(sandbox: Driver) -> None:
    """What is finished is sent within milliseconds while a later slice waits for something."""
    sandbox.assign("x => x < 3 ? x : new Promise(() => {})")
    sandbox.start_run(1, 1, 4, [1, 2, 3, 4])
    sandbox.wait(lambda: bool(sandbox.of(ResultsLine)))

    assert sandbox.outcomes() == [1, 2]


def test_timers_come_in_order_and_end_with_the_slice(sandbox: Driver) -> None:
    sandbox.assign("""x => new Promise(resolve => {
        const seen = globalThis.seen ??= [];
        seen.push('slice ' + x);
        const every = setInterval(() => { seen.push('every ' + x); if (seen.length > 50) resolve(seen) }, 1);
        if (x === 2) clearInterval(every);
        setTimeout((a, b) => seen.push(a + b), 2, 'ti', 'mer');
        const never = setTimeout(() => seen.push('never'), 1);
        clearTimeout(never);
        setTimeout(() => resolve(seen.slice()), 60);
        setTimeout(() => seen.push('later'), 70);
    })""")
    first, second = sandbox.compute([1, 2])

    assert first[0] == "slice 1"
    assert "timer" in first
    assert "every 1" in first
    assert "never" not in second
    assert second[second.index("slice 2") :] == ["slice 2", "timer"]


def test_an_error_in_a_timer_fails_the_slice(sandbox: Driver) -> None:
    sandbox.assign("x => new Promise(() => setTimeout(() => { throw new Error('in a timer') }, 1))")
    (error,) = sandbox.compute([1])

    assert isinstance(error, JsError)
    assert error.message == "in a timer"


def test_webassembly_computes(sandbox: Driver) -> None:
    sandbox.assign(f"""async x => {{
        const {{ instance }} = await WebAssembly.instantiate(new Uint8Array([{WASM_ADD}]));
        return instance.exports.add(x, 40);
    }}""")

    assert sandbox.compute([2]) == [42]


def test_helpers_of_the_web_are_there(sandbox: Driver) -> None:
    """A work function finds what it needs to compute, and nothing that reaches out."""
    sandbox.assign("""() => ({
        clone: structuredClone({ a: [1] }), text: new TextDecoder().decode(new TextEncoder().encode('ü')),
        url: new URL('../b', 'http://h/a/c').href, base64: atob(btoa('hi')),
        random: crypto.getRandomValues(new Uint8Array(4)).length, now: performance.now() > 0,
        job: work.job.public.name,
        gone: ['Deno', 'process', 'fetch', 'Worker', 'require', 'Buffer', 'localStorage', 'caches',
               'WebSocket', 'writeln', 'onreadln', 'die', 'nextTimer', 'cpuTime', 'KVIN', 'runs', 'send',
               'Intl', 'importScripts', 'BroadcastChannel', 'GPU', 'name', 'close']
          .filter(name => typeof globalThis[name] !== 'undefined'),
        gpu: typeof navigator.gpu,
    })""")
    (found,) = sandbox.compute([0])

    assert found == {
        "clone": {"a": [1]},
        "text": "ü",
        "url": "http://h/b",
        "base64": "hi",
        "random": 4,
        "now": True,
        "job": "Ad-Hoc Job",
        "gone": [],
        "gpu": "undefined",
    }


def test_console_lines_become_events_and_repeats_are_counted(sandbox: Driver) -> None:
    sandbox.assign(
        "x => { console.log('a', 1); console.log('a', 1); console.log('a', 1); console.error({}); return 0 }"
    )
    sandbox.compute([0])
    events = [(e["level"], e["same"], value_of(e["message"]["what"])) for e in sandbox.events("console")]

    assert events == [("log", 1, ["a", 1]), ("log", 3, UNDEFINED), ("error", 1, [{}])]


def test_emit_sends_a_custom_event(sandbox: Driver) -> None:
    sandbox.assign(
        "x => { work.emit('half\\nway', { x }); try { work.emit(1) } catch (e) { return e.name } }"
    )

    assert sandbox.compute([5]) == ["TypeError"]
    assert sandbox.events("custom") == [{"eventName": "custom", "customEvent": "half\nway", "data": {"x": 5}}]


def test_reject_ends_the_sandbox_after_what_was_finished(sandbox: Driver) -> None:
    sandbox.assign("x => x < 3 ? x : work.reject('not here', 4)")
    sandbox.start_run(1, 1, 4, [1, 2, 3, 4])
    end = sandbox.wait_end()

    assert sandbox.outcomes() == [1, 2]
    assert sandbox.of(RejectedLine) == [RejectedLine(1, 3, "not here", 4)]
    assert (end.cause, end.returncode) == ("exit", 0)


def test_the_last_progress_is_not_lost(sandbox: Driver) -> None:
    """Throttled, but a slice that reported at all reports its end too; progress never goes backwards."""
    sandbox.assign(
        "x => { for (let i = 1; i <= 1000; i++) progress(i / 1000); progress('12%'); progress(1) }"
    )
    sandbox.compute([1])
    reports = [line.progress for line in sandbox.of(ProgressLine)]

    assert 2 <= len(reports) <= 5
    assert reports[0] == 0.001
    assert reports[-1] == 1


def test_a_waiting_slice_sends_its_withheld_progress(sandbox: Driver) -> None:
    sandbox.assign(
        "x => { progress(0.1); progress(0.5); return new Promise(() => {}) }", progress_throttle_s=0.02
    )
    sandbox.start_run(1, 1, 1, [0])
    sandbox.wait(lambda: len(sandbox.of(ProgressLine)) == 2)

    assert sandbox.of(ProgressLine)[1] == ProgressLine(1, 1, 0.5)


@pytest.mark.parametrize(
    ("thrown", "message"),
    [
        ("new RangeError('too far')", "too far"),
        ("'just text'", "just text"),
        ("null", "null"),
        ("undefined", "undefined"),
        ("Symbol('s')", "Symbol(s)"),
        ("{ message: 'an object', code: 'ECODE' }", "an object"),
        (
            "new Proxy({}, { get() { throw 1 }, getPrototypeOf() { throw 2 } })",
            "something was thrown that cannot be shown",
        ),
        ("{ get message() { throw new Error('getter') }, toString() { return 'shown' } }", "shown"),
        ("Object.assign(new Error('half \\ud800'), { stack: 7 })", "half \ud800"),
    ],
)
def test_anything_may_be_thrown(sandbox: Driver, thrown: str, message: str) -> None:
    """The slice fails with what can be said about it, and the next slice is computed."""
    sandbox.assign(f"x => {{ if (x === 1) throw {thrown}; return x }}")
    error, after = sandbox.compute([1, 2])

    assert isinstance(error, JsError)
    assert error.message == message
    assert after == 2
    assert sandbox.of(FailedLine)[0].slice == 1


def test_an_error_tells_where_but_nothing_about_this_box(sandbox: Driver) -> None:
    sandbox.assign("function work(x) { throw new Error('here') }")
    (error,) = sandbox.compute([1])

    assert "at work" in str(error.stack)
    assert "evaluator" not in str(error.stack)
    assert "dcp-sandbox" not in str(error.stack)


def test_a_result_that_cannot_be_serialized_fails_its_slice(sandbox: Driver) -> None:
    sandbox.assign(
        "x => { if (x) return x; const deep = []; let d = deep; for (let i = 0; i < 1e5; i++) d = d[0] = []; return deep }"  # noqa: E501
    )
    error, after = sandbox.compute([0, 3])

    assert isinstance(error, JsError)
    assert after == 3


@pytest.mark.parametrize(
    ("work_function", "more", "part"),
    [
        ("x => {", {}, "SyntaxError"),
        ("42", {}, "no function"),
        ("(() => { throw new Error('at load') })()", {}, "at load"),
        ("x => x", {"worktime": "cobol"}, "cobol"),
        ("x => x", {"input_range": {"start": 1}}, "range"),
        ("x => x", {"input_range": {"dist": "normal", "length": 5, "params": []}}, "distribution"),
    ],
)
def test_a_job_that_cannot_be_set_up_is_refused(
    sandbox: Driver, work_function: str, more: dict[str, object], part: str
) -> None:
    outcome = sandbox.assign(work_function, **more)

    assert isinstance(outcome, AssignFailed)
    assert part in f"{outcome.name}: {outcome.message}"


def test_megabyte_values_pass(sandbox: Driver) -> None:
    """Neither side copies a long line again and again."""
    sandbox.assign("x => x")
    data = bytes(range(256)) * 8192

    assert sandbox.compute([data, "ü" * 1_000_000]) == [data, "ü" * 1_000_000]


def test_a_line_that_makes_no_sense_ends_the_sandbox(sandbox: Driver) -> None:
    """The host is trusted, so this is a defect: it is told, and nothing is guessed."""
    sandbox.process.write(b'{"type":"dance"}\n')
    sandbox.wait_end()

    assert "dance" in sandbox.of(DieLine)[0].text


def test_the_end_of_its_input_ends_the_evaluator(sandbox: Driver) -> None:
    assert sandbox.process._process.stdin is not None
    sandbox.process._process.stdin.close()

    assert sandbox.wait_end().returncode == 0
