"""What the configuration says to a deployer, read only when there is some: a small program should start
fast."""

import os
from pathlib import Path

from .errors import ClientError
from .identity import resource_dir

DEFAULT_SCHEDULER = "http://127.0.0.1:9080/"
_OURS = ("DCP_CLIENT_IDENTITY_KEYSTORE", "DCP_CLIENT_PAYMENT_KEYSTORE", "DCP_PATHS_RESOURCE_DIR")


def scheduler_url(given: str | None = None) -> str:
    """The scheduler to talk to: what was given, else $DCP_SCHEDULER_LOCATION, else what config files say.

    Raises ClientError for what is no http address, ConfigError for configuration that makes no sense.
    """
    url = given or os.environ.get("DCP_SCHEDULER_LOCATION")
    if not url:
        url = DEFAULT_SCHEDULER
        if _configured():
            from ..config.layers import load

            url = load().settings.scheduler.location
    if not url.startswith(("http://", "https://")):
        raise ClientError(f"The scheduler's address {url!r} is no http(s) URL such as {DEFAULT_SCHEDULER}")
    return url


def keystore_paths() -> tuple[Path | None, Path | None]:
    """The keystores of owner and payer that the configuration names, if any."""
    if not _configured():
        return None, None
    from ..config.layers import load

    client = load().settings.client
    return client.identity_keystore, client.payment_keystore


def _configured() -> bool:
    """Whether there is any configuration besides the defaults; the places are those of ``config.layers``."""
    files = (
        Path(os.environ.get("DCP_ETCDIR") or "/etc") / "dcp" / "config.toml",
        resource_dir() / "config.toml",
        Path("dcp.toml"),
    )
    return any(name in os.environ for name in _OURS) or any(file.exists() for file in files)
