"""Results for deployers: ``fetchResult``, one by one, and ``fetchResults@1``, in bulk."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field
from sqlalchemy.engine import Connection

from ..protocol.dcp.values import node_to_uri, nodes_of
from ..protocol.intervals import Interval, from_numbers, intersect, normalise
from .core import Call, Core, Form, Operations, read
from .job_submit import must_own
from .outcomes import Failure, failures_in, results
from .ranges import length_of
from .refusal import Refused
from .store.stretches import Stretch

MOST_NUMBERS = 100_000
"""Slices that one ``fetchResult`` may name."""
MOST_SLICE = (1 << 53) - 1
_UNRESERVED = "!'()*"  # beside letters, digits and -_.~, what encodeURIComponent leaves as it is


Pair = Annotated[list[Annotated[int, Field(ge=1, le=MOST_SLICE)]], Field(min_length=2, max_length=2)]
"""First slice and count."""


class FetchResult(Form):
    job: str
    range: Any = None


class FetchResults(Form):
    job: str
    runs: Annotated[list[Pair], Field(max_length=100_000)]


def slices_of(value: Any, total: int) -> list[Interval]:
    """The slices that a ``range`` of the wire names: all, a number, a list of them, or a range object."""
    if value is None:
        return normalise([(1, total)])
    if type(value) is int:
        value = [value]
    if isinstance(value, list):
        if len(value) > MOST_NUMBERS or not all(type(number) is int for number in value):
            raise Refused("ERANGE", f"Name at most {MOST_NUMBERS} slices, by their numbers.")
        return from_numbers(number for number in value if 1 <= number <= total)
    length = length_of(value)
    start, step = value.get("start"), value.get("step")
    if type(start) is not int or value.get("group") is not None or "ranges" in value:
        raise Refused("ERANGE", "Name slices by a list of numbers, or by a range with start and end.")
    if step in (None, 1) and start <= value["end"]:
        return intersect([(start, length)], [(1, total)])
    if length > MOST_NUMBERS or not isinstance(step, int | None):
        raise Refused("ERANGE", f"Name at most {MOST_NUMBERS} slices, by their numbers.")
    numbers = (start + index * (-1 if step is None else step) for index in range(length))
    return from_numbers(number for number in numbers if 1 <= number <= total)


def _stored(connection: Connection, job: str, parts: Iterable[Interval]) -> Iterator[Stretch]:
    for part in parts:
        yield from results.read(connection, job, part)


def fetch_one_by_one(
    connection: Connection, key: str, wanted: Any, owners: tuple[str, ...], most_bytes: int
) -> list[dict[str, Any]]:
    """The results that are there, each as a URI that is escaped once more; an error stands in for its slice's
    result.
    """
    job = must_own(connection, key, *owners)
    parts = slices_of(wanted, job.total)
    found: list[dict[str, Any]] = []
    size = 0
    for first, last, body in _stored(connection, job.id, parts):
        size += len(body)
        if size > most_bytes:
            raise Refused("ETOOBIG", f"These results have more than {most_bytes} bytes; fetch fewer at once.")
        for number, node in enumerate(nodes_of(body, expected=last - first + 1), first):
            found.append({"slice": number, "value": _escaped(node_to_uri(node))})
    if job.failed:
        for failure in (one for part in parts for one in failures_in(connection, job.id, part)):
            node = nodes_of(f"[{failure.error}]", expected=1)[0]
            found.append({"slice": failure.slice, "value": _escaped(node_to_uri(node))})
    return found


def _escaped(uri: str) -> str:
    """As JavaScript's encodeURIComponent."""
    return quote(uri, safe=_UNRESERVED)


def fetch_runs(
    connection: Connection, key: str, runs: Iterable[Interval], owners: tuple[str, ...], most_bytes: int
) -> tuple[list[Stretch], list[Failure]]:
    """The results and errors that are there, up to a size (one stretch at least): ask again for the rest."""
    job = must_own(connection, key, *owners)
    parts = intersect([(1, job.total)], normalise(runs))
    stretches: list[Stretch] = []
    size = 0
    for stretch in _stored(connection, job.id, parts):
        size += len(stretch[2])
        if stretches and size > most_bytes:
            break
        stretches.append(stretch)
    failures = [one for part in parts for one in failures_in(connection, job.id, part)] if job.failed else []
    return stretches, failures


def operations(core: Core) -> Operations:
    """The operations of this service by their names on the wire."""

    async def fetch(call: Call) -> Any:
        request = read(FetchResult, call.data)
        owners = (str(call.peer.owner), *call.vouched)
        limit = core.settings.max_fetch_bytes
        return await core.store.read(
            lambda connection: fetch_one_by_one(connection, request.job, request.range, owners, limit)
        )

    async def fetch_many(call: Call) -> Any:
        request = read(FetchResults, call.data)
        owners = (str(call.peer.owner), *call.vouched)
        runs = [(first, count) for first, count in request.runs]
        limit = core.settings.max_fetch_bytes
        stretches, failures = await core.store.read(
            lambda connection: fetch_runs(connection, request.job, runs, owners, limit)
        )
        return {
            "runs": [
                {"first": first, "count": last - first + 1, "values": body} for first, last, body in stretches
            ],
            "failures": [{"slice": failure.slice, "error": failure.error} for failure in failures],
        }

    return {"fetchResult": fetch, "fetchResults@1": fetch_many}
