"""What events say: their fields on the wire."""

from typing import Any

from ..errors import DcpError
from ..protocol.dcp.kvin import JsError
from ..protocol.dcp.values import nodes_of, value_of
from ..protocol.intervals import Interval, normalise
from .outcomes import Failure
from .store.jobs import Job, Status

MOST_MISSED = 1000
"""Stretches of dropped results that are named; beyond them the subscriber learns only that there are more."""
MOST_TEXT = 10_000
"""Characters of a message about an error."""


def status_fields(job: Job) -> dict[str, Any]:
    """How far a job is. A cancelled one says why at once: this event may come before ``stop``."""
    fields: dict[str, Any] = {
        "runStatus": job.status.value,
        "total": job.total,
        "distributed": job.total - job.pending,
        "computed": job.done + job.failed,
    }
    if job.status is Status.CANCELLED:
        fields.update(_why(job))
    return fields


def stop_fields(job: Job) -> dict[str, Any]:
    """The end of a job."""
    fields: dict[str, Any] = {"runStatus": job.status.value, "sliceCount": job.total}
    if job.status is not Status.FINISHED:
        fields.update(_why(job))
    return fields


def _why(job: Job) -> dict[str, str]:
    return {
        "reason": job.stop_reason or "The job was cancelled.",
        "code": job.stop_code or "ECANCELLED",
    }


def error_fields(failure: Failure) -> dict[str, Any]:
    """What a work function threw, as one-slice workers tell it."""
    try:
        error = value_of(nodes_of(f"[{failure.error}]", expected=1)[0])
    except DcpError:
        error = "an error that cannot be read"
    if isinstance(error, JsError):
        fields = {"name": error.name, "message": error.message, "stack": error.stack or ""}
        fields = {name: str(text)[:MOST_TEXT] for name, text in fields.items()}
    else:
        fields = {"name": "Error", "message": str(error)[:MOST_TEXT]}
    return {**fields, "sliceNumber": failure.slice}


def add_missed(fields: dict[str, Any], slices: list[Interval]) -> None:
    """Name slices whose results were dropped, in the fields of a ``results`` event."""
    missed = [(first, count) for first, count in fields.get("missed", [])]
    fields["missed"] = [list(part) for part in normalise(missed + slices)[:MOST_MISSED]]
