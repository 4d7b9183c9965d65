"""``dcp wallet``: create keystores and show addresses."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DcpError
from .options import common, json_option

if TYPE_CHECKING:
    from ..config.layers import Loaded
    from ..protocol.dcp.keystore import Keystore


class WalletCommandError(DcpError):
    """A keystore cannot be made or read."""

    code = "EKEYSTORE"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Keystores: files with an encrypted private key, interchangeable with npm dcp tools and geth.

    NAME is the path of a file or a label; the usual labels are "id" (who you are) and "default" (the account
    that pays and earns).
    """


passphrase_file = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the passphrase from the first line of this file; without it you are asked.",
)


@command.command()
@click.argument("name")
@passphrase_file
@click.option("--no-passphrase", is_flag=True, help="Encrypt with the empty passphrase, for unattended use.")
@json_option
@common("dcp")
def create(
    loaded: "Loaded", name: str, passphrase_file: Path | None, no_passphrase: bool, as_json: bool
) -> None:
    """Make a new key and keep it in a new keystore file; an existing file is never replaced."""
    from ..protocol.dcp.keystore import Keystore

    path = _path(loaded, name)
    if path.exists():
        raise WalletCommandError(f"{path} exists already and is left as it is; choose another name")
    passphrase = "" if no_passphrase else _passphrase(passphrase_file, confirm=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        keystore = Keystore.create(path.stem, passphrase)
        keystore.save(path)
    except OSError as error:
        raise WalletCommandError(f"{path} cannot be written: {error.strerror}") from None
    _print(path, keystore, as_json)


@command.command()
@click.argument("name")
@click.option(
    "--show-private-key", is_flag=True, help="Print the private key too; whoever has it has the money."
)
@passphrase_file
@json_option
@common("dcp")
def show(
    loaded: "Loaded", name: str, show_private_key: bool, passphrase_file: Path | None, as_json: bool
) -> None:
    """Show the address of a keystore; that needs no passphrase."""
    from ..protocol.dcp.keystore import load_keystore

    path = _path(loaded, name)
    try:
        keystore = load_keystore(path)
    except OSError as error:
        raise WalletCommandError(f"{path} cannot be read: {error.strerror}") from None
    secret = ""
    if show_private_key:
        try:
            key = keystore.unlock("")
        except DcpError:
            key = keystore.unlock(_passphrase(passphrase_file, confirm=False))
        secret = "0x" + key.secret_bytes().hex()
    _print(path, keystore, as_json, secret)


def _path(loaded: "Loaded", name: str) -> Path:
    """Names with a slash are files; others are labels in the resource directory."""
    if "/" in name:
        return Path(name).expanduser()
    return loaded.settings.paths.resource_dir / f"{name.removesuffix('.keystore')}.keystore"


def _passphrase(file: Path | None, *, confirm: bool) -> str:
    if file is None:
        text: str = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=confirm, default="", err=True
        )
        return text
    try:
        with file.open(encoding="utf-8") as lines:
            return lines.readline().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WalletCommandError(f"the passphrase file {file} cannot be read: {error}") from None


def _print(path: Path, keystore: "Keystore", as_json: bool, secret: str = "") -> None:
    facts = {"address": str(keystore.address), "file": str(path)}
    if secret:
        facts["privateKey"] = secret
    if as_json:
        import json

        click.echo(json.dumps(facts))
    else:
        click.echo("\n".join(f"{name:<10} {value}" for name, value in facts.items()))
