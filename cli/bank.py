"""``dcp bank``: what is on your account."""

import json
from typing import TYPE_CHECKING

import click

from .options import common, json_option, scheduler_option, setting

if TYPE_CHECKING:
    from decimal import Decimal

    from ..client.services import Services
    from ..config.layers import Loaded


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Your account at the scheduler's bank: that of default.keystore."""


@command.command()
@setting(
    "client.payment_keystore",
    "--from",
    metavar="FILE",
    text="Keystore of the account, other than default.keystore.",
)
@scheduler_option
@json_option
@common("dcp")
def balance(loaded: "Loaded", as_json: bool) -> None:
    """Print how many DCC are on the account."""
    from ..client.account import balances
    from .services import ask

    async def look(services: "Services") -> "tuple[str, Decimal]":
        (amount,) = await balances(services, [services.identity.payer])
        return str(services.identity.payer.address), amount

    address, amount = ask(loaded, look)
    text = f"{amount:f}"
    if as_json:
        click.echo(json.dumps({"address": address, "balance": text, "unit": "DCC"}))
    else:
        click.echo(f"{address}  {text} DCC")
