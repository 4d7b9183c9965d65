"""The life of one job on the network: deploy, follow, repair what was missed, cancel. On the network
thread."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..errors import DcpError
from .collection import Collection
from .errors import ClientError, DeployFailed, JobCancelled, SchedulerGone
from .follow import Follower, Tell
from .identity import Identity
from .inputs import Pile, ValueInputs, pile_rules, piles
from .services import Services
from .spec import JobSpec, submission

if TYPE_CHECKING:
    from .account import JobSummary

SPOKEN = frozenset(("console", "custom", "error", "noprogress"))  # what comes from workers, beside results
QUIET_S = 1.0  # after the last result, these are heard until none has come for so long,
LINGER_S = 5.0  # but no longer than this
BULK = 1  # the version of the bulk operations that we speak
RECHECK_S = 30.0  # silence after which we look whether something was missed
FETCH_RUNS = 1000  # stretches of missing slices asked for at once
FETCH_ONE_BY_ONE = 1000  # slices asked for at once where there are no bulk operations
REPAIR_TRIES = 8  # rounds without a new outcome before we give up on what is missing
PUBLIC_GROUP = {
    "opaqueId": "WHhetL7mj1w1mw1XV6dxyC",
    "id": 1,
    "name": "Public Compute Group (open access)",
    "joinKey": "public",
    "joinHash": "",
}


class JobRun:
    """Deploys a job, or attaches to one, and follows it to its end.

    ``tell`` gets each record as it comes, ``state`` the names "deploying", "accepted", "uploading",
    "running"."""

    def __init__(
        self,
        spec: JobSpec,
        url: str,
        identity: Callable[[], Identity],
        collection: Collection,
        tell: Tell,
        state: Callable[[str], None],
        *,
        labels: Iterable[str] = (),
        attach: bool = False,
    ) -> None:
        self.spec = spec
        self.follower = Follower(spec.id, collection, tell)
        self._services: Services | None = None
        self._url = url
        self._identity = identity
        self._collection = collection
        self._state = state
        self._labels = set(labels)
        self._attach = attach
        self._changed = asyncio.Event()
        self._submitted = attach
        self._subscribed = False
        self._check = attach  # look whether something was missed
        self._cancelling: JobCancelled | None = None
        self._main: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until every slice has its outcome. Raises JobCancelled, DeployFailed, SchedulerGone, other
        DcpErrors."""
        self._main = asyncio.current_task()
        try:
            if self._cancelling is not None:
                raise self._cancelling
            identity = await asyncio.to_thread(self._identity)
            services = await Services.open(self._url, identity, self._on_request, self._on_lost)
            self._services = services
            if not self._attach:
                await self._deploy(services)
            self._state("running")
            await self._follow(services)
        except asyncio.CancelledError:
            if self._cancelling is not None:
                raise self._cancelling from None
            raise
        except BaseException as error:
            if self._submitted and not self._attach and not isinstance(error, JobCancelled | SchedulerGone):
                await self._give_up(f"the deployer failed: {error}")
            raise

    async def cancel(self, reason: str) -> None:
        """Cancel the job at the scheduler, then end ``run`` with JobCancelled."""
        self._cancelling = JobCancelled(self.spec.id, reason)
        try:
            if self._submitted:
                await self._cancel_job(reason)
        finally:
            if self._main is not None:
                self._main.cancel()

    async def summary(self) -> "JobSummary":
        """What the scheduler's list of jobs says about this one."""
        from .account import list_jobs

        if self._services is None or not self._submitted:
            raise ClientError(f"Job {self.spec.id} is not deployed yet.")
        try:
            for summary in await list_jobs(self._services, self.spec.id):
                return summary
        finally:
            if self._services.closing:  # the job is over, so this connection was opened for us alone
                await self._services.close()
        raise ClientError(f"The scheduler does not list job {self.spec.id}.")

    async def close(self) -> None:
        """Say goodbye to the services."""
        if self._services is not None:
            await self._services.close()

    async def listen(self, label: str) -> None:
        """Also get these events from now on."""
        if label not in self._labels:
            self._labels.add(label)
            if self._services is not None and self._subscribed:
                await self._subscribe(self._services, [], [label])

    # -- Deploying ----------------------------------------------------------------------------------------

    async def _deploy(self, services: Services) -> None:
        self._state("deploying")
        data = submission(self.spec, services.identity.payer.address)
        needed = ["eventRouter", "computeGroups"]
        if isinstance(self.spec.inputs, ValueInputs):
            needed.append("resultSubmitter")  # which hears that no more inputs come
        warm = asyncio.create_task(services.warm(*needed))
        try:
            answer = await services.call("jobSubmit", "submit@5", data, authorise=[services.identity.payer])
        except DcpError as error:
            raise DeployFailed(f"The scheduler did not take the job: {error}", code=error.code) from error
        finally:
            await warm
        self._submitted = True
        escrow = answer.get("escrow") if isinstance(answer, dict) else None
        logger.bind(job=self.spec.id).debug("Submitted, escrow {}", str(escrow)[:60])
        self._state("accepted")
        await self._subscribe_all(services)
        await self._join_groups(services)
        if isinstance(self.spec.inputs, ValueInputs):
            self._state("uploading")
            self._collection.finish(await self._upload(services, self.spec.inputs))
            await services.call("resultSubmitter", "closeJob", {"job": self.spec.id})

    async def _join_groups(self, services: Services) -> None:
        groups: list[dict[str, Any]] = [PUBLIC_GROUP]
        if self.spec.groups:
            from ..protocol.dcp.hashing import eh1

            dcpsid = (await services.connection("computeGroups")).dcpsid or ""
            groups = [
                {"joinKey": g.join_key, "joinHashHash": eh1(dcpsid + eh1(f"{g.join_key} {g.join_secret}"))}
                for g in self.spec.groups
            ]
        data = {"job": self.spec.id, "cgArray": groups}
        answer = await services.call("computeGroups", "addJobToGroups", data)
        if not isinstance(answer, dict) or not answer.get("success"):
            message = str(answer.get("message", ""))[:500] if isinstance(answer, dict) else ""
            raise DeployFailed(
                f"The job could not join its compute groups. {message}".strip(), code="DCPL-1100"
            )

    async def _upload(self, services: Services, inputs: ValueInputs) -> int:
        """Send the values in growing piles, encoding the next while one is on its way; return how many."""
        source = piles(inputs.values, encode_values, pile_rules(services.config.job))
        sent = 0
        pile = await asyncio.to_thread(_next, source)
        while pile is not None:
            _, following = await asyncio.gather(
                self._send_pile(services, pile, sent), asyncio.to_thread(_next, source)
            )
            sent += pile.count
            pile = following
        return sent

    async def _send_pile(self, services: Services, pile: Pile, sent: int) -> None:
        """Add slices once, also when the connection breaks and nobody knows whether they have arrived."""
        from ..protocol.dcp.initiator import ConnectionLost

        data = {"job": self.spec.id, "dataValues": pile.document}
        while True:
            try:
                await services.call("jobSubmit", "addSliceData", data, repeat=False)
                return
            except ConnectionLost:
                submit = submission(self.spec, services.identity.payer.address)
                answer = await services.call(  # repeated, it changes nothing and tells how long the job is
                    "jobSubmit", "submit@5", submit, authorise=[services.identity.payer]
                )
                last = answer.get("lastSliceNumber") if isinstance(answer, dict) else None
                if last == sent + pile.count:
                    return
                if last != sent:
                    raise DeployFailed(
                        f"The connection broke while inputs were uploaded, and the scheduler has {last} "
                        f"slices instead of {sent} or {sent + pile.count}."
                    ) from None

    # -- Following ----------------------------------------------------------------------------------------

    async def _follow(self, services: Services) -> None:
        while True:
            self._changed.clear()
            if self.follower.cancelled is not None:
                raise self.follower.cancelled
            if self._collection.complete:
                await self._hear_out()
                return
            if not self._subscribed:
                await self._subscribe_all(services)
            if self.follower.ended:
                await self._repair(services)
            elif self._check or self.follower.behind:
                self._check = self.follower.behind = False
                while await self._fetch(services):
                    pass
            else:
                try:
                    await asyncio.wait_for(self._changed.wait(), RECHECK_S * random.uniform(0.8, 1.2))
                except TimeoutError:
                    self._check = True

    async def _hear_out(self) -> None:
        """What sandboxes told their job's owner travels apart from results, and may come a little later."""
        if not self._subscribed or SPOKEN.isdisjoint(self._labels):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while True:
                    self._changed.clear()
                    await asyncio.wait_for(self._changed.wait(), QUIET_S)

    async def _subscribe_all(self, services: Services) -> None:
        self._subscribed = True
        results = "results" if services.config.bulk >= BULK else "result"
        await self._subscribe(services, ["stop", "nofunds"], [results, *sorted(self._labels)])

    async def _subscribe(self, services: Services, reliable: list[str], optional: list[str]) -> None:
        await services.call(
            "eventRouter",
            "subscribeMany",
            {
                "reliableEvents": reliable,
                "optionalEvents": optional,
                "options": {"filter": {"job": self.spec.id}},
            },
        )

    async def _on_request(self, operation: str, data: Any) -> Any:
        if operation != "event":
            raise ClientError(f"A deployer has no operation {operation[:50]!r}.", code="ENOSYS")
        self.follower.on_event(data.get("event") if isinstance(data, dict) else None)
        self._changed.set()
        return "success"

    def _on_lost(self, service: str) -> None:
        """A session is over. With that of the events went the subscriptions, and events meanwhile."""
        if service == "eventRouter":
            self._subscribed = False
            self._check = True
            self._changed.set()

    async def _repair(self, services: Services) -> None:
        """The job is over: fetch every outcome that was not told."""
        for attempt in range(REPAIR_TRIES):
            if attempt:
                await asyncio.sleep(min(2.0, 0.05 * 2**attempt))
            while self._collection.missing() and await self._fetch(services):
                pass
            if self._collection.complete:
                return
        runs = self._collection.missing()
        raise ClientError(
            f"Job {self.spec.id} is finished, but the scheduler has no results for "
            f"{sum(count for _, count in runs)} slices from {runs[0][0]} on.",
            code="ERESULTS",
        )

    async def _fetch(self, services: Services) -> int:
        """Fetch outcomes that are missing here and there at the scheduler; return how many came."""
        owner = services.identity.owner.address
        missing = self._collection.missing(unbounded=True)
        data: dict[str, Any] = {"job": self.spec.id, "owner": owner}
        if services.config.bulk >= BULK:
            data["runs"] = [list(run) for run in missing[:FETCH_RUNS]]
            answer = await services.call("resultSubmitter", "fetchResults@1", data)
            return self.follower.take_runs(answer)
        if self._collection.total is None:
            return 0  # one by one, there is no way to ask for what is there
        data["range"] = list(_first_numbers(missing, FETCH_ONE_BY_ONE))
        answer = await services.call("resultSubmitter", "fetchResult", data)
        return self.follower.take_uris(answer)

    # -- Ending -------------------------------------------------------------------------------------------

    async def _cancel_job(self, reason: str) -> None:
        if self._services is None:
            return
        owner = self._services.identity.owner.address
        data = {"job": self.spec.id, "owner": owner, "reason": reason[:500]}
        await self._services.call("jobSubmit", "cancelJob", data)

    async def _give_up(self, reason: str) -> None:
        try:
            await asyncio.wait_for(self._cancel_job(reason), 5)
        except (DcpError, TimeoutError, OSError) as error:
            logger.bind(job=self.spec.id).warning("The job could not be cancelled: {}", error)


def encode_values(values: list[Any]) -> tuple[Any, int]:
    """The KVIN document of an array of inputs, and how long its JSON text is."""
    from ..protocol.dcp import kvin
    from ..protocol.dcp.json_text import dumps

    document = kvin.marshal(values)
    return document, len(dumps(document))


def _next(source: Iterator[Pile]) -> Pile | None:
    return next(source, None)


def _first_numbers(runs: list[tuple[int, int]], most: int) -> Iterator[int]:
    for first, count in runs:
        yield from range(first, first + min(count, most))
        most -= count
        if most <= 0:
            return
