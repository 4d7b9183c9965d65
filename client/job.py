"""A job as the program that deploys it sees it: start it, wait for it, hear from it, cancel it."""

import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .collection import Collection
from .course import Course, End, Entered, OnErrors, Outcome
from .errors import ClientError, JobCancelled, SliceError
from .events import JobStatus, Listener
from .feed import Feed
from .identity import Identity
from .inputs import NoInputs
from .spec import JobSpec

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .run import JobRun

ON_DEMAND = (
    "console",
    "custom",
    "error",
    "noprogress",
    "status",
)  # events that cost something: only for those who listen
ASK_S = 60.0
CANCEL_S = 10.0  # how long a polite cancellation may take


class Job:
    """A job that is, or will be, computed for its inputs. Made by ``compute_for``; picked up again by
    ``attach``.

    One thread or coroutine at a time waits for it, by ``exec()``, ``await job``, or a loop over its results; event
    listeners are called there, so they need no locks and may raise.
    """

    def __init__(
        self,
        spec: JobSpec,
        url: str,
        identity: Callable[[], Identity],
        *,
        errors: OnErrors = "raise",
        progress: bool | None = None,
        keep: bool = True,
        attached: bool = False,
    ) -> None:
        self.spec = spec
        self._url = url
        self._identity = identity
        self._progress = progress
        self._attached = attached
        self._collection = Collection(spec.total if not attached else None, keep=keep)
        self._course = Course(spec.id, self._collection, errors)
        self._feed: Feed[object] = Feed()
        self._run: JobRun | None = None
        self._cancelling: Future[None] | None = None
        self._waiting = False

    @classmethod
    def attach(cls, job_id: str, **options: Any) -> "Job":
        """Follow a job that this identity has deployed earlier, perhaps from a program that has ended since.

        Takes the options of ``compute_for`` that make sense: scheduler, keystores, errors, progress, keep.
        """
        from .compute import attach

        return attach(job_id, **options)

    @property
    def id(self) -> str:
        """The job's id at the scheduler: 22 letters and digits."""
        return self.spec.id

    @property
    def state(self) -> str:
        """new, deploying, accepted, uploading, running; in the end finished, cancelled, or failed."""
        return self._course.state

    @property
    def scheduler(self) -> str:
        """The URL of the scheduler."""
        return self._url

    @property
    def done(self) -> int:
        """How many slices have an outcome here."""
        return len(self._collection)

    @property
    def total(self) -> int | None:
        """How many slices the job has; None while an iterator of inputs has not come to its end."""
        return self._collection.total

    @property
    def status(self) -> JobStatus:
        """How far the job is: by the outcomes that are here, and by what the scheduler told ``status``
        listeners."""
        return self._course.status

    @property
    def errors(self) -> dict[int, SliceError]:
        """The slices whose work function threw, so far, by slice number."""
        return dict(self._collection.errors)

    def cost(self) -> Decimal | None:
        """What the job has cost so far, in DCC, as the scheduler says; None when it does not say. Blocks
        shortly."""
        if self._run is None:
            return Decimal(0)
        from .network import Network

        return Network.shared().submit(self._run.summary()).result(ASK_S).cost

    def __repr__(self) -> str:
        total = "?" if self.total is None else self.total
        return f"<Job {self.id} {self.state}: {self.done} of {total} slices>"

    def on(self, event: str, listener: Listener) -> "Job":
        """Call ``listener`` with each event of this name, in the thread that waits for the job.

        ``console`` ConsoleMessage, ``custom`` CustomEvent, ``result`` SliceResult, ``error`` SliceError (or a
        Notice of what a worker says about the job), ``status`` JobStatus, ``noprogress`` and ``nofunds``
        Notice, ``state`` and ``accepted`` the name of the state.
        """
        self._course.listeners.add(event, listener)
        if self._run is not None and event in ON_DEMAND:
            from .network import Network

            Network.shared().submit(self._run.listen(event))
        return self

    # -- Running -----------------------------------------------------------------------------------------

    def start(self) -> "Job":
        """Deploy without waiting; calling it again changes nothing."""
        if self._run is not None or self._course.end is not None:
            return self
        if isinstance(self.spec.inputs, NoInputs) and not self._attached:
            self._course.finish()
            return self
        from .network import Network
        from .run import JobRun

        run = JobRun(
            self.spec,
            self._url,
            self._identity,
            self._collection,
            self._feed.put,
            lambda state: self._feed.put(Entered(state)),
            labels=[label for label in ON_DEMAND if self._course.listeners.wants(label)],
            attach=self._attached,
        )
        self._run = run
        network = Network.shared()

        def ended(future: "Future[None]") -> None:
            error: BaseException | None
            try:
                error = future.exception()
            except BaseException as cancelled:  # a cancelled future raises what it is
                error = cancelled
            network.goodbye(run.close())
            self._feed.put(End(error))

        network.submit(run.run()).add_done_callback(ended)
        return self

    def exec(self) -> list[Any]:
        """Deploy if need be, wait for the end, and return the results in input order.

        Raises SliceErrors when the work function threw (unless the job was made with ``errors="return"``),
        JobCancelled, DeployFailed, SchedulerGone. Ctrl-C cancels the job, a second one leaves at once.
        """
        for _ in self._records():
            pass
        return self._course.outcome()

    def results_as_they_come(self) -> Iterator[Outcome]:
        """Deploy if need be and yield ``(slice number, value)`` pairs in the order in which slices are done.

        Slice numbers start at 1. Failed slices are raised as SliceErrors behind the last result, or
        yielded with a SliceError for a value when the job was made with ``errors="return"``. Leaving the
        loop early cancels nothing."""
        for record in self._records():
            yield from self._course.pairs(record)
        self._course.outcome()

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        async with contextlib.aclosing(self._arecords()) as records:
            async for record in records:
                for pair in self._course.pairs(record):
                    yield pair
        self._course.outcome()

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._wait().__await__()

    async def __aenter__(self) -> "Job":
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Leaving the block cancels the job unless it is over."""
        if self._course.end is None:
            await self.acancel(f"the program left it: {kind.__name__}" if kind else "the program left it")

    def cancel(self, reason: str = "cancelled by its owner") -> None:
        """Cancel the job at the scheduler and wait until it says so. Whoever waits for the job gets
        JobCancelled."""
        future = self._cancel(reason)
        if future is not None:
            future.result(CANCEL_S)

    async def acancel(self, reason: str = "cancelled by its owner") -> None:
        """Like ``cancel``, for coroutines."""
        import asyncio

        future = self._cancel(reason)
        if future is not None:
            await asyncio.wait_for(asyncio.wrap_future(future), CANCEL_S)

    # -- Inside ------------------------------------------------------------------------------------------

    def _cancel(self, reason: str) -> "Future[None] | None":
        if self._course.end is not None:
            return None
        if self._run is None:
            self._course.finish(JobCancelled(self.id, reason))
            return None
        if self._cancelling is None:
            from .network import Network

            self._cancelling = Network.shared().submit(self._run.cancel(reason))
        return self._cancelling

    async def _wait(self) -> list[Any]:
        async with contextlib.aclosing(self._arecords()) as records:
            async for _ in records:
                pass
        return self._course.outcome()

    def _records(self) -> Iterator[object]:
        """The records of the job until its end, shown and told to the listeners."""
        try:
            self.start()
            with self._alone(), self._shown() as shown:
                while self._course.end is None:
                    record = self._feed.get()
                    self._take(record, shown)
                    yield record
        except KeyboardInterrupt:
            self._interrupted()
            raise

    async def _arecords(self) -> AsyncGenerator[object, None]:
        import asyncio

        self.start()
        with self._alone(), self._shown() as shown:
            try:
                while self._course.end is None:
                    record = await self._feed.aget()
                    self._take(record, shown)
                    yield record
            except asyncio.CancelledError:
                with contextlib.suppress(Exception):
                    await self.acancel("the program stopped waiting for it")
                raise

    def _take(self, record: object, shown: Any) -> None:
        self._course.take(record)
        shown.update(self.done, self.total, self.state)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._waiting:
            raise ClientError(f"Somebody waits for job {self.id} already; only one at a time can.")
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def _shown(self) -> Any:
        from .progress import progress_for

        return progress_for(self.spec.name, self._progress)

    def _interrupted(self) -> None:
        """Ctrl-C: tell the scheduler, but not for long, and not at all when there is a second one."""
        if self._course.end is not None:
            return
        print(f"Cancelling job {self.id} (Ctrl-C again leaves at once)…", file=sys.stderr)
        with contextlib.suppress(Exception):
            self.cancel("interrupted by its owner")


def renamed(spec: JobSpec) -> JobSpec:
    """The job with a name for people, from its id when it has none."""
    return spec if spec.name else replace(spec, name=f"job {spec.id[:8]}")
