"""Our evaluator, with the npm package's sandbox files and with ours, driven by the package's own worker."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dcp_worker.evaluator_host.confinement import Limits
from dcp_worker.evaluator_host.listener import EvaluatorListener
from dcp_worker.evaluator_host.program import MESSAGE_SANDBOX_FILES, EvaluatorProgram
from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.npm import node_binary, npm_packages

DRIVER = Path(__file__).with_name("standalone_worker.js")


def sandbox_files(packages: Path) -> list[Path]:
    """The native type's files, in the load order that the package itself names."""
    client = packages / "node_modules" / "dcp-client"
    names = json.loads((client / "generated" / "sandbox-definitions.json").read_text())["native"]
    files = []
    for name in names:
        choices = (packages / "node_modules" / name, client / "libexec" / "sandbox" / f"{name}.js")
        files.append(next(path for path in choices if path.is_file()))
    return files


@contextmanager
def listening(files: list[Path]) -> Iterator[int]:
    listener = EvaluatorListener(EvaluatorProgram(files, limits=Limits()), "127.0.0.1", 0, most=4)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    try:
        yield listener.port
    finally:
        listener.stop()
        thread.join()


@pytest.mark.parametrize("sandbox", ["theirs", "ours"])
@pytest.mark.parametrize("client", ["5.6.1", "4.4.29"])
def test_the_npm_worker_computes_on_our_evaluator(client: str, sandbox: str) -> None:
    """describe, assign, results, an error, console, progress, WebAssembly, die: both generations."""
    skip_unless_confined()
    packages = npm_packages({"dcp-client": client})
    files = sandbox_files(packages) if sandbox == "theirs" else list(MESSAGE_SANDBOX_FILES)
    with listening(files) as port:
        done = subprocess.run(
            [node_binary(), DRIVER, str(port)],
            cwd=packages,
            env={
                **os.environ,
                "NODE_PATH": str(packages / "node_modules"),
                "DCP_CLIENT_ALLOW_INSECURE_CONFIGURATION": "1",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    assert "map-basic" in {worktime["name"] for worktime in said[0]["worktimes"]}
    assert [line["sum"] for line in said if "sum" in line] == [111, 113]
    assert [line["bytes"] for line in said if "bytes" in line] == [[1, 2, 1], [1, 2, 3]]
    assert [line["error"] for line in said if "error" in line] == ["two"]
    assert [line["payload"]["message"] for line in said if line.get("request") == "console"] == [
        ["hello", 1],
        ["hello", 2],
        ["hello", 3],
    ]
    assert {line["progress"] for line in said if line.get("request") == "progress"} == {50}
    assert said[-1] == {"ended": True}
