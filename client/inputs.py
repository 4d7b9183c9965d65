"""What a job is computed for: a range that every worker counts by itself, or values that are uploaded in
piles."""

import math
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from .errors import ClientError

MAX_SLICES = 2**53 - 1  # slice numbers are JavaScript numbers


class InputError(ClientError):
    """The input set of a job makes no sense."""

    code = "EINPUT"


@dataclass(frozen=True, slots=True)
class RangeObject:
    """Numbers from ``start`` to ``end`` (both included) in steps; one row at the scheduler, however long.

    With ``group`` above 1 each slice is an array of that many consecutive numbers. The same object as in the
    Compute API for JavaScript.
    """

    start: float
    end: float
    step: float = 1
    group: int = 1

    def __post_init__(self) -> None:
        for name in ("start", "end", "step"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise InputError(f"The {name} of a range must be a finite number, not {number!r}.")
            if isinstance(number, int) and abs(number) > MAX_SLICES:
                raise InputError(
                    f"The {name} of a range must fit a JavaScript number exactly, and {number} does not."
                )
        if self.step == 0 or (self.end - self.start) * self.step < 0:
            raise InputError(
                f"A range from {self.start} never reaches {self.end} in steps of {self.step}; change the "
                f"sign of the step."
            )
        if isinstance(self.group, bool) or not isinstance(self.group, int) or self.group < 1:
            raise InputError(f"The group of a range must be a whole number from 1, not {self.group!r}.")
        if self.length > MAX_SLICES:
            raise InputError(f"A range of {self.length} slices is longer than slice numbers can count.")

    @property
    def length(self) -> int:
        """How many slices the range makes."""
        numbers = math.floor(abs(self.end - self.start) / abs(self.step)) + 1
        return math.ceil(numbers / self.group)

    def to_wire(self) -> dict[str, Any]:
        """The ``dataRange`` of the wire's ``submit`` operation."""
        wire: dict[str, Any] = {"start": self.start, "end": self.end, "step": self.step}
        if self.group != 1:
            wire["group"] = self.group
        return wire


@dataclass(frozen=True, slots=True)
class NoInputs:
    """An input set with nothing in it: the job is over before it starts, and the scheduler never hears
    of it."""


@dataclass(frozen=True, slots=True)
class ValueInputs:
    """Values that are read once and uploaded in piles; ``length`` is None when nobody knows it yet."""

    values: Iterable[Any]
    length: int | None


InputSet = RangeObject | ValueInputs | NoInputs


def inputs_of(inputs: object) -> InputSet:
    """Tell what kind of input set something is. Generators stay unread, but for their first value.

    Raises InputError for what cannot be iterated, and for text and mappings, which are more likely slips than
    inputs: say ``list(...)`` to mean them.
    """
    if isinstance(inputs, RangeObject):
        return inputs
    if isinstance(inputs, range):
        if not inputs:
            return NoInputs()
        return RangeObject(inputs[0], inputs[-1], inputs.step if len(inputs) > 1 else 1)
    if isinstance(inputs, AsyncIterable):
        raise InputError("An asynchronous input set cannot be read yet; collect it into a list first.")
    if isinstance(inputs, str | bytes | bytearray | Mapping):
        kind = type(inputs).__name__
        raise InputError(f"The input set is one {kind}; say list(...) to make a slice of each of its parts.")
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"{type(inputs).__name__} is no input set; give a list, a range, a generator or a RangeObject."
        )
    if isinstance(inputs, Sequence):
        return ValueInputs(inputs, len(inputs)) if len(inputs) else NoInputs()
    values = iter(inputs)
    for first in values:
        return ValueInputs(chain([first], values), None)
    return NoInputs()


@dataclass(frozen=True, slots=True)
class PileRules:
    """How uploads grow: the ``job.upload...`` numbers of the scheduler's configuration, sizes in
    characters."""

    initial: int = 10  # slices of the first pile: work can begin while the rest is on its way
    factor: float = 2.0
    target: int = 1_000_000  # piles grow up to this size
    ceiling: int = 5_000_000  # no pile is sent above this size, unless a single value is


def pile_rules(numbers: Mapping[str, Any]) -> PileRules:
    """The rules that a scheduler's configuration asks for; what makes no sense in it is left at its
    default."""

    def number(name: str, usual: float, most: float) -> float:
        value = numbers.get(name)
        good = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= most
        return value if good and value is not None else usual

    usual = PileRules()
    return PileRules(
        initial=int(number("uploadInitialNumberOfSlices", usual.initial, 1e6)),
        factor=number("uploadIncreaseFactor", usual.factor, 100),
        target=int(number("uploadSlicesTarget", usual.target, 1e8)),
        ceiling=int(number("uploadSlicesCeiling", usual.ceiling, 1e8)),
    )


@dataclass(frozen=True, slots=True)
class Pile:
    """Consecutive values of an input set, encoded."""

    count: int
    document: Any
    size: int  # in characters


Encode = Callable[[list[Any]], tuple[Any, int]]
"""Encodes values; answers with the document and its size in characters."""


def piles(values: Iterable[Any], encode: Encode, rules: PileRules) -> Iterator[Pile]:
    """Read values, encode them in growing piles and hold no more than one pile at a time.

    A pile above the ceiling is cut in halves until it fits; a single value above it raises InputError.
    """
    source = iter(values)
    count: float = max(1, rules.initial)
    while batch := list(islice(source, int(count))):
        waiting = [batch]
        largest = 0
        while waiting:
            part = waiting.pop()
            document, size = encode(part)
            largest = max(largest, size)
            if size <= rules.ceiling:
                yield Pile(len(part), document, size)
            elif len(part) == 1:
                raise InputError(
                    f"One input value takes {size} characters and the scheduler takes at most "
                    f"{rules.ceiling}; make it smaller, or put it at an address."
                )
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
        if largest <= rules.target:
            count *= max(1.0, rules.factor)
        else:
            count = max(1, count * rules.target / largest)
