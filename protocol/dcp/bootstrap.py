"""A scheduler's configuration: the KVIN document at ``etc/dcp-config.kvin`` that every peer reads first.

It tells where the services are. Version 2.1.0 of the document is KVIN v9, 2.0.0 is KVIN v8 for 4.x peers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from yarl import URL

from ...errors import DcpError

PATH = "/etc/dcp-config.kvin"
BULK = 1
"""The version of the bulk operations that our scheduler has, as ``scheduler.bulk`` in the document."""

_VERSIONS = {"2.1.0": "v9", "2.0.0": "v8"}
_MAX_SIZE = 4 * 1024 * 1024  # bytes
_MAX_REDIRECTS = 20
_ELSEWHERE = (
    "bankTeller",
    "packageManager",
)  # services that stand outside scheduler.services in the document
_UPLOADS = {
    "maxDeployTime": 3600,
    "deployAttempts": 2,
    "sliceUploadErrorTolerance": 2,
    "uploadSlicesTarget": 1_000_000,
    "uploadSlicesCeiling": 5_000_000,
    "uploadInitialNumberOfSlices": 10,
    "uploadIncreaseFactor": 2,
}


class ConfigError(DcpError):
    """There is no scheduler configuration at an address, or it cannot be used."""

    code = "ECONFIG"
    exit_status = 3


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """What a scheduler says of itself."""

    location: str
    services: Mapping[str, str]  # service name -> location; bankTeller and packageManager are among them
    bulk: int = 0  # version of the bulk operations, 0 for none
    job: Mapping[str, Any] = field(default_factory=dict)  # numbers for slice uploads, as in the document
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)  # all of it, as plain values


def config_document(base_url: str, services: Mapping[str, str], version: str = "2.1.0") -> str:
    """Print the document that a scheduler serves at PATH.

    ``base_url`` is where peers reach the scheduler, with a slash at its end; ``services``: names and paths,
    such as ``{"jobSubmit": "/job-submit/"}``; ``version`` is what the peer asks for with ``?ver=``.
    """
    from . import kvin

    base = URL(base_url)

    def location(path: str) -> dict[str, Any]:
        return {"location": kvin.DcpUrl(str(base.join(URL(path.lstrip("/")))))}

    def service(name: str) -> dict[str, Any]:
        # 5.x programs insist on an address for each service that they know, whether they use it or not.
        return location(services.get(name, f"/{name}/"))

    names = dict.fromkeys([*services, "pheme", "jnu"])
    document = {
        "scheduler": {
            **location("/"),
            "bulk": BULK,
            "compatibility": {"minimum": {"dcp": "^5.0.0"}, "operations": {"work": "4.0.0"}},
            "worker": {"types": ["v4", "v3"], "operations": "1.0.0"},
            "services": {name: service(name) for name in names if name not in _ELSEWHERE},
        },
        "bank": {**location("/bank/"), "services": {"bankTeller": service("bankTeller")}},
        "packageManager": service("packageManager"),
        "portal": location("/portal/"),
        "pxAuth": location("/px-auth/"),
        "oAuth": {**location("/oauth/"), "identityIntegration": False},
        "cdn": location("/cdn/"),
        "eventSubscriber": {"seenListSize": 100},
        "job": _UPLOADS,
    }
    return kvin.serialize(document, _VERSIONS.get(version, "v9"))


def read_config(text: str | bytes, base_url: str = "") -> SchedulerConfig:
    """Read the document. Raises ConfigError when it is not one."""
    from . import kvin

    try:
        document = _plain(kvin.deserialize(text))
    except DcpError as error:
        raise ConfigError(
            f"{base_url} is no DCP scheduler: its configuration cannot be read ({error})"
        ) from None
    scheduler = _section(document, "scheduler")
    if not scheduler:
        raise ConfigError(f"{base_url} is no DCP scheduler: its configuration has no part 'scheduler'")
    found = {**_section(scheduler, "services"), **_section(_section(document, "bank"), "services")}
    found["packageManager"] = document.get("packageManager")
    services = {
        name: entry["location"]
        for name, entry in found.items()
        if isinstance(entry, Mapping) and _is_location(entry.get("location"))
    }
    bulk, location = scheduler.get("bulk"), scheduler.get("location")
    return SchedulerConfig(
        location=str(location) if _is_location(location) else base_url,
        services=MappingProxyType(services),
        bulk=bulk if type(bulk) is int and bulk > 0 else 0,
        job=MappingProxyType(dict(_section(document, "job"))),
        document=MappingProxyType(document),
    )


async def fetch_config(url: str, *, version: str = "2.1.0", timeout: float = 20.0) -> SchedulerConfig:
    """Get the configuration of the scheduler at an address. Raises ConfigError, which says what to do."""
    import aiohttp

    try:
        location = URL(url)
    except ValueError as error:
        raise ConfigError(f"{url} is no address of a scheduler: {error}") from None
    if location.scheme not in ("http", "https") or not location.host:
        raise ConfigError(f"{url} is no address of a scheduler: it must look like https://host/")
    limits = aiohttp.ClientTimeout(total=timeout)
    try:
        async with aiohttp.ClientSession(timeout=limits, raise_for_status=False) as session:
            body = await _get(session, location.origin().with_path(PATH).with_query(ver=version), url)
    except TimeoutError:
        raise ConfigError(f"the scheduler at {url} does not answer within {timeout:g} seconds") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ConfigError(
            f"the scheduler at {url} cannot be reached: {error}; is it running, and is the address right?"
        ) from None
    return read_config(body, url)


async def _get(session: Any, address: URL, url: str) -> bytes:
    for _ in range(_MAX_REDIRECTS + 1):
        async with session.get(address, allow_redirects=False) as response:
            if response.status in (301, 302, 303, 307, 308):
                target = URL(response.headers.get("location", ""))
                if target.scheme not in ("http", "https") or not target.host:
                    raise ConfigError(
                        f"{url} redirects to {str(target)[:200]!r}, which is no absolute http address"
                    )
                address = target.with_query(address.query)
                continue
            if response.status != 200:
                raise ConfigError(
                    f"{url} is no DCP scheduler: it answers {address.path} with {response.status}; "
                    "is the address right?"
                )
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > _MAX_SIZE:
                    raise ConfigError(
                        f"{url} is no DCP scheduler: its configuration is larger than {_MAX_SIZE} bytes"
                    )
            return bytes(body)
    raise ConfigError(f"{url} redirects more than {_MAX_REDIRECTS} times")


def _plain(value: Any) -> Any:
    """URLs become strings; everything else that matters is plain already."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    href = getattr(value, "href", None)
    return href if isinstance(href, str) else value


def _section(parent: Any, name: str) -> Mapping[str, Any]:
    section = parent.get(name) if isinstance(parent, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def _is_location(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))
