"""Packages of modules. This scheduler stores none yet and says so."""

from typing import Any

from .core import Call, Core, Operations
from .refusal import Refused


def operations(core: Core) -> Operations:  # noqa: ARG001
    """The operations of this service by their names on the wire."""

    async def fetch_module_url(call: Call) -> Any:  # noqa: ARG001
        raise Refused("ENOENT", "This scheduler stores no packages, so it has no module of that name.")

    async def deploy_package(call: Call) -> Any:  # noqa: ARG001
        raise Refused(
            "ENOTSUPPORTED",
            "This scheduler stores no packages yet: put what the work function needs into its own source.",
        )

    return {"fetchModuleURL": fetch_module_url, "deployPackage": deploy_package}
