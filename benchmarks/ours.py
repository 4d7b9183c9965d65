"""One benchmark of dcp-worker itself; prints its durations as one line of JSON."""

import argparse
import json
import os
import queue
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

EFFICIENCY_SLICES = 1000
EFFICIENCY_MS = 10
SPIN = (
    "(x, ms) => { const end = performance.now() + ms; while (performance.now() < end); progress(); return x }"
)
FIRST_RESULT = """
import time
from dcp_worker.client import compute_for
for number, value in compute_for(range(1, 101), "x => x * x", progress=False).results_as_they_come():
    print("first result", time.time(), flush=True)
    break
"""


def command(name: str) -> str:
    """One of our commands, as installed beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def stack() -> Iterator[None]:
    """``dcp up`` in a folder of its own; our environment points at it."""
    folder = Path(tempfile.mkdtemp(prefix="dcp-benchmark-"))
    os.environ["DCP_RESOURCE_DIR"] = str(folder / "resources")
    log = folder / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [command("dcp"), "up", "--listen", "127.0.0.1:0", "--data", str(folder / "data")],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"listening on (http\S+)", log.read_text(errors="replace"))):
            if up.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"dcp up does not stand:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        os.environ["DCP_SCHEDULER_LOCATION"] = found.group(1)
        yield
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(60)
        except subprocess.TimeoutExpired:
            up.kill()
        shutil.rmtree(folder, ignore_errors=True)


def timed(call: Callable[[], object], repeat: int) -> dict[str, Any]:
    """Median, best and worst of a few calls, in seconds."""
    samples = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        samples.append(time.perf_counter() - started)
    return spread(samples)


def spread(samples: list[float]) -> dict[str, Any]:
    """Median, best and worst, and all of them."""
    return {
        "median": statistics.median(samples),
        "best": min(samples),
        "worst": max(samples),
        "samples": samples,
    }


def trivial(slices: int, repeat: int) -> dict[str, Any]:
    """Deploy to all results in order, with the stack and a first small job behind us, as with the others."""
    from dcp_worker.client import compute_for

    def call() -> None:
        results = compute_for(list(range(slices)), "x => x * x", progress=False).exec()
        assert results == [x * x for x in range(slices)]

    with stack():
        compute_for(range(100), "x => x * x", progress=False).exec()
        cpu = time.process_time()
        outcome = timed(call, repeat)
        client_cpu = (time.process_time() - cpu) / repeat
    return {**outcome, "slices": slices, "client_cpu": client_cpu}


def efficiency(_slices: int, repeat: int) -> dict[str, Any]:
    """Compute time over the time of all cores."""
    from dcp_worker.client import compute_for

    cores = os.cpu_count() or 1

    def call() -> None:
        before = our_cpu()
        count = len(compute_for(range(EFFICIENCY_SLICES), SPIN, [EFFICIENCY_MS], progress=False).exec())
        assert count == EFFICIENCY_SLICES
        spent.append(our_cpu() - before)

    spent: list[float] = []
    with stack():
        compute_for(range(100), "x => x * x", progress=False).exec()
        outcome = timed(call, repeat)
    share = EFFICIENCY_SLICES * EFFICIENCY_MS / 1000 / (cores * outcome["median"])
    cpu_ms = statistics.median(spent) * 1000 / EFFICIENCY_SLICES
    return {**outcome, "efficiency": share, "cores": cores, "cpu_ms_a_slice": cpu_ms}


def our_cpu() -> float:
    """CPU seconds so far of this process and the stack, without the evaluators: what is not the slices."""
    import psutil

    spent = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.Error):
            if "deno" not in process.name():
                times = process.cpu_times()
                spent += times.user + times.system
    return spent


def single(_slices: int, repeat: int) -> dict[str, Any]:
    """A job of one trivial slice in a program that has had others: deploy to its result."""
    from dcp_worker.client import compute_for

    def call() -> None:
        assert compute_for(range(7, 8), "x => x * x", progress=False).exec() == [49]

    with stack():
        compute_for(range(100), "x => x * x", progress=False).exec()
        return timed(call, max(20, repeat))


def coldstart(_slices: int, repeat: int) -> dict[str, Any]:
    """One evaluator under all layers, from the decision to start it to its first result; beside it, in turn,
    a ``deno run`` of an empty script: the part that is deno's own start."""
    from dcp_worker.evaluator_host.evaluator import EvaluatorProcess, EvaluatorProgram
    from dcp_worker.evaluator_host.pipes import EvaluatorEnd, EvaluatorPipes
    from dcp_worker.evaluator_host.program import ENVIRONMENT

    class Sink:
        """Waits for a line."""

        def __init__(self) -> None:
            self.queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def lines(self, lines: list[bytes]) -> None:
            for line in lines:
                self.queue.put(line)

        def ended(self, end: EvaluatorEnd) -> None:
            self.queue.put(f"ENDED {end}".encode())

        def wait_for(self, what: bytes) -> None:
            while what not in (line := self.queue.get(timeout=30)):
                if line.startswith((b"ENDED", b"DIE")) or b"assignFailed" in line:
                    raise SystemExit(line.decode())

        def wait_for_end(self) -> None:
            while not self.queue.get(timeout=30).startswith(b"ENDED"):
                pass

    assign = {
        "type": "assign",
        "job": {
            "id": "benchmark",
            "public": {"name": "", "description": "", "link": ""},
            "worktime": "map-basic",
            "useStrict": False,
            "kvin": "v9",
            "range": None,
            "workFunction": "x => x * x",
        },
        "arguments": [],
        "progressThrottle": 0.1,
    }
    run = {"type": "run", "run": 1, "first": 1, "count": 1, "values": True}
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in (assign, run, [7]))
    pipes = EvaluatorPipes()
    program = EvaluatorProgram()
    samples, bare = [], []
    with tempfile.NamedTemporaryFile(suffix=".js") as empty:
        for _ in range(max(15, repeat)):
            sink = Sink()
            started = time.perf_counter()
            evaluator = EvaluatorProcess(pipes, program, sink)
            evaluator.write(lines)
            sink.wait_for(b'"results"')
            samples.append(time.perf_counter() - started)
            evaluator.kill()
            sink.wait_for_end()
            started = time.perf_counter()
            subprocess.run(
                [program.deno, "run", "--no-config", "--no-code-cache", empty.name],
                env=ENVIRONMENT,
                check=True,
            )
            bare.append(time.perf_counter() - started)
    pipes.stop()
    return {**spread(samples), "bare_deno": spread(bare)}


def localexec(_slices: int, repeat: int) -> dict[str, Any]:
    """From the start of the command to the first result that the program sees."""
    samples = []
    with tempfile.TemporaryDirectory(prefix="dcp-benchmark-") as folder:
        program = Path(folder) / "program.py"
        program.write_text(FIRST_RESULT)
        for _ in range(repeat):
            started = time.time()
            done = subprocess.run(
                [command("dcp"), "localexec", str(program)],
                capture_output=True,
                text=True,
                timeout=120,
                cwd=folder,
                check=False,
            )
            found = re.search(r"first result (\S+)", done.stdout)
            if not found:
                raise SystemExit(done.stdout + done.stderr)
            samples.append(float(found.group(1)) - started)
    return spread(samples)


def main() -> None:
    """Parse and measure."""
    benchmarks = {
        "trivial": trivial,
        "efficiency": efficiency,
        "single": single,
        "coldstart": coldstart,
        "localexec": localexec,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("benchmark", choices=benchmarks)
    parser.add_argument("--slices", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(json.dumps(benchmarks[options.benchmark](options.slices, options.repeat)))


if __name__ == "__main__":
    main()
