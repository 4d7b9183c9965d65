"""Messages that never leave the worker's process: between its actors, the link to the scheduler, and
``run_worker``.

They may hold anything, as no byte of them is ever encoded. Handlers mark them ``local_only``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..protocol.intervals import Interval
from ..protocol.messages import JobArtifacts
from .planning import Arrival


@dataclass(frozen=True, slots=True)
class LinkState:
    """link -> supervisor and uploader: whether the scheduler is there, and what it can do."""

    up: bool
    bulk: bool  # it has the bulk operations
    detail: str


@dataclass(frozen=True, slots=True)
class DeliverNow:
    """supervisor -> uploader: nothing more comes soon, so what is there must not wait for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """link -> asker: the scheduler's answer."""

    ticket: Any  # as the asker gave it
    payload: Any


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """link -> asker: there is none, or it is an error."""

    ticket: Any
    code: str
    message: str
    refused: bool  # the scheduler has answered with an error; otherwise the connection failed


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job with its artifacts, ready for a host. ``message`` is the JOB of the wire."""

    artifacts: JobArtifacts
    source: bytes  # of the work function
    arguments: bytes  # values body
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unusable:
    """Slices that came but cannot be worked on; they go straight back."""

    job: str
    task: str
    slices: tuple[Interval, ...]
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class FetchedTask:
    """One authorisation for slices of one job."""

    task: str
    job: str
    authorisation: bytes  # JSON
    estimation: bool  # the scheduler uses these slices to measure the job
    one_by_one: bool  # it came through the one-slice operation, which wants to hear when a slice begins


@dataclass(frozen=True, slots=True)
class WorkFetched:
    """link -> supervisor: what a request for work has brought."""

    jobs: tuple[LoadedJob, ...]
    tasks: tuple[FetchedTask, ...]
    arrivals: tuple[Arrival, ...]
    unusable: tuple[Unusable, ...]


@dataclass(frozen=True, slots=True)
class OutboxBlocked:
    """uploader -> supervisor.

    Whether outcomes can be kept on disk; the reason is for people, "" when they can.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class StopWork:
    """run_worker -> supervisor: leave in good order within the deadline."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class SetPaused:
    """run_worker -> supervisor: stop or go on dealing and fetching."""

    paused: bool


@dataclass(frozen=True, slots=True)
class PeerGone:
    """switchboard -> supervisor: the connection of a peer has ended; nothing more will come from it."""

    peer: bytes
