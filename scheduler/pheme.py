"""What has become of a deployer's jobs: ``listJobs``."""

from typing import Annotated, Any

from pydantic import Field

from .core import Call, Core, Form, Operations, read
from .job_submit import must_own
from .store import jobs, ledger
from .store.jobs import Job


class ListJobs(Form):
    job: str | None = None
    statuses: Annotated[list[str], Field(max_length=100)] | None = None
    startDeployTime: float | None = None  # noqa: N815  # ms since 1970
    endDeployTime: float | None = None  # noqa: N815


def summary(job: Job) -> dict[str, Any]:
    """A job as its owner sees it in a list. Times are milliseconds since 1970."""
    return {
        "job": job.id,
        "address": job.address,
        "status": job.status.value,
        "totalSlices": job.total,
        "completedSlices": job.done,
        "failedSlices": job.failed,
        "distributedSlices": job.total - job.pending,
        "slicePayment": ledger.in_dcc(job.slice_price),
        "deployTime": int(job.created * 1000),
        "endTime": None if job.ended is None else int(job.ended * 1000),
    }


def wanted(request: ListJobs, job: Job) -> bool:
    """Whether a job is among those that were asked for."""
    deployed = job.created * 1000
    return (
        (request.statuses is None or job.status.value in request.statuses)
        and (request.startDeployTime is None or deployed >= request.startDeployTime)
        and (request.endDeployTime is None or deployed <= request.endDeployTime)
    )


def operations(core: Core) -> Operations:
    """The operations of this service by their names on the wire."""

    async def list_jobs(call: Call) -> Any:
        request = read(ListJobs, call.data)
        owner = str(call.peer.owner)
        key = request.job
        if key is not None:
            found = [
                await core.store.read(lambda connection: must_own(connection, key, owner, *call.vouched))
            ]
        else:
            found = await core.store.read(lambda connection: jobs.of_owner(connection, owner))
        return [summary(job) for job in found if wanted(request, job)]

    return {"listJobs": list_jobs}
