"""What can go wrong for a program that deploys jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DcpError

SHOWN = 3


class ClientError(DcpError):
    """A job could not be made, deployed or followed."""

    code = "ECLIENT"


class NotYetError(ClientError):
    """Something that the Compute API knows and that this client cannot do yet; the text says what to do
    instead."""

    code = "ENOTYET"


class DeployFailed(ClientError):
    """The scheduler did not take the job."""

    code = "EDEPLOY"


class JobCancelled(ClientError):
    """The job was cancelled, by this program, by its owner elsewhere or by the scheduler. ``reason``
    says why."""

    code = "ECANCELLED"

    def __init__(self, job: str, reason: str, *, code: str | None = None) -> None:
        super().__init__(f"Job {job} was cancelled: {reason or 'no reason given'}", code=code)
        self.job = job
        self.reason = reason


class SchedulerGone(ClientError):
    """The scheduler could not be reached again. The job goes on without us; ``Job.attach(job_id)`` picks
    it up."""

    code = "ESCHEDULERGONE"


@dataclass(frozen=True, slots=True)
class SliceError:
    """The work function threw for one slice. ``error`` is the decoded JavaScript value that it threw."""

    slice: int  # slice numbers start at 1
    error: Any

    @property
    def message(self) -> str:
        """One line for people, e.g. ``TypeError: x is undefined``."""
        name = getattr(self.error, "name", None)
        message = getattr(self.error, "message", None)
        text = f"{name}: {message}" if isinstance(message, str) and name else str(message or self.error)
        return text.strip().split("\n", 1)[0][:500] or "an empty error"

    def __str__(self) -> str:
        return f"slice {self.slice}: {self.message}"


class SliceErrors(ClientError):
    """The work function threw for some slices. All other slices are done.

    ``errors`` maps slice numbers to SliceError. ``results`` is what ``exec()`` would have returned, in
    input order, with the SliceError where a value is missing. To get that list without an exception, say
    ``errors="return"``."""

    code = "ESLICE"

    def __init__(self, job: str, errors: Mapping[int, SliceError], results: Sequence[Any]) -> None:
        first = [str(errors[number]) for number in sorted(errors)[:SHOWN]]
        more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        plural = "slice" if len(errors) == 1 else "slices"
        super().__init__(
            f"The work function threw in {len(errors)} {plural} of job {job}: {'; '.join(first)}{more}. "
            'Look at .errors and .results, or ask for both in one list with errors="return".'
        )
        self.job = job
        self.errors = dict(errors)
        self.results = list(results)
