"""Cutting a hostile stream into lines, and saying how an evaluator ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.evaluator_host.evaluator import classify
from dcp_worker.evaluator_host.pipes import FloodGate, LineAssembler


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))), st.data())
def test_lines_are_the_same_wherever_the_chunks_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assembler = LineAssembler(100)

    assert [line for chunk in chunks for line in assembler.feed(chunk)] == lines


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"ok\n" + b"x" * 11 + b"\n"]])
def test_a_line_over_the_limit_is_refused(chunks: list[bytes]) -> None:
    """Also when its end never comes."""
    assembler = LineAssembler(10)

    for chunk in chunks[:-1]:
        assembler.feed(chunk)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        assembler.feed(chunks[-1])


def test_a_flood_is_what_comes_within_a_second() -> None:
    gate = FloodGate(100)
    for second in range(5):
        gate.pass_(100, float(second))

    with pytest.raises(ValueError, match="in a second"):
        gate.pass_(1, 4.5)


@pytest.mark.parametrize(
    ("status", "stderr", "killed_for", "cause"),
    [
        (-9, b"", "closed", "closed"),
        (-9, b"", "flood", "flood"),
        (-9, b"", "", "killed"),
        (-5, b"Fatal process out of memory", "", "memory"),
        (-6, b"", "", "memory"),
        (-6, b"thread panicked at", "", "crash"),
        (-11, b"", "", "crash"),
        (-5, b"Fatal process out of memory", "closed", "memory"),
        (0, b"", "", "exit"),
        (0, b"out of memory", "", "exit"),
        (7, b"", "", "exit"),
        (1, b"unable to create worker threads", "", "memory"),
        (1, b"error: Cannot allocate memory (os error 12)", "", "memory"),
        (101, b"failed to spawn thread: Os { code: 11, kind: WouldBlock }", "", "memory"),
        (1, b"error: Module not found (os error 2)", "", "exit"),
    ],
)
def test_the_end_is_told_by_its_cause(status: int, stderr: bytes, killed_for: str, cause: str) -> None:
    end = classify(status, stderr, killed_for, "why")

    assert (end.cause, end.returncode) == (cause, status)
    assert end.detail


def test_first_and_last_words_are_kept() -> None:
    """The first ones tell why, the last ones where."""
    end = classify(-11, b"Check failed: x.\n" + b"frame\n" * 1000 + b"the end")

    assert end.words.startswith("Check failed: x.")
    assert end.words.endswith("the end")
    assert len(end.words) < 600


def test_last_words_stay_on_this_box() -> None:
    """They tell paths and addresses; the sentence for the deployer has nothing of them."""
    words = b"Fatal JavaScript out of memory: /home/someone/deno(+0x28ad64e) [0x558e437c064e]"
    end = classify(-5, words)

    assert "/home/someone" in end.words
    assert "/home/someone" not in end.detail
    assert "memory" in end.detail
