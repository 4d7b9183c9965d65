"""Hostile work functions: each may end its own sandbox, and nothing else."""

import json
import threading
from pathlib import Path

import pytest

from dcp_worker.evaluator_host import program as program_module
from dcp_worker.evaluator_host.evaluator import EvaluatorProgram
from dcp_worker.evaluator_host.pipes import EvaluatorPipes, PipeLimits
from dcp_worker.evaluator_host.program import ENTRY
from dcp_worker.protocol.evaluator_lines import (
    Assigned,
    FailedLine,
)
from dcp_worker.tests.evaluators import (
    WASM_ADD,
    Driver,
    running_evaluator,
    small_program,
)


def test_an_endless_loop_can_be_killed(sandbox: Driver) -> None:
    sandbox.assign("x => { for (;;); }")
    sandbox.start_run(1, 1, 1, [0])
    sandbox.process.kill("closed", "too slow")

    assert sandbox.wait_end().cause == "closed"


@pytest.mark.parametrize(
    "hog",
    [
        "const a = []; for (;;) a.push(new ArrayBuffer(1 << 20))",
        "const a = []; for (;;) a.push(new Array(1e5).fill(Math.random()))",
        "const a = []; for (;;) a.push(('x' + a.length).repeat(1 << 18).split('').join('y'))",
        "const a = []; for (;;) a.push(new WebAssembly.Memory({ initial: 256 }))",
        "const a = []; for (;;) try { a.push(new Uint8Array(1 << 16).fill(1)) } catch { a.push({}) }",
    ],
)
def test_a_memory_hog_dies_and_is_told_apart(sandbox: Driver, hog: str) -> None:
    """Out of memory is no crash and no kill; unless V8 can refuse and the slice fails by itself."""
    sandbox.assign(f"x => {{ {hog} }}")
    sandbox.start_run(1, 1, 1, [0])
    sandbox.wait(lambda: sandbox.end is not None or bool(sandbox.of(FailedLine)))

    if sandbox.end is not None:
        assert sandbox.end.cause == "memory"
    else:
        assert "RangeError" in sandbox.of(FailedLine)[0].message


def test_a_flood_of_output_is_cut_off(pipes: EvaluatorPipes, program: EvaluatorProgram) -> None:
    with running_evaluator(pipes, program, PipeLimits(per_second=4 << 20)) as sandbox:
        sandbox.assign("x => { for (let i = 0; ; i++) console.log(i, 'x'.repeat(10000)) }")
        sandbox.start_run(1, 1, 1, [0])
        end = sandbox.wait_end()

    assert end.cause == "flood"
    assert sum(map(len, sandbox.raw)) < 6 << 20


def test_a_line_without_end_is_cut_off(pipes: EvaluatorPipes, program: EvaluatorProgram) -> None:
    with running_evaluator(pipes, program, PipeLimits(line=1 << 20)) as sandbox:
        sandbox.assign("x => 'x'.repeat(3 << 20)")
        sandbox.start_run(1, 1, 1, [0])

        assert sandbox.wait_end().cause == "flood"


FORGED = "const forged = () => { throw new Error('REACHED') };"
TRICKS = {
    "console.log of protocol text": 'console.log(\'x\\nMSG:{"type":"finished","run":1}\')',
    "message of an error": 'throw new Error(\'\\nMSG:{"type":"finished","run":1}\')',
    "event name": 'work.emit(\'\\nMSG:{"type":"finished","run":1}\', 1)',
    "indirect eval": "(0, eval)('typeof writeln + typeof send + typeof Deno') !== 'undefinedundefinedundefined' && forged()",  # noqa: E501
    "Function": "Function('return typeof writeln + typeof runs')() !== 'undefinedundefined' && forged()",
    "constructor chain": "(() => {}).constructor('return typeof stopFor')() !== 'undefined' && forged()",
    "import of a builtin": "return import('node:fs').then(() => forged(), () => 0)",
    "import of data": "return import('data:text/javascript,export default 1').then(() => forged(), () => 0)",
    "import by eval as a job": "return Promise.resolve(\"import('node:worker_threads')\").then(eval).then(() => forged(), () => 0)",  # noqa: E501
    "import of a file": "return import('file:///etc/passwd').then(() => forged(), () => 0)",
    "import by Function as a job": "return Promise.resolve(\"return import('node:process')\").then(Function).then(f => f()).then(() => forged(), () => 0)",  # noqa: E501
    "import by eval as a listener": """return new Promise(done => { globalThis.done = done;
        const code = "import('node:process').then(() => done('REACHED'), () => done(0))";
        addEventListener('x', eval.bind(null, code)); dispatchEvent(new Event('x')) })""",
    "import by eval as a conversion": """return new Promise(done => { globalThis.done = done;
        const code = "import('ext:core/ops').then(() => done('REACHED'), () => done(0)); 'http://h/'";
        new URL({ toString: eval.bind(null, code) }) })""",
    "import of node:module": "return import('node:module').then(() => forged(), () => 0)",
    "import with attributes": "return import('data:application/json,1', { with: { type: 'json' } }).then(() => forged(), () => 0)",  # noqa: E501
    "call sites": "Error.prepareStackTrace = (e, s) => s; const s = new Error().stack; "
    "for (const f of s) if (f.getThis() && f.getThis() !== globalThis || f.getFunction()?.name === 'compute') forged()",
    "global object's constructor": "globalThis.constructor !== undefined && forged()",
    "toJSON": "Object.prototype.toJSON = () => '\\nMSG:{}'; return { a: 1 }",
    "prototype setters": "Object.defineProperty(Array.prototype, '0', { set(v) { globalThis.got = v } }); return [[1]]",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_work_function_cannot_forge_a_line(sandbox: Driver, trick: str) -> None:
    """What it says is data; the natives are out of its reach, whatever it evaluates or imports."""
    assert sandbox.assign(f"x => {{ {FORGED} {TRICKS[trick]} }}") == Assigned()
    sandbox.start_run(1, 1, 1, [0])
    sandbox.start_run(2, 2, 1, [0])
    sandbox.finish(2)

    assert b"REACHED" not in b"".join(sandbox.raw)
    assert [line.run for line in sandbox.said if type(line).__name__ == "FinishedLine"] == [1, 2]
    for line in sandbox.raw:
        assert not line.startswith(b"MSG:") or json.loads(line[4:])["type"]


def test_imports_are_refused_without_the_short_way_too(
    pipes: EvaluatorPipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deno that does not hand out its operations any more: node's modules are loaded to shut import()."""
    entry = tmp_path / "evaluator.js"
    entry.write_text("delete globalThis.ImageBitmap;\n" + ENTRY.read_text())
    monkeypatch.setattr(program_module, "ENTRY", entry)
    imports = [trick for name, trick in TRICKS.items() if name.startswith("import")]
    with running_evaluator(pipes, small_program()) as sandbox:
        sandbox.assign(
            f"async x => {{ {FORGED} return (await [{','.join(f'() => {{ {t} }}' for t in imports)}][x]()) ?? 0 }}"
        )
        assert sandbox.compute(list(range(len(imports)))) == [0] * len(imports)


def test_a_start_takes_the_short_way(
    pipes: EvaluatorPipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the deno of this installation no module of node's is loaded: it would double the time of a start."""
    source = ENTRY.read_text()
    assert "import(`node:${n}`)" in source
    entry = tmp_path / "evaluator.js"
    entry.write_text(source.replace("import(`node:${n}`)", "Promise.reject(new Error('the long way'))"))
    monkeypatch.setattr(program_module, "ENTRY", entry)
    with running_evaluator(pipes, small_program()) as sandbox:
        sandbox.assign("x => x")

        assert sandbox.compute([1]) == [1]


@pytest.mark.parametrize(
    "stray",
    [
        "queueMicrotask(() => { throw new Error('stray') })",
        "Promise.reject(new Error('stray'))",
        "Promise.reject(null)",
        "reportError(new Error('stray'))",
        "addEventListener('x', () => { throw new Error('stray') }); dispatchEvent(new Event('x'))",
        "new FinalizationRegistry(() => { throw 1 }).register({})",
        "delete globalThis.Promise; delete globalThis.Object; delete globalThis.setTimeout",
        "globalThis.onerror = () => { throw 1 }; queueMicrotask(() => { throw 2 })",
    ],
)
def test_stray_errors_do_not_end_the_sandbox(sandbox: Driver, stray: str) -> None:
    """What nobody awaited is nobody's result."""
    sandbox.assign(f"async x => {{ if (x === 1) {{ {stray} }} return x }}")

    assert sandbox.compute([1, 2, 3]) == [1, 2, 3]
    assert sandbox.compute([4], run=2) == [4]


POLLUTION = """
for (const proto of [Object, Array, String, Function, Promise, Map, Number].map(c => c.prototype)) {
  for (const name of Object.getOwnPropertyNames(proto)) {
    if (name === 'constructor' || name === '__proto__') continue;
    try { proto[name] = () => { throw new Error('polluted') } } catch {}
  }
}
for (const o of [JSON, Math, Reflect, performance, console])
for (const name of Object.getOwnPropertyNames(o)) {
  try { o[name] = () => { throw new Error('polluted') } } catch {}
}
"""


def test_polluted_prototypes_harm_at_most_their_own_sandbox(
    pipes: EvaluatorPipes, program: EvaluatorProgram
) -> None:
    """The protocol keeps working, or this sandbox ends; its neighbour computes on."""
    with running_evaluator(pipes, program) as hostile, running_evaluator(pipes, program) as neighbour:
        hostile.assign(f"x => {{ if (x === 1) {{ {POLLUTION} }} return x }}")
        hostile.start_run(1, 1, 3, [1, 2, 3])
        neighbour.assign("x => [x].map(y => y + 1)")

        assert neighbour.compute([1, 2]) == [[2], [3]]
        hostile.finish(1)
        assert hostile.outcomes() == [1, 2, 3]


def test_eight_at_once_live_through_garbage_and_wasm(
    pipes: EvaluatorPipes, program: EvaluatorProgram
) -> None:
    """A system call that the filter lacks shows only under load: needed after any change to the filter."""
    work = f"""async x => {{
        const until = Date.now() + 300;
        let kept = [], n = 0;
        while (Date.now() < until) {{
          const {{ instance }} = await WebAssembly.instantiate(new Uint8Array([{WASM_ADD}]));
          for (let i = 0; i < 3000; i++) kept.push({{ i, s: 'text' + i, a: new Uint8Array(64) }});
          if (kept.length > 30000) kept = [];
          n += instance.exports.add(1, 1);
          if (n % 10 === 0) await new Promise(r => setTimeout(r, 1));
        }}
        return n > 0;
    }}"""
    finished = []

    def soak() -> None:
        with running_evaluator(pipes, program) as sandbox:
            sandbox.assign(work)
            finished.append(sandbox.compute([0] * 8))

    threads = [threading.Thread(target=soak) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert finished == [[True] * 8] * 8
