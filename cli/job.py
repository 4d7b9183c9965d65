"""``dcp job``: what became of the jobs that you have deployed."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..errors import DcpError
from .options import common, json_option, scheduler_option

if TYPE_CHECKING:
    from ..client.account import JobSummary
    from ..client.services import Services
    from ..config.layers import Loaded


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """The jobs that you have deployed: those of the identity in id.keystore."""


@command.command("list")
@scheduler_option
@json_option
@common("dcp")
def show_list(loaded: "Loaded", as_json: bool) -> None:
    """List your jobs, with how many of their slices are done."""
    from ..client.account import list_jobs
    from .services import ask

    _print(ask(loaded, list_jobs), as_json)


@command.command()
@click.argument("job")
@scheduler_option
@json_option
@common("dcp")
def show(loaded: "Loaded", job: str, as_json: bool) -> None:
    """Show one job."""
    from ..client.account import list_jobs
    from .services import ask

    found = ask(loaded, lambda services: list_jobs(services, job))
    if not found:
        raise DcpError(f"you have no job {job}; see: dcp job list", code="ENOJOB")
    _print(found, as_json)


@command.command()
@click.argument("job")
@click.option("--reason", default="cancelled with dcp job cancel", help="What the job's listeners are told.")
@scheduler_option
@json_option
@common("dcp")
def cancel(loaded: "Loaded", job: str, reason: str, as_json: bool) -> None:
    """Cancel a job: no slice of it is given out any more, and what its escrow still holds comes back."""
    from .services import ask

    async def cancel_job(services: "Services") -> Any:
        owner = str(services.identity.owner.address)
        data = {"job": job, "owner": owner, "reason": reason[:1000]}
        return await services.call("jobSubmit", "cancelJob", data)

    answer = ask(loaded, cancel_job)
    status = str(answer.get("status", "cancelled")) if isinstance(answer, dict) else "cancelled"
    click.echo(json.dumps({"job": job, "status": status}) if as_json else f"{job}  {status}")


def _print(jobs: "list[JobSummary]", as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(job) for job in jobs], default=str))  # money as text, exactly
        return
    for job in jobs:
        failed = f", {job.failed} failed" if job.failed else ""
        click.echo(f"{job.id}  {job.status:<10} {job.done} of {job.total} slices done{failed}")
