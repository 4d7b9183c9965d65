"""dcp-evaluator-manager: the evaluator host of a box. It attaches to a worker and keeps its sandboxes."""

from typing import TYPE_CHECKING

import click

from . import errors
from .options import common, setting

if TYPE_CHECKING:
    from ..config.layers import Loaded
    from ..config.model import Settings
    from ..evaluator_host.daemon import HostSettings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@setting(
    "evaluator_host.supervisor",
    "--supervisor",
    metavar="ENDPOINT",
    text="The worker to attach to: tcp://ADDRESS:PORT, or ipc:///PATH on the same box.",
)
@setting(
    "evaluator_host.supervisor_key",
    "--supervisor-key",
    metavar="KEY|FILE",
    text="Public key of that worker, for tcp (`dcp host key` on its box prints it).",
)
@setting(
    "evaluator_host.key_file", "--key-file", metavar="FILE", text="This host's own key; made on first use."
)
@setting("evaluator_host.name", "--name", text="What operators see instead of the box's host name.")
@setting("evaluator_host.spares", "--spares", metavar="N", text="Sandboxes that are started ahead.")
@setting(
    "evaluator_host.progress_timeout",
    "--progress-timeout",
    metavar="DURATION",
    text="A slice that is silent for longer ends ENOPROGRESS.",
)
@setting(
    "evaluator_host.memory_per_sandbox",
    "--memory-per-sandbox",
    metavar="SIZE",
    text="Most memory that one sandbox may use.",
)
@setting(
    "evaluator_host.allow_weaker_sandbox",
    "--allow-weaker-sandbox",
    metavar="LAYER",
    multiple=True,
    text="Run although this layer of confinement is missing (repeatable); see `dcp-evaluator-start --check`.",
)
@setting("worker.cores", "-c", "--cores", metavar="CPU[,GPU]", text="Cores and GPUs that may be used.")
@setting("worker.utilization", "-u", "--utilization", metavar="CPU[,GPU]", text="Share of them, 0 to 1 each.")
@setting(
    "worker.max_sandboxes",
    "-m",
    "--max-sandboxes",
    "--maxSandboxes",
    metavar="N",
    text="At most so many sandboxes at once.",
)
@setting(
    "evaluator_host.max_load",
    "-l",
    "--max-load",
    metavar="SHARE",
    text="Leave room for other programs when the whole box is busier than this, 0 to 1.",
)
@click.option(
    "--exit-with-supervisor",
    "--exit-with-parent",
    "parent",
    is_flag=False,
    flag_value=0,
    type=int,
    metavar="[PID]",
    help="Leave when the process that started this one is gone; Ctrl-C is for that one then.",
)
@common("dcp-evaluator-manager")
def command(loaded: "Loaded", parent: int | None) -> int:
    """Offer this box's cores to a worker, here or on another box.

    Work functions run in sandboxes: V8 in a process without permissions, confined by the operating system.
    Over the network both sides prove who they are with keys; a host that attaches for the first time tells
    which command authorises it.
    """
    from ..evaluator_host.daemon import run_host

    return run_host(host_settings(loaded.settings, parent=parent))


def host_settings(settings: "Settings", *, parent: int | None = None) -> "HostSettings":
    """What an evaluator host wants to know, out of all settings."""
    import socket

    from ..actors.load import LoadSettings
    from ..actors.sandbox_limits import SandboxLimits
    from ..evaluator_host.confinement import Limits
    from ..evaluator_host.daemon import HostSettings

    given, worker = settings.evaluator_host, settings.worker
    if given.supervisor is None:
        raise click.UsageError("say which worker to attach to: --supervisor tcp://ADDRESS:PORT")
    utilization = worker.utilization
    return HostSettings(
        supervisor=given.supervisor,
        supervisor_key=given.supervisor_key or "",
        key_file=settings.host_key_file,
        name=given.name or socket.gethostname(),
        load=LoadSettings(
            cores=worker.cores.cpu,
            gpus=worker.cores.gpu or 0.0,
            utilization=1.0 if utilization.cpu is None else utilization.cpu,
            gpu_utilization=0.75 if utilization.gpu is None else utilization.gpu,
            max_sandboxes=worker.max_sandboxes,
            max_load=given.max_load,
        ),
        spares=given.spares,
        sandbox=SandboxLimits(progress_timeout_s=given.progress_timeout, start_timeout_s=given.start_timeout),
        evaluator=Limits(memory_mb=given.memory_per_sandbox >> 20),
        allow_weaker=frozenset(given.allow_weaker_sandbox),
        parent=parent,
    )


def main() -> None:
    errors.run(command, "dcp-evaluator-manager")


if __name__ == "__main__":
    main()
