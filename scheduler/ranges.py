"""Range objects of the wire: how many slices they count. What a slice's input is, the sandbox works out by
itself.
"""

import math
from collections.abc import Mapping
from typing import Any

from .refusal import Refused

MOST_RANGES = 1000
_DEPTH = 3


def length_of(value: Any, depth: int = 0) -> int:
    """The number of slices of a range, multi-range, sparse range or distribution, as JavaScript objects have
    it.

    Raises Refused ERANGE when it is none of them, or does not come to an end.
    """
    if isinstance(value, list):
        return len(value)  # a dimension of a multi-range may be a list of values
    if not isinstance(value, Mapping) or depth > _DEPTH:
        raise Refused("ERANGE", "The input of a job must be a range object or a list of values.")
    if "ranges" in value:
        ranges = value["ranges"]
        if not isinstance(ranges, list) or not 1 <= len(ranges) <= MOST_RANGES:
            raise Refused("ERANGE", f"A multi-range needs 1 to {MOST_RANGES} ranges.")
        lengths = [length_of(part, depth + 1) if isinstance(part, list | Mapping) else 1 for part in ranges]
        return sum(lengths) if value.get("sparse") else math.prod(lengths)
    if "start" in value and "end" in value:
        return _counted(value)
    if "dist" in value and isinstance(value.get("params"), list):
        return _whole(value.get("length"), "length", least=0)
    raise Refused("ERANGE", "A range needs a start and an end.")


def _counted(value: Mapping[str, Any]) -> int:
    start, end = _number(value["start"], "start"), _number(value["end"], "end")
    step = value.get("step")
    step = _sign(end - start) if step is None else _number(step, "step")
    if start != end and (step == 0 or _sign(step) != _sign(end - start)):
        raise Refused("ERANGE", "The step of a range must lead from its start to its end.")
    steps = 1 if step == 0 else _floor(abs((end - start) / step)) + 1
    group = value.get("group")
    if group is None:
        return steps
    return -(-steps // _whole(group, "group", least=1))


def _floor(value: float) -> int:
    if not math.isfinite(value):
        raise Refused("ERANGE", "The range has more steps than can be counted.")
    return math.floor(value)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise Refused("ERANGE", f"The {name} of a range must be a finite number.")
    return float(value)


def _whole(value: Any, name: str, *, least: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1 << 53:
        raise Refused("ERANGE", f"The {name} of a range must be a whole number, {least} or more.")
    return value
