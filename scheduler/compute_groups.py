"""Compute groups. So far there is the public one, which every job and every worker may join."""

from typing import Annotated, Any

from pydantic import Field

from .core import Call, Core, Form, Operations, read
from .job_submit import must_own

PUBLIC_KEY = "public"


class AddJobToGroups(Form):
    job: str
    cgArray: Annotated[list[dict[str, Any]], Field(max_length=1000)]  # noqa: N815


def refused_group(groups: list[dict[str, Any]]) -> str | None:
    """The name of the first group that a job cannot be added to, None when there is none."""
    for group in groups:
        if group.get("joinKey") != PUBLIC_KEY:
            return str(group.get("joinKey") or group.get("name") or group.get("id"))[:100]
    return None


def operations(core: Core) -> Operations:
    """The operations of this service. Failure is reported as on the reference wire: inside a success."""

    async def add_job_to_groups(call: Call) -> Any:
        request = read(AddJobToGroups, call.data)
        owners = (str(call.peer.owner), *call.vouched)
        job = await core.store.read(lambda connection: must_own(connection, request.job, *owners))
        core.events.deploying(job.id)
        refused = refused_group(request.cgArray)
        if refused is not None:
            return _failure(
                f"There is no compute group {refused!r} here: this scheduler has the public one only."
            )
        return {"success": True}

    async def not_yet(call: Call) -> Any:  # noqa: ARG001
        return _failure("This scheduler has the public compute group only; others cannot be made or changed.")

    later = ("createGroup", "changeGroup", "deleteGroup", "listJobs", "removeJob", "removeAllJobs")
    return {"addJobToGroups": add_job_to_groups, **dict.fromkeys(later, not_yet)}


def _failure(message: str) -> dict[str, Any]:
    return {"success": False, "message": message, "code": "ENOTSUPPORTED"}
