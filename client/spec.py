"""What a job is, before anybody has been told: the record that becomes the wire's ``submit`` operation."""

import math
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .errors import ClientError
from .inputs import InputSet, NoInputs, RangeObject

ID_LENGTH = 22
KVIN_V9 = 64  # capability bit of the wire: inputs and results are KVIN v9
V8 = 1
FDLIBM = 16
WEBGPU = 32
_ID_LETTERS = string.ascii_letters + string.digits


class SpecError(ClientError):
    """A job's description makes no sense."""

    code = "EJOB"


@dataclass(frozen=True, slots=True)
class MarketValue:
    """An offer to pay for each slice what the market says, times ``factor``."""

    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class ComputeGroup:
    """A private compute group, by what one needs to join it."""

    join_key: str
    join_secret: str


Offer = MarketValue | Decimal | float
Groups = Sequence[ComputeGroup | tuple[str, str]]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job. ``arguments`` follow the slice's input in each call of the work function."""

    source: str
    inputs: InputSet
    arguments: tuple[Any, ...] = ()
    id: str = ""
    name: str = ""
    description: str = ""
    link: str = ""
    payment: Offer = MarketValue()
    groups: tuple[ComputeGroup, ...] = ()  # none: the public group
    worktime: tuple[str, str] = ("map-basic", "^1.0.0")  # name, range of versions
    requirements: int = KVIN_V9
    use_strict: bool = False
    worker_console: bool = False

    @property
    def total(self) -> int | None:
        """How many slices the job has; None when that is known only when all inputs have been read."""
        if isinstance(self.inputs, RangeObject):
            return self.inputs.length
        return 0 if isinstance(self.inputs, NoInputs) else self.inputs.length


def new_job_id() -> str:
    """A fresh job id: 22 letters and digits, chosen by the deployer."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(ID_LENGTH))


def checked_offer(offer: object) -> Offer:
    """A payment offer that makes sense. Numbers are DCC for each slice. Raises SpecError."""
    if offer is None:
        return MarketValue()
    number = offer.factor if isinstance(offer, MarketValue) else offer
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        raise SpecError(f"A payment offer is DCC for each slice, or MarketValue(factor), not {offer!r}.")
    if not math.isfinite(number) or number < 0:
        raise SpecError(f"A payment offer must be a number from 0, not {number}.")
    return offer if isinstance(offer, MarketValue) else number


def submission(spec: JobSpec, payment_account: str) -> dict[str, Any]:
    """The data of ``submit@5`` for a job."""
    from ..protocol.dcp import kvin
    from ..protocol.dcp.data_uri import encode_data_uri

    market = isinstance(spec.payment, MarketValue)
    data: dict[str, Any] = {
        "paymentAccount": payment_account,
        "workFunctionURI": encode_data_uri(spec.source),
        "job": spec.id,
        "mvMultSlicePayment": spec.payment.factor if isinstance(spec.payment, MarketValue) else 0,
        "absoluteSlicePayment": 0 if market else _wire_number(spec.payment),
        "requirePath": [],
        "dependencies": [],
        "requirements": spec.requirements,
        "greedyEstimation": False,
        "workerConsole": spec.worker_console,
        "isOpen": False,
        "description": spec.description,
        "name": spec.name,
        "link": spec.link,
        "worktime": {"name": spec.worktime[0], "version": spec.worktime[1], "custom": False},
        "marshaledArguments": {
            "_serializeVerId": "v9",
            "what": {"raw": [_job_value(kvin.serialize(argument)) for argument in spec.arguments]},
        },
    }
    if spec.use_strict:
        data["useStrict"] = True
    if isinstance(spec.inputs, RangeObject):
        data["dataRange"] = spec.inputs.to_wire()
    return data


def _job_value(text: str) -> dict[str, str]:
    return {"string": text, "method": "kvin", "MIMEType": "application/x-kvin"}


def _wire_number(offer: Offer) -> float:
    return float(offer) if isinstance(offer, int | float | Decimal) else offer.factor
