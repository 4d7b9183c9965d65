"""Input sets and work functions of the client, without a scheduler."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.client.errors import NotYetError
from dcp_worker.client.inputs import (
    InputError,
    NoInputs,
    PileRules,
    RangeObject,
    ValueInputs,
    inputs_of,
    piles,
)
from dcp_worker.client.work import JsFile, WorkFunctionError, work_source


def encode(values: list[object]) -> tuple[str, int]:
    text = ",".join(str(value) for value in values)
    return text, len(text)


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-20, 20).filter(bool))
def test_a_python_range_becomes_the_same_numbers(start: int, stop: int, step: int) -> None:
    """The range object counts through exactly what Python's range does, both ways round."""
    numbers = range(start, stop, step)

    inputs = inputs_of(numbers)

    if not numbers:
        assert inputs == NoInputs()
    else:
        assert isinstance(inputs, RangeObject)
        assert inputs.length == len(numbers)
        assert [inputs.start + index * inputs.step for index in range(inputs.length)] == list(numbers)
        assert inputs.end == numbers[-1]


def test_range_objects_count_as_the_wire_says() -> None:
    """The end is included, fractions work, groups share a slice."""
    assert RangeObject(1, 10, 2).length == 5
    assert RangeObject(0, 1, 0.25).length == 5
    assert RangeObject(5, 5).length == 1
    assert RangeObject(1, 10, group=4).length == 3
    assert RangeObject(1, 10, 2).to_wire() == {"start": 1, "end": 10, "step": 2}
    assert RangeObject(1, 10, group=4).to_wire() == {"start": 1, "end": 10, "step": 1, "group": 4}


@pytest.mark.parametrize(
    ("start", "end", "step", "group"),
    [
        (0, 10, 0, 1),
        (0, 10, -1, 1),
        (0, float("inf"), 1, 1),
        (0, float("nan"), 1, 1),
        (0, 2**60, 1, 1),
        (0, 10, 1, 0),
        (0, 1e18, 0.001, 1),
        ("0", 10, 1, 1),
    ],
)
def test_a_senseless_range_says_why(start: float, end: float, step: float, group: int) -> None:
    """No range is deployed that never ends or cannot be counted."""
    with pytest.raises(InputError):
        RangeObject(start, end, step, group)


def test_lists_have_a_length_and_generators_are_read_only_as_far_as_needed() -> None:
    """A generator without an end is an input set too: making the job reads one value of it."""
    read: list[int] = []

    def endless():
        number = 0
        while True:
            read.append(number)
            yield number
            number += 1

    inputs = inputs_of(endless())

    assert isinstance(inputs, ValueInputs)
    assert inputs.length is None
    assert read == [0]
    first = next(iter(piles(inputs.values, encode, PileRules(initial=3))))
    assert first.document == "0,1,2"
    assert read == [0, 1, 2]
    assert inputs_of([5, 6]) == ValueInputs([5, 6], 2)
    assert inputs_of([]) == NoInputs()
    assert inputs_of(iter(())) == NoInputs()


@pytest.mark.parametrize("slip", ["text", b"bytes", {"a": 1}, 5, None])
def test_what_is_no_input_set_says_what_to_give(slip: object) -> None:
    """A string or mapping is one value, not many; the error says how to mean its parts."""
    with pytest.raises(InputError, match="list"):
        inputs_of(slip)


def test_piles_grow_to_the_target_and_lose_nothing() -> None:
    """Piles double while they are small, stay near the target size and hold every value once, in order."""
    rules = PileRules(initial=2, factor=2, target=400, ceiling=2000)

    made = list(piles(range(1000), encode, rules))

    assert [pile.count for pile in made[:4]] == [2, 4, 8, 16]
    assert max(pile.size for pile in made) < 2 * rules.target
    assert sum(pile.count for pile in made) == 1000
    assert ",".join(pile.document for pile in made) == encode(list(range(1000)))[0]


def test_a_pile_above_the_ceiling_is_cut_in_order() -> None:
    """When values suddenly get larger, the pile is cut until each part fits."""
    rules = PileRules(initial=8, factor=2, target=1000, ceiling=1000)
    values = ["x" * 400] * 8

    made = list(piles(values, encode, rules))

    assert all(pile.size <= 1000 for pile in made)
    assert sum(pile.count for pile in made) == 8


def test_one_value_above_the_ceiling_is_an_error() -> None:
    """A value that the scheduler would refuse is found before it is sent."""
    with pytest.raises(InputError, match="at most 1000"):
        list(piles(["x" * 1001], encode, PileRules(ceiling=1000)))


def test_work_functions_come_from_text_and_files(tmp_path: Path) -> None:
    """Source text, JsFile and pathlib paths give the same source."""
    file = tmp_path / "work.js"
    file.write_text("(x) => x + 'ü'", encoding="utf-8")

    assert work_source("x => x") == "x => x"
    assert (
        work_source(JsFile(file)) == work_source(file) == work_source(JsFile(str(file))) == "(x) => x + 'ü'"
    )


def test_a_python_function_says_what_to_do() -> None:
    """Python functions are not computed yet, and the error shows the way that works."""
    with pytest.raises(NotYetError, match="compute_for"):
        work_source(lambda x: x)


@pytest.mark.parametrize("slip", ["", "  \n", 5, None, Path("/nonexistent/work.js")])
def test_no_work_function_is_an_error(slip: object) -> None:
    """Nothing empty, absent or unreadable is deployed."""
    with pytest.raises(WorkFunctionError):
        work_source(slip)


def test_a_binary_file_is_no_work_function(tmp_path: Path) -> None:
    """A file that is not text is refused by name."""
    file = tmp_path / "work.wasm"
    file.write_bytes(b"\x00asm\xff\xfe")
    with pytest.raises(WorkFunctionError, match=r"work\.wasm"):
        work_source(file)
