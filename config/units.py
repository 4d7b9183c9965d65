"""Values with units in configuration files: ``"30s"``, ``"50MB"``, ``"2,1"``, read and printed back.

Numbers without a unit are seconds or bytes. The texts of errors are for the person who wrote the value.
"""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_duration(value: object) -> float:
    """Seconds of ``"500ms"``, ``"2m"``, ``"1h"``, ``"1d"`` or a number of them. Raises ValueError."""
    match value:
        case bool():
            pass
        case int() | float() if math.isfinite(value) and value >= 0:
            return float(value)
        case str() if found := _NUMBER_AND_UNIT.fullmatch(value):
            number, unit = found.groups()
            if (unit or "s") in SECONDS:
                return float(number) * SECONDS[unit or "s"]
    raise ValueError('expected a duration like "500ms", "30s", "5m", "2h" or "1d"')


def parse_size(value: object) -> int:
    """Bytes of ``"50MB"`` (10^6), ``"64MiB"`` (2^20) or a number of bytes. Raises ValueError."""
    match value:
        case bool():
            pass
        case int() if value >= 0:
            return value
        case str() if found := _NUMBER_AND_UNIT.fullmatch(value):
            number, unit = found.groups()
            if unit in BYTES:
                return round(float(number) * BYTES[unit])
    raise ValueError('expected a size like "512kB", "50MB" or "2GiB"')


def print_duration(seconds: float) -> str:
    """The shortest exact text: ``"90s"``, ``"5m"``, ``"250ms"``."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= SECONDS[unit] and (seconds / SECONDS[unit]).is_integer():
            return f"{int(seconds / SECONDS[unit])}{unit}"
    if seconds and (milliseconds := round(seconds * 1000, 6)).is_integer():
        return f"{int(milliseconds)}ms"
    return f"{seconds:g}s"


def print_size(size: int) -> str:
    """The shortest exact text: ``"64MiB"``, ``"50MB"``, ``"1234B"``."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]}{unit}"
    return f"{size}B"


class CpuGpu(NamedTuple):
    """How much CPU and how much GPU; None: not said, the default of that part holds."""

    cpu: float | None = None
    gpu: float | None = None

    def __str__(self) -> str:
        cpu, gpu = ("" if part is None else f"{part:g}" for part in self)
        return f"{cpu},{gpu}" if gpu else cpu


def parse_cpu_gpu(value: object) -> CpuGpu:
    """``"7"``, ``"7,1"``, ``",1"`` (only the GPU part), a number (CPU), or a list of one or two numbers."""
    problem = 'expected "CPU" or "CPU,GPU" like "4", "4,1" or ",0.5"'
    match value:
        case CpuGpu():
            return value
        case str():
            texts = [text.strip() for text in value.split(",")]
            try:
                parts = [float(text) if text else None for text in texts]
            except ValueError:
                raise ValueError(problem) from None
        case bool():
            raise ValueError(problem)
        case int() | float():
            parts = [float(value)]
        case list() | tuple() if all(type(part) in (int, float) for part in value):
            parts = [float(part) for part in value]
        case _:
            raise ValueError(problem)
    if not 1 <= len(parts) <= 2 or any(part is not None and not 0 <= part < 1e6 for part in parts):
        raise ValueError(problem)
    return CpuGpu(*parts)


def parse_amount(value: object) -> Decimal:
    """An amount of money, ``"0.0000001"`` or a number, without rounding. Raises ValueError."""
    match value:
        case bool():
            pass
        case int() | float() | str() | Decimal():
            try:
                amount = Decimal(str(value).strip())
            except InvalidOperation:
                amount = Decimal(-1)
            exponent = amount.as_tuple().exponent
            if isinstance(exponent, int) and exponent >= -18 and 0 <= amount < 10**30:
                return amount
    raise ValueError('expected an amount of DCC like "0.25", at least 0, with at most 18 decimals')


def _serialise(print_value: Any) -> PlainSerializer:
    return PlainSerializer(print_value, return_type=str)


Duration = Annotated[float, BeforeValidator(parse_duration), _serialise(print_duration)]
"""Seconds."""
Size = Annotated[int, BeforeValidator(parse_size), _serialise(print_size)]
"""Bytes."""
CoreCounts = Annotated[CpuGpu, BeforeValidator(parse_cpu_gpu), _serialise(str)]
"""Counts or shares of CPU cores and GPUs."""
Amount = Annotated[Decimal, BeforeValidator(parse_amount), _serialise(lambda amount: f"{amount:f}")]
"""DCC."""
