"""``dcp-worker``: supervisor, result uploader and wallet; it starts an evaluator host unless told not to."""

import os
from typing import TYPE_CHECKING

import click

from . import errors
from .options import common, flags_as_environment, scheduler_option, setting

if TYPE_CHECKING:
    from ..actors.worker import WorkerSettings
    from ..config.layers import Loaded
    from ..config.model import Settings

YES = {"is_flag": True, "flag_value": "true"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@scheduler_option
@setting(
    "worker.payment_address",
    "--payment-address",
    "--paymentAddress",
    metavar="ADDRESS",
    text="Account that earnings go to; default.keystore's otherwise, which is made on first use.",
)
@setting(
    "worker.cores",
    "-c",
    "--cores",
    metavar="CPU[,GPU]",
    text='Cores and GPUs of this box to use: "7", "7,1", ",1"; an empty part means all.',
)
@setting(
    "worker.utilization",
    "-u",
    "--utilization",
    metavar="CPU[,GPU]",
    text='Share of them that may be busy, 0 to 1 each: "0.8,0.75".',
)
@setting(
    "worker.max_sandboxes",
    "-m",
    "--max-sandboxes",
    "--maxSandboxes",
    metavar="N",
    text="At most so many sandboxes at once on this box.",
)
@setting(
    "worker.compute_groups",
    "-g",
    "--join",
    multiple=True,
    metavar="KEY,SECRET",
    text="Work for this compute group too (repeatable). Better in a configuration file: ps shows arguments.",
)
@setting(
    "worker.leave_public_group",
    "--leave-public-group",
    "--leavePublicGroup",
    text="Do not work for the public compute group.",
    **YES,
)
@setting(
    "worker.job_ids",
    "-j",
    "--job-id",
    multiple=True,
    metavar="JOB",
    text="Work only for this job (repeatable).",
)
@setting(
    "worker.evaluator_hosts",
    "--evaluator-hosts",
    metavar="tcp://ADDR:PORT",
    text="Let evaluator hosts of other boxes attach here; `dcp host` says which may.",
)
@setting(
    "worker.start_local_host",
    "--no-local-host",
    is_flag=True,
    flag_value="false",
    text="Start no evaluator host on this box.",
)
@setting(
    "evaluator_host.allow_weaker_sandbox",
    "--allow-weaker-sandbox",
    multiple=True,
    metavar="LAYER",
    text="Run although this layer of confinement is missing here; see `dcp-evaluator-start --check`.",
)
@setting("worker.data", "--data", metavar="DIR", text="Where results wait for delivery.")
@common("dcp-worker")
def command(loaded: "Loaded") -> int:
    """Earn: fetch slices from a scheduler, compute them in V8 sandboxes, here and elsewhere, deliver results.

    The first Ctrl-C (or SIGTERM) lets running slices finish, delivers and leaves; a second one leaves at
    once, and the next start delivers what was left.
    """
    from ..actors.worker import run_worker

    os.umask(0o077)  # what others have computed or are paid for is nobody's business on this box
    # The local evaluator host is a program that reads the same configuration; flags reach it this way.
    os.environ.update(flags_as_environment(loaded))
    return run_worker(worker_settings(loaded.settings))


def worker_settings(settings: "Settings") -> "WorkerSettings":
    """What the worker wants to know, out of all settings."""
    from ..actors.worker import WorkerSettings

    given = settings.worker
    groups = tuple(pair.split(",", 1) for pair in given.compute_groups)
    wage = (given.minimum_wage_cpu, given.minimum_wage_gpu, given.minimum_wage_in, given.minimum_wage_out)
    cpu, gpu, coming, going = (float(amount) for amount in wage)
    return WorkerSettings(
        scheduler=settings.scheduler.location,
        data_dir=settings.worker_data,
        resource_dir=settings.paths.resource_dir,
        evaluator_hosts=given.evaluator_hosts,
        host_key_file=settings.supervisor_key_file,
        authorised_hosts=settings.authorised_hosts,
        start_local_host=given.start_local_host,
        cores=given.cores.cpu,
        max_sandboxes=given.max_sandboxes,
        payment_address=given.payment_address,
        compute_groups=tuple((key, secret) for key, secret in groups),
        leave_public_group=given.leave_public_group,
        job_ids=given.job_ids,
        minimum_wage=(cpu, gpu, coming, going),
        prefetch_s=given.prefetch,
        watch_s=given.poll_max,
        host_lost_after_s=given.host_lost_after,
        durable=given.synchronous == "full",
        outbox_max_bytes=given.outbox_max,
        stop_within_s=given.cleanup_timeout,
    )


def main() -> None:
    errors.run(command, "dcp-worker")


if __name__ == "__main__":
    main()
