"""KVIN in Python and in kvin.js against unmodified npm kvin 1.2.17 (v8) and 9.0.0 (v9), both directions."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from dcp_worker.evaluator_host.program import SANDBOX_FILES
from dcp_worker.protocol.dcp.json_text import dumps, loads
from dcp_worker.protocol.dcp.kvin import node_of, value_of
from dcp_worker.tests.kvin_describe import describe, unordered
from dcp_worker.tests.kvin_values import values
from dcp_worker.tests.npm import node_binary, npm_packages

HERE = Path(__file__).parent
KVIN_JS = [path for path in SANDBOX_FILES if path.stem.startswith("kvin")]
PINS = {"kvin8": "npm:kvin@1.2.17", "kvin9": "npm:kvin@9.0.0"}
NPM = [("npm8", "v8"), ("npm9", "v9")]
READERS = [*NPM, ("ours", "v8"), ("ours", "v9")]


class Oracle:
    """One node process that answers questions, a line each."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, codec: str, action: str, version: str, payload: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(dumps([codec, action, version, payload]) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        assert "ok" in said, f"{codec} {action} {version} of {dumps(payload)[:1000]}: {said['error']}"
        return said["ok"]


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """The node process, with the packages installed."""
    environment = {**os.environ, "NODE_PATH": str(npm_packages(PINS) / "node_modules")}
    process = subprocess.Popen(
        [node_binary(), HERE / "kvin_oracle.js", *KVIN_JS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        yield Oracle(process)
        process.kill()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_everybody_reads_what_python_writes(oracle: Oracle, value: Any) -> None:
    """The npm packages and kvin.js make of a node from Python exactly the value that it was made of."""
    for codec, version in READERS:
        text = dumps(node_of(value, version))
        node = loads(text)
        if codec != "ours" and '"set":' in text and '"seen":' in text:
            continue  # npm reads a reference to a Set as an array

        assert unordered(oracle.ask(codec, "read", version, node)) == unordered(describe(value))
        assert unordered(describe(value_of(node))) == unordered(describe(value))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_python_reads_what_the_sandbox_writes_again(oracle: Oracle, value: Any) -> None:
    """A value survives the way: written in Python, read and written by kvin.js in V8, read in Python."""
    for version in ("v8", "v9"):
        node = loads(dumps(node_of(value, version)))
        again = oracle.ask("ours", "rewrite", version, node)

        assert unordered(describe(value_of(again))) == unordered(describe(value))


WRITTEN = (HERE / "kvin_expressions.txt").read_text().splitlines()  # JavaScript, one expression a line


@pytest.mark.parametrize(("codec", "version"), READERS)
def test_python_reads_what_javascript_writes(oracle: Oracle, codec: str, version: str) -> None:
    """Python makes of the nodes of npm and of kvin.js what the JavaScript value was."""
    for expression in WRITTEN:
        node, described = oracle.ask(codec, "write", version, expression)

        assert unordered(describe(value_of(node))) == unordered(described), expression


@pytest.mark.parametrize(("npm", "version"), NPM)
def test_npm_and_the_sandbox_read_each_other(oracle: Oracle, npm: str, version: str) -> None:
    """kvin.js reads what npm writes, and npm reads what kvin.js writes."""
    for expression in WRITTEN:
        from_npm, described = oracle.ask(npm, "write", version, expression)
        from_ours, _ = oracle.ask("ours", "write", version, expression)

        assert oracle.ask("ours", "read", version, from_npm) == described, expression
        assert oracle.ask(npm, "read", version, from_ours) == described, expression


def test_what_npm_loses_the_sandbox_keeps(oracle: Oracle) -> None:
    """Negative zero, classes, names and own objects of errors, ArrayBuffers, false in a box."""
    for expression in (
        "[1, -0]",
        "[undefined, null, , 3]",
        "({a: -0})",
        "Object.assign(new TypeError('m'), {stack: 's', extra: {u: undefined}})",
        "Object.assign(new Error('m'), {stack: 's', name: 'MyError'})",
        "new Uint8Array([1, 2]).buffer",
        "new Boolean(false)",
        "new Date(NaN)",
        "Object.assign(Object.create(null), {a: 1})",
        "(() => { const s = {u: undefined}, m = new Map([[s, s]]); return [m, m, s]; })()",
        "(() => { const s = new Set(); s.add(s); return [s, s]; })()",
    ):
        node, described = oracle.ask("ours", "write", "v9", expression)

        assert describe(value_of(node)) == described, expression
        assert oracle.ask("ours", "read", "v9", node) == described, expression


def test_large_typed_arrays(oracle: Oracle) -> None:
    """A mebibyte of bytes and of doubles crosses in both directions."""
    for expression in (
        "Uint8Array.from({length: 1 << 20}, (_, i) => (i * 31) % 256)",
        "Float64Array.from({length: 1 << 17}, (_, i) => i / 3)",
    ):
        for codec, version in READERS:
            node, described = oracle.ask(codec, "write", version, expression)
            value = value_of(node)

            assert describe(value) == described
            assert oracle.ask(codec, "read", version, node_of(value, version)) == described
