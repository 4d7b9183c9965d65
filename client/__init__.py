"""The Compute API: deploy a job to a DCP scheduler and get its results.

    from dcp_worker.client import compute_for

    print(compute_for([1, 2, 3], "x => x * x").exec())

Names are loaded when they are first used, so that a program starts fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compute import compute_for
    from .errors import (
        ClientError,
        DeployFailed,
        JobCancelled,
        NotYetError,
        SchedulerGone,
        SliceError,
        SliceErrors,
    )
    from .events import ConsoleMessage, CustomEvent, JobStatus, Notice, SliceResult
    from .inputs import RangeObject
    from .job import Job
    from .spec import ComputeGroup, MarketValue
    from .work import JsFile

_HOMES = {
    "compute_for": "compute",
    "Job": "job",
    "JsFile": "work",
    "RangeObject": "inputs",
    "ComputeGroup": "spec",
    "MarketValue": "spec",
    **dict.fromkeys(("ConsoleMessage", "CustomEvent", "JobStatus", "Notice", "SliceResult"), "events"),
    **dict.fromkeys(
        (
            "ClientError",
            "DeployFailed",
            "JobCancelled",
            "NotYetError",
            "SchedulerGone",
            "SliceError",
            "SliceErrors",
        ),
        "errors",
    ),
}

__all__ = [
    "ClientError",
    "ComputeGroup",
    "ConsoleMessage",
    "CustomEvent",
    "DeployFailed",
    "Job",
    "JobCancelled",
    "JobStatus",
    "JsFile",
    "MarketValue",
    "NotYetError",
    "Notice",
    "RangeObject",
    "SchedulerGone",
    "SliceError",
    "SliceErrors",
    "SliceResult",
    "compute_for",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
