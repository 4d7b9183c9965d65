"""Who deploys and who pays: two keystore files, made on first use in the folder where npm tools keep
theirs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ClientError

if TYPE_CHECKING:
    from ..protocol.dcp.signature import PrivateKey
    from ..protocol.dcp.signer import Signer


class IdentityError(ClientError):
    """A keystore cannot be used."""

    code = "EKEYSTORE"


@dataclass(frozen=True, slots=True)
class Identity:
    """The signers of a deployer."""

    owner: "Signer"  # signs every message; owns the jobs
    payer: "Signer"  # the account that jobs are paid from


def resource_dir() -> Path:
    """Where keystores live: $DCP_RESOURCE_DIR, or $XDG_DATA_HOME/dcp, or ~/.dcp."""
    if os.environ.get("DCP_RESOURCE_DIR"):
        return Path(os.environ["DCP_RESOURCE_DIR"]).expanduser()
    if os.environ.get("XDG_DATA_HOME"):
        return Path(os.environ["XDG_DATA_HOME"]) / "dcp"
    return Path("~/.dcp").expanduser()


def load_identity(
    owner: Path | None = None, payer: Path | None = None, *, passphrase: str = "", folder: Path | None = None
) -> Identity:
    """Unlock the two keystores, ``id.keystore`` and ``default.keystore`` of the folder unless told otherwise.

    Those two are created when they are not there; a keystore that was named must exist. Raises IdentityError.
    """
    from ..protocol.dcp.signer import LocalSigner

    folder = folder or resource_dir()
    keys = []
    for named, usual in ((owner, "id"), (payer, "default")):
        path = named or folder / f"{usual}.keystore"
        keys.append(LocalSigner(_unlock(path, usual, passphrase, create=named is None)))
    return Identity(*keys)


def _unlock(path: Path, label: str, passphrase: str, *, create: bool) -> "PrivateKey":
    from ..protocol.dcp.keystore import KeystoreError, load_keystore, load_or_create

    if not create or path.exists():
        return load_keystore(path).unlock(passphrase)
    try:
        keystore, _ = load_or_create(path, label, passphrase)
    except KeystoreError as error:
        raise IdentityError(f"{error}. Name another folder with $DCP_RESOURCE_DIR.") from None
    except OSError as error:
        raise IdentityError(
            f"The keystore {path} cannot be created: {error.strerror}. "
            "Name another folder with $DCP_RESOURCE_DIR."
        ) from None
    return keystore.unlock(passphrase)
