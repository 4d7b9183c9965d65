"""The inputs of a stretch of slices: one text, cut where runs begin and end, never decoded.

A values body is the UTF-8 text of a JSON array. To deal its elements to sandboxes in runs, only the commas
between them must be known; they are found once with a scan that skips strings and counts brackets. The
offsets stand in one ``array``, so a slice costs eight bytes and no Python object. Whether an element is
sound JSON is V8's to say.
"""

import re
from array import array

from ..errors import DcpError

MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 1_000
_TOKEN = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"|[\[\]{},"]')
_COMMA = re.compile(rb",")
_STRUCTURE = re.compile(rb'["\[\]{}]')
_CONTROL = re.compile(rb"[\x00-\x1f]")


class InputsError(DcpError):
    """The inputs that a scheduler sent are no values body for its slices; the slices go back to it."""

    code = "EVALUES"


class Inputs:
    """A values body for the slices ``first`` .. ``first + count - 1`` of a job."""

    __slots__ = ("_offsets", "_text", "count", "first")

    def __init__(self, text: bytes, first: int, count: int) -> None:
        """Scan the body; raise InputsError when it does not hold exactly ``count`` elements."""
        if len(text) > MAX_BODY_BYTES:
            raise InputsError(
                f"the inputs of {count} slices have {len(text)} bytes; the limit is {MAX_BODY_BYTES}"
            )
        if _CONTROL.search(text):
            # a line break would end the line that carries the body to the evaluator
            raise InputsError("the inputs hold a control character outside of an escape")
        text = text.strip()
        if len(text) < 2 or text[:1] != b"[" or text[-1:] != b"]":
            raise InputsError("the inputs are not a JSON array")
        self.first = first
        self.count = count
        self._text = text
        self._offsets = _element_starts(text)
        if len(self._offsets) - 1 != count:
            raise InputsError(f"the inputs hold {len(self._offsets) - 1} values for {count} slices")

    def cut(self, first: int, count: int) -> bytes:
        """The values body of ``count`` slices from slice number ``first`` on."""
        if first == self.first and count == self.count:
            return self._text
        start, end = self._span(first, count)
        return b"[" + self._text[start:end] + b"]"

    def size(self, first: int, count: int) -> int:
        """How many bytes the inputs of these slices have."""
        start, end = self._span(first, count)
        return end - start

    def _span(self, first: int, count: int) -> tuple[int, int]:
        index = first - self.first
        if index < 0 or count < 1 or index + count > self.count:
            raise IndexError(f"slices {first}+{count} are outside of {self.first}+{self.count}")
        return self._offsets[index], self._offsets[index + count] - 1


def _element_starts(text: bytes) -> "array[int]":
    """Offset of each element, and behind the last one the offset that a further element would have."""
    inner = text[1:-1]
    starts = array("Q", [1])
    if not inner.strip():
        return starts
    if not _STRUCTURE.search(inner):  # only numbers and literals: the commas are all there is
        starts.extend(match.end() + 1 for match in _COMMA.finditer(inner))
    else:
        depth = 0
        for match in _TOKEN.finditer(inner):
            token = match[0]
            if token == b",":
                if depth == 0:
                    starts.append(match.end() + 1)
            elif token in (b"[", b"{"):
                depth += 1
                if depth > MAX_DEPTH:
                    raise InputsError(f"a value is nested deeper than {MAX_DEPTH}")
            elif token in (b"]", b"}"):
                depth -= 1
                if depth < 0:
                    raise InputsError("the inputs close a bracket that was never opened")
            elif token == b'"':
                raise InputsError("the inputs hold a string without an end")
        if depth:
            raise InputsError("the inputs leave a bracket open")
    starts.append(len(text))
    return starts
