"""``dcp host``: which evaluator hosts may attach to the worker of this box."""

import json
from typing import TYPE_CHECKING

import click

from .options import common, json_option

if TYPE_CHECKING:
    from ..config.layers import Loaded
    from ..config.model import Settings
    from ..protocol.curve import AuthorisedHosts, CurveKey


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Say which evaluator hosts may attach to the worker of this box.

    A host on another box is started with `dcp-evaluator-manager --supervisor tcp://... --supervisor-key
    KEY`. It then prints the `dcp host authorise` command that is to be run here. All of this works while
    the worker runs.
    """


@command.command()
@click.option("--of-host", is_flag=True, help="The key of this box's evaluator host, not the worker's.")
@common("dcp-worker")
def key(loaded: "Loaded", of_host: bool) -> None:
    """Print the public key of this box's worker, for --supervisor-key of its hosts; made on first use."""
    from ..protocol.curve import CurveKey

    pair = (
        CurveKey.load_or_create(loaded.settings.host_key_file) if of_host else supervisor_key(loaded.settings)
    )
    click.echo(pair.public)


@command.command()
@click.argument("public_key", metavar="KEY")
@click.option("--name", default="", help="What to call the host.")
@common("dcp-worker")
def authorise(loaded: "Loaded", public_key: str, name: str) -> None:
    """Let the host with this public key (or the file that holds it) attach."""
    from ..protocol.curve import parse_key

    hosts = authorised_hosts(loaded.settings)
    hosts.authorise(public_key, name)
    click.echo(f"{hosts.all()[parse_key(public_key)]} may attach")


@command.command()
@click.argument("key_or_name", metavar="KEY|NAME")
@common("dcp-worker")
def revoke(loaded: "Loaded", key_or_name: str) -> None:
    """Take the permission back; a host that is attached is not heard any more."""
    for revoked in authorised_hosts(loaded.settings).revoke(key_or_name):
        click.echo(f"{revoked} may no longer attach")


@command.command(name="list")
@json_option
@common("dcp-worker")
def list_hosts(loaded: "Loaded", as_json: bool) -> None:
    """List the hosts that may attach."""
    hosts = authorised_hosts(loaded.settings).all()
    if as_json:
        click.echo(json.dumps([{"name": name, "key": key} for key, name in hosts.items()]))
    else:
        for public, name in sorted(hosts.items(), key=lambda item: item[1]):
            click.echo(f"{public}  {name}")


def supervisor_key(settings: "Settings") -> "CurveKey":
    """The key pair of this box's worker; made on first use."""
    from ..protocol.curve import CurveKey

    return CurveKey.load_or_create(settings.supervisor_key_file)


def authorised_hosts(settings: "Settings") -> "AuthorisedHosts":
    """The hosts that may attach to this box's worker."""
    from ..protocol.curve import AuthorisedHosts

    return AuthorisedHosts(settings.authorised_hosts)
