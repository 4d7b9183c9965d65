"""Unmodified npm dcp-worker 3.3.19 computes for our scheduler, in our evaluator, and is paid."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dcp_worker.client import compute_for
from dcp_worker.protocol.dcp.kvin import JsError
from dcp_worker.protocol.dcp.signature import PrivateKey
from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.lab import books
from dcp_worker.tests.npm import node_binary, npm_packages
from dcp_worker.tests.programs import Program, command

SLICE_PRICE = 10**11
"""Of the market, in 10^-18 DCC."""


@contextmanager
def npm_worker(folder: Path, url: str, earner: str) -> Iterator[Program]:
    """The package's own program, with our evaluator on a port of its own."""
    packages = npm_packages({"dcp-worker": "3.3.19"})
    with ExitStack() as stack:
        evaluators = Program(
            [command("dcp-evaluator-start"), "-p", "0"], folder / "evaluator.log", cwd=folder
        )
        stack.callback(evaluators.stop)
        port = evaluators.wait_for(r"listening on dcpsaw://[^:]+:(\d+)").group(1)
        program = packages / "node_modules" / "dcp-worker" / "bin" / "dcp-worker"
        worker = Program(
            [
                *(str(node_binary()), str(program)),
                *("--hostname", "127.0.0.1", "--port", port, "--output", "console", "--verbose"),
                *("--identityKey", "0x" + os.urandom(32).hex(), "--paymentAddress", earner),
                *("--pidFile", str(folder / "npm-worker.pid")),
            ],
            folder / "npm-worker.log",
            env={
                "DCP_SCHEDULER_LOCATION": url,
                "DCP_RESOURCE_DIR": str(folder / "npm-resources"),
                "DCP_CLIENT_ALLOW_INSECURE_CONFIGURATION": "1",
            },
            cwd=folder,
        )
        stack.callback(worker.stop)
        worker.wait_for(r"Ready\.")
        yield worker


def test_the_npm_worker_computes_and_is_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs, arguments, values beyond JSON, a range, console output, errors; each slice is computed and paid once."""
    skip_unless_confined()
    earner = str(PrivateKey.generate().address)
    scheduler = Program(
        [command("dcp-scheduler"), "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")],
        tmp_path / "scheduler.log",
        cwd=tmp_path,
    )
    try:
        url = scheduler.wait_for(r"listening on (http://\S+)").group(1)
        monkeypatch.setenv("DCP_SCHEDULER_LOCATION", url)
        monkeypatch.setenv("DCP_RESOURCE_DIR", str(tmp_path / "resources"))
        with npm_worker(tmp_path, url, earner) as worker:
            squares = compute_for([1, 2, 3], "x => { progress(); return x * x }")
            assert squares.exec() == [1, 4, 9]

            said: list[object] = []
            values = [b"\x00\xff", {"a": [None, {"b": "ü\U0001f600 100%"}]}, -0.5, "", True, [], float("inf")]
            same = compute_for(
                values, "(x, extra) => { progress(); console.log(extra.k); return [x, extra] }", [{"k": 7}]
            )
            same.on("console", lambda event: said.append(event.message))
            assert same.exec() == [[value, {"k": 7}] for value in values]
            assert len(said) == len(values)

            counted = compute_for(
                range(10, 130, 10),
                "x => { progress(); if (x === 50) throw new RangeError('fifty'); return x + 1 }",
            )
            results = counted.exec()
            thrown = results.pop(4)
            assert isinstance(thrown, JsError)  # this worker sends it as a result
            assert (thrown.name, thrown.message) == ("RangeError", "fifty")
            assert results == [x + 1 for x in range(10, 130, 10) if x != 50]

            assert "No progress" not in worker.output
            assert worker.interrupt() == 0, worker.output
        assert scheduler.interrupt() in {0, 130}
    finally:
        scheduler.stop()
    assert books(tmp_path / "data")[earner] == (3 + len(values) + 12) * SLICE_PRICE
