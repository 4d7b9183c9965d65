"""``dcp``: one door for people. Each sub-command is a module of its own, imported only when called."""

import importlib

import click

from . import errors
from .options import version_option

COMMANDS = {
    "up": ("up", "Run scheduler, worker and evaluator host on this box until Ctrl-C."),
    "localexec": ("localexec", "Run a program against a private stack that lives as long as it does."),
    "job": ("job", "List, show and cancel the jobs that you have deployed."),
    "bank": ("bank", "Show what is on your account."),
    "host": ("host", "Authorise evaluator hosts of other boxes to attach to a worker."),
    "wallet": ("wallet", "Create keystores and show addresses."),
}
"""name: (module of this folder that has it as ``command``, one line of help)."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and line of help, and imports one when it is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@version_option
def command() -> None:
    """Run your own distributed computer.

    A deployer's program sends a job to a scheduler; workers fetch its slices and compute them in V8
    sandboxes.
    """


def main() -> None:
    errors.run(command, "dcp")


if __name__ == "__main__":
    main()
