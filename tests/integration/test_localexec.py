"""`dcp localexec`: a user's program with the whole real stack around it, for exactly as long as it runs."""

import signal
import struct
import zlib
from pathlib import Path

import psutil
import pytest

from dcp_worker.tests.programs import Program, command, wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def localexec(folder: Path, *arguments: str | Path, **environment: str) -> Program:
    """Start it in a folder of its own, with a temporary folder of its own to look for leftovers in."""
    (folder / "tmp").mkdir(exist_ok=True)
    env = {"TMPDIR": str(folder / "tmp"), "DCP_RESOURCE_DIR": str(folder / "home"), **environment}
    return Program([command("dcp"), "localexec", *map(str, arguments)], folder / "log", env=env, cwd=folder)


def leftovers(folder: Path) -> list[str]:
    """What still runs or lies around of a stack that has been in this folder."""
    running = [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in argument for argument in process.info["cmdline"] or ())
    ]
    return running + [path.name for path in (folder / "tmp").glob("dcp-localexec-*")]


def test_a_program_gets_its_results_and_everything_ends(tmp_path: Path) -> None:
    """The first line of the README: results are printed, then a summary with what was earned."""
    run = localexec(tmp_path, EXAMPLES / "squares.py")

    assert run.wait() == 0, run.output
    result, summary = run.output.splitlines()
    assert result == "[1, 4, 9]"
    assert summary.startswith("3 slices of 1 job in ")
    assert "account 0x" in summary
    assert leftovers(tmp_path) == []


def test_the_picture_is_a_picture(tmp_path: Path) -> None:
    """The main example makes a PNG of the right size in which the middle of the set is black and the sea
    is not."""
    options = ["--width", "300", "--height", "200", "--limit", "200", "--out", "set.png"]
    run = localexec(tmp_path, EXAMPLES / "mandelbrot.py", *options)

    assert run.wait() == 0, run.output
    assert "25 slices of 1 job" in run.output
    assert "has earned 0.025 DCC" in run.output
    width, height, pixels = read_png((tmp_path / "set.png").read_bytes())
    assert (width, height) == (300, 200)

    def pixel(x: int, y: int) -> bytes:
        return pixels[(y * width + x) * 3 :][:3]

    assert pixel(200, 100) == b"\0\0\0"
    assert pixel(10, 10) != b"\0\0\0"
    assert pixel(10, 10) == pixel(10, 190)
    assert leftovers(tmp_path) == []


def read_png(content: bytes) -> tuple[int, int, bytes]:
    """Size and pixels of a picture with three bytes a pixel and no filters; checksums are checked."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0]
        chunks[kind] = chunks.get(kind, b"") + data
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2)
    lines = zlib.decompress(chunks[b"IDAT"])
    stride = width * 3 + 1
    assert len(lines) == stride * height
    assert {lines[y * stride] for y in range(height)} == {0}
    return width, height, b"".join(lines[y * stride + 1 : (y + 1) * stride] for y in range(height))


def test_arguments_and_exit_code_are_the_programs(tmp_path: Path) -> None:
    """localexec stands between shell and program without being noticed."""
    program = tmp_path / "program.py"
    program.write_text("import sys; print('arguments', sys.argv[1:], __name__); sys.exit(7)")
    run = localexec(tmp_path, program, "--flag", "value", "--version")

    assert run.wait() == 7
    assert "arguments ['--flag', 'value', '--version'] __main__" in run.output
    assert leftovers(tmp_path) == []


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is started for it."""
    run = localexec(tmp_path, "nowhere.py")

    assert run.wait() not in (0, None)
    assert "nowhere.py" in run.output
    assert "Traceback" not in run.output


def test_ctrl_c_cancels_the_job_and_ends_everything(tmp_path: Path) -> None:
    """The terminal sends SIGINT to the program too; the job is cancelled, and nothing stays behind."""
    program = tmp_path / "program.py"
    program.write_text(
        "from dcp_worker.client import compute_for\n"
        "job = compute_for(range(1000), 'x => "
        "{ const t = Date.now(); while (Date.now() - t < 200) progress(); }')\n"
        "for number, value in job.results_as_they_come():\n"
        "    print('result of slice', number, flush=True)\n"
    )
    run = localexec(tmp_path, program)
    run.wait_for("result of slice")
    for process in [psutil.Process(run.process.pid), *programs_of(run, program)]:
        process.send_signal(signal.SIGINT)

    assert run.wait() == 130, run.output
    assert "Cancelling job" in run.output
    assert leftovers(tmp_path) == []


def programs_of(run: Program, program: Path) -> list[psutil.Process]:
    return [child for child in run.descendants() if str(program) in child.cmdline()]


@pytest.mark.parametrize("part", ["worker", "scheduler"])
def test_a_part_that_dies_ends_the_run_with_a_clear_error(tmp_path: Path, part: str) -> None:
    """The program would wait for ever; instead the logs are named and kept."""
    program = tmp_path / "program.py"
    program.write_text("import time; print('waiting', flush=True); time.sleep(600)")
    run = localexec(tmp_path, program)
    run.wait_for("waiting")
    [victim] = [child for child in run.descendants() if f"dcp_worker.cli.{part}" in child.cmdline()]
    victim.kill()

    assert run.wait() == 1
    assert f"The {part} ended" in run.output
    assert "logs are kept in" in run.output
    wait_until(
        lambda: [line for line in leftovers(tmp_path) if "dcp_worker.cli" in line] == [], "the parts to end"
    )


def test_kept_data_is_where_it_was_asked_for(tmp_path: Path) -> None:
    """With --data database, keystores and logs stay, and the next run has the same accounts."""
    accounts = set()
    for _ in range(2):
        run = localexec(tmp_path, "--data", tmp_path / "kept", EXAMPLES / "squares.py")
        assert run.wait() == 0, run.output
        accounts.add(run.output.rpartition("account ")[2].split()[0])
        assert "6 slices of 2 jobs" in run.output or "3 slices of 1 job" in run.output
        (tmp_path / "log").unlink()

    assert len(accounts) == 1
    assert (tmp_path / "kept" / "logs" / "scheduler.log").stat().st_size > 0
    assert (tmp_path / "kept" / "worker" / "default.keystore").exists()


def test_examples_run(tmp_path: Path) -> None:
    """The small ones, each for its point: slices that throw, and WebAssembly."""
    program = tmp_path / "all.py"
    program.write_text(
        "import runpy\n"
        f"for name in ('errors', 'webassembly'):\n    runpy.run_path({str(EXAMPLES)!r} + f'/{{name}}.py')\n"
    )
    run = localexec(tmp_path, program)

    assert run.wait() == 0, run.output
    assert "slice 3 failed: SyntaxError" in run.output
    assert "slice 2: 25" in run.output
    assert "says: parsing 2.5" in run.output
    assert "primes below 100000: 9592" in run.output
