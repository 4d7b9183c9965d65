"""The answer to a request for work, checked and taken apart: jobs, authorisations, and stretches of slices.

Source of the forms: ``requestTask@3`` of the DCP wire (slice by slice), and ``requestRuns@1`` of
docs/architecture.md.
"""

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from loguru import logger

from ..errors import DcpError
from ..protocol.dcp import js_json
from ..protocol.dcp.values import body_of, uri_to_node
from ..protocol.intervals import count_of, from_numbers, normalise
from .artifacts import Fetch, load_job
from .inputs import Inputs
from .local_messages import FetchedTask, LoadedJob, Unusable, WorkFetched
from .planning import Arrival
from .records import Stretch

MAX_SLICE = (1 << 53) - 1
MAX_JOBS = 10_000
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class TaskError(DcpError):
    """The scheduler's answer to a request for work makes no sense."""

    code = "ETASK"


async def read_work(payload: Any, number: int, fetch: Fetch) -> WorkFetched:
    """Take an answer apart. ``number`` makes the ids of its authorisations; ``fetch`` gets what is at an
    address.

    Slices that cannot be worked on are ``unusable``; an answer that cannot be understood at all raises
    TaskError.
    """
    if not isinstance(payload, Mapping) or not isinstance(payload.get("body"), Mapping):
        raise TaskError("the scheduler's answer has no body")
    body = payload["body"]
    runs, slices = body.get("runs") or {}, body.get("task") or {}
    if not isinstance(runs, Mapping) or not isinstance(slices, Mapping) or len(runs) + len(slices) > MAX_JOBS:
        raise TaskError("the scheduler's answer has slices in an unknown form")
    descriptions = body.get("newJobs")
    authorisation = js_json.dumps({key: value for key, value in payload.items() if key != "body"}).encode()
    result = _Result()
    for job, entries in [*runs.items(), *slices.items()]:
        one_by_one = job not in runs
        if not isinstance(job, str) or not _JOB_ID.match(job) or not isinstance(entries, list):
            raise TaskError("the scheduler's answer has a job without a proper id")
        description = descriptions.get(job) if isinstance(descriptions, Mapping) else None
        loaded: LoadedJob | DcpError
        try:
            loaded = await load_job({**_must_map(description), "jobId": job}, fetch)
        except DcpError as error:
            loaded = error
        estimating = one_by_one and any(
            isinstance(e, Mapping) and e.get("isEstimationSlice") for e in entries
        )
        task = FetchedTask(f"{number}/{job}", job, authorisation, estimating, one_by_one)
        result.add(task, entries, loaded)
    return WorkFetched(
        tuple(result.jobs), tuple(result.tasks), tuple(result.arrivals), tuple(result.unusable)
    )


class _Result:
    def __init__(self) -> None:
        self.jobs: list[LoadedJob] = []
        self.tasks: list[FetchedTask] = []
        self.arrivals: list[Arrival] = []
        self.unusable: list[Unusable] = []

    def add(self, task: FetchedTask, entries: list[Any], loaded: LoadedJob | DcpError) -> None:
        """Read the slices of one job; what is wrong with them is the matter of this job only."""
        ranged = not isinstance(loaded, DcpError) and bool(loaded.artifacts.input_range)
        numbers = _numbers(entries, task.one_by_one)
        problem = loaded if isinstance(loaded, DcpError) else None
        stretches: tuple[Stretch, ...] = ()
        if problem is None:
            try:
                stretches = (
                    _one_by_one(task.task, entries, ranged)
                    if task.one_by_one
                    else _runs(task.task, entries, ranged)
                )
                if count_of(numbers) != sum(stretch.count for stretch in stretches):
                    raise TaskError("the scheduler sent a slice twice in one answer")
            except DcpError as error:
                problem = error
            except UnicodeEncodeError:
                problem = TaskError("the inputs hold half a surrogate pair as a literal character")
        self.tasks.append(task)
        if problem is not None or isinstance(loaded, DcpError):
            assert problem is not None
            logger.bind(job=task.job).warning("cannot work on job {}: {}", task.job, problem)
            self.unusable.append(Unusable(task.job, task.task, tuple(numbers), problem.code, str(problem)))
            return
        self.jobs.append(loaded)
        artifacts = loaded.artifacts
        self.arrivals.append(
            Arrival(task.job, task.task, artifacts.worktime, artifacts.requirements, stretches)
        )


def _numbers(entries: list[Any], one_by_one: bool) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for entry in entries:
        entry = _must_map(entry)
        first, count = (
            (entry.get("sliceNumber"), 1) if one_by_one else (entry.get("first"), entry.get("count"))
        )
        if (
            type(first) is not int
            or type(count) is not int
            or first < 1
            or count < 1
            or first + count > MAX_SLICE
        ):
            raise TaskError("the scheduler sent slices without proper numbers")
        found.append((first, count))
    return normalise(found)


def _runs(task: str, entries: list[Any], ranged: bool) -> tuple[Stretch, ...]:
    stretches = []
    for entry in entries:
        first, count = entry["first"], entry["count"]
        values = entry.get("values")
        if ranged:
            stretches.append(Stretch(task, first, count, None))
        elif isinstance(values, str):
            stretches.append(Stretch(task, first, count, Inputs(values.encode(), first, count)))
        else:
            raise TaskError("the scheduler sent slices without their inputs")
    return tuple(stretches)


def _one_by_one(task: str, entries: list[Any], ranged: bool) -> tuple[Stretch, ...]:
    if ranged:
        spans = from_numbers(entry["sliceNumber"] for entry in entries)
        return tuple(Stretch(task, first, count, None) for first, count in spans)
    stretches = []
    ordered = sorted(entries, key=lambda entry: int(entry["sliceNumber"]))
    for _, group in groupby(enumerate(ordered), lambda item: item[1]["sliceNumber"] - item[0]):
        together = [entry for _, entry in group]
        first, count = together[0]["sliceNumber"], len(together)
        text = body_of([uri_to_node(_datum(entry)) for entry in together])
        stretches.append(Stretch(task, first, count, Inputs(text.encode(), first, count)))
    return tuple(stretches)


def _datum(entry: Mapping[str, Any]) -> str:
    uri = entry.get("datumUri")
    if not isinstance(uri, str):
        raise TaskError("the scheduler sent a slice without its input")
    if uri[:5].lower() != "data:":
        raise TaskError(
            "the input of a slice is at an address, which this worker does not fetch yet", code="EFETCH"
        )
    return uri


def _must_map(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TaskError("the scheduler's answer has a part in an unknown form")
    return value
