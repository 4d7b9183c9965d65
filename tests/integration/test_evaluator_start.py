"""dcp-evaluator-start as people and inetd-like programs run it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dcp_worker.protocol.evaluator_lines import DIE, encode_assign, encode_run
from dcp_worker.tests.evaluators import skip_unless_confined

COMMAND = [sys.executable, "-m", "dcp_worker.cli.evaluator_start"]
JOB = encode_assign(job="j", work_function="x => x ? x * x : (() => { for (;;); })()")


@contextmanager
def listening(*options: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    skip_unless_confined()
    process = subprocess.Popen(
        [*COMMAND, "-p", "0", "--protocol", "runs", *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on dcpsaw://127.0.0.1:")
        yield process, int(line.rstrip("/\n").rpartition(":")[2])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


def read_until(stream: socket.SocketIO, part: bytes) -> bytes:
    text = b""
    while part not in text:
        line = stream.readline()
        assert line, f"hung up after {text!r}"
        text += line
    return text


def test_one_evaluator_on_stdin_and_stdout() -> None:
    """The very process becomes the evaluator: a job's lines in, its results out, then its exit status."""
    skip_unless_confined()
    process = subprocess.Popen(
        [*COMMAND, "--protocol", "runs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(JOB + encode_run(1, 1, 3, b"[1,2,3]"))
    process.stdin.flush()
    text = read_until(process.stdout, b"finished")
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.communicate(DIE, timeout=20)

    assert b"[1,4,9]" in text
    assert b"deno" in command.split(b"\0")[0]
    assert process.returncode == 0


def test_a_file_as_output_is_refused(tmp_path: Path) -> None:
    """An evaluator may not write files, so its first line would kill it without a word."""
    skip_unless_confined()
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            COMMAND, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, check=False
        )

    assert done.returncode == 1
    assert b"pipe" in done.stderr


def test_each_connection_is_an_evaluator_of_its_own() -> None:
    """Two at once, with jobs of their own; a third is turned away at the limit."""
    with listening("--max-evaluators", "2") as (_, port):
        address = ("127.0.0.1", port)
        with socket.create_connection(address) as one, socket.create_connection(address) as two:
            for number, connection in ((3, one), (4, two)):
                stream = connection.makefile("rb", buffering=0)
                connection.sendall(JOB + encode_run(1, 1, 1, b"[%d]" % number))
                assert b"[%d]" % number**2 in read_until(stream, b"finished")
            with socket.create_connection(address) as three:
                assert three.recv(100) == b""


def test_hanging_up_kills_an_endless_loop() -> None:
    """The loop never reads the end of its input, so somebody else must notice."""
    with listening() as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            stream = connection.makefile("rb", buffering=0)
            connection.sendall(JOB + encode_run(1, 1, 1, b"[0]"))
            read_until(stream, b"assigned")
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            pidfd = os.pidfd_open(int(child))
            stream.close()
        ready, _, _ = select.select([pidfd], [], [], 20)
        os.close(pidfd)

        assert ready


def test_check_names_every_layer() -> None:
    done = subprocess.run([*COMMAND, "--check", "--json"], capture_output=True, text=True, check=False)
    layers = json.loads(done.stdout)

    assert [layer["layer"] for layer in layers] == ["limits", "namespaces", "landlock", "seccomp"]
    assert done.returncode == (0 if all(layer["available"] for layer in layers) else 1)


@pytest.mark.parametrize(
    "options", [["--stdio", "-p", "0"], ["/nonexistent.js"], ["--allow-weaker-sandbox", "all"]]
)
def test_wrong_options_are_an_error_of_usage(options: list[str]) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "Usage" in done.stderr
