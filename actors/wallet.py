"""The wallet: holds the worker's keys, signs for the others, and never hands a private key out.

Two keystore files in the resource folder, made on first use: ``id.keystore`` (who this worker is) and
``default.keystore`` (the account that earns), both Ethereum V3 and interchangeable with the npm tools.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from loguru import logger

from ..errors import DcpError
from ..protocol.dcp.keystore import load_or_create
from ..protocol.dcp.signature import PrivateKey
from ..protocol.messages import Addresses, AddressesRequest, Signed, SignRequest, WalletRefused
from ..protocol.switchboard import Delivery, Switchboard
from .base import Actor, handles

FILES = {"identity": "id.keystore", "payment": "default.keystore"}


class WalletError(DcpError):
    """A keystore file cannot be made, read or unlocked."""

    code = "EWALLET"


def resource_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where keystores are: $DCP_RESOURCE_DIR, or ~/.dcp."""
    environment = os.environ if environment is None else environment
    given = environment.get("DCP_RESOURCE_DIR")
    return Path(given).expanduser() if given else Path.home() / ".dcp"


def load_or_create_key(folder: Path, key: str, passphrase: str = "") -> PrivateKey:
    """The key of the keystore file for ``key`` in the folder, which is made if it is not there."""
    path = folder / FILES[key]
    try:
        keystore, made = load_or_create(path, key, passphrase)
        if made:
            logger.info("made the {} keystore {} for address {}", key, path, keystore.address)
        elif path.stat().st_mode & 0o077:
            logger.warning("{} holds a private key and others may read it; run: chmod 600 {}", path, path)
        return keystore.unlock(passphrase)
    except OSError as error:
        raise WalletError(f"cannot use the {key} keystore {path}: {error.strerror or error}") from error


class Wallet(Actor):
    """Signs for actors of this process."""

    remote = False

    def __init__(self, switchboard: Switchboard, name: str, keys: Mapping[str, PrivateKey]) -> None:
        super().__init__(switchboard, name)
        self._keys = dict(keys)

    @handles(SignRequest)
    def on_sign_request(self, message: SignRequest, delivery: Delivery) -> None:
        """Sign bodies[0] with the key that is asked for."""
        key = self._keys.get(message.key)
        if key is None:
            delivery.reply(WalletRefused(f"there is no key named {message.key!r} in this wallet"))
        elif len(delivery.bodies) != 1:
            delivery.reply(WalletRefused("a request to sign comes with exactly one body, the message"))
        else:
            signature = key.sign(delivery.bodies[0])
            delivery.reply(Signed(signature.r, signature.s, signature.v))

    @handles(AddressesRequest)
    def on_addresses_request(self, _message: AddressesRequest, delivery: Delivery) -> None:
        """Say whose keys these are."""
        delivery.reply(Addresses(self._keys["identity"].address, self._keys["payment"].address))
