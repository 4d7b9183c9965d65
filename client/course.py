"""The course of one job so far, as its records tell it: state, outcomes, listeners."""

from collections.abc import Iterator
from typing import Any, Literal

from .collection import Collection
from .errors import JobCancelled, SliceError, SliceErrors
from .events import ConsoleMessage, CustomEvent, JobStatus, Listeners, Notice, Results, SliceResult

OnErrors = Literal["raise", "return"]
Outcome = tuple[int, Any]


class Entered:
    """The job has entered this state."""

    def __init__(self, name: str) -> None:
        self.name = name


class End:
    """The job is over; ``error`` says how, when not well."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Course:
    """Takes the records of a job one by one, in the thread that waits for it."""

    def __init__(self, job: str, collection: Collection, errors: OnErrors) -> None:
        self.state = "new"
        self.end: End | None = None
        self.listeners = Listeners()
        self.collection = collection
        self._job = job
        self._errors = errors
        self._told = JobStatus("new", 0, 0, 0)

    @property
    def status(self) -> JobStatus:
        """By the outcomes that are here, and by what the scheduler told ``status`` listeners."""
        told = self._told
        run_status = self.state if self.state in ("running", "finished", "cancelled") else told.run_status
        computed = max(told.computed, len(self.collection))
        total = self.collection.total or told.total
        return JobStatus(run_status, total, max(told.distributed, computed), computed)

    def finish(self, error: BaseException | None = None) -> None:
        """The job is over, and how."""
        self.end = End(error)
        if error is None:
            self.state = "finished"
        else:
            self.state = "cancelled" if isinstance(error, JobCancelled) else "failed"

    def take(self, record: object) -> None:
        """Take a record, and tell whoever listens. What a listener raises goes to the caller."""
        call = self.listeners.call
        match record:
            case Results():
                if self.listeners.wants("result"):
                    for number, value in enumerate(record.values, record.first):
                        call("result", SliceResult(number, value))
            case SliceError():
                call("error", record)
            case JobStatus():
                self._told = record
                call("status", record)
            case ConsoleMessage():
                call("console", record)
            case CustomEvent():
                call("custom", record)
            case Notice():
                call(record.kind, record)
            case Entered(name=name):
                self.state = name
                call("accepted" if name == "accepted" else "state", name)
            case End(error=error):
                self.finish(error)
                call("state", self.state)

    def pairs(self, record: object) -> Iterator[Outcome]:
        """The ``(slice number, value)`` pairs that a record brings to whoever iterates over the job."""
        if isinstance(record, Results):
            yield from enumerate(record.values, record.first)
        elif isinstance(record, SliceError) and self._errors == "return":
            yield record.slice, record

    def outcome(self) -> list[Any]:
        """All results in input order, once the job is over. Raises what it ended with, or SliceErrors."""
        assert self.end is not None
        if self.end.error is not None:
            raise self.end.error
        results = self.collection.results()
        if self.collection.errors and self._errors == "raise":
            raise SliceErrors(self._job, self.collection.errors, results)
        return results
