"""``compute_for``: make a job out of inputs and a work function."""

import sys
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, overload

from loguru import logger

from .course import OnErrors
from .errors import ClientError
from .identity import Identity, load_identity
from .inputs import NoInputs, RangeObject, inputs_of
from .job import Job, renamed
from .settings import keystore_paths, scheduler_url
from .spec import (
    KVIN_V9,
    ComputeGroup,
    Groups,
    JobSpec,
    Offer,
    SpecError,
    checked_offer,
    new_job_id,
)
from .work import JsFile, work_source

if f"{(__package__ or '').partition('.')[0]}.cli.logs" not in sys.modules:
    # A library is quiet in somebody else's program: loguru.logger.enable("dcp_worker") lets it speak.
    logger.disable((__package__ or "").partition(".")[0])


Work = str | JsFile | Path


@overload
def compute_for(
    inputs: Iterable[Any] | RangeObject, work: Work, arguments: Sequence[Any] = (), /, **options: Any
) -> Job: ...


@overload
def compute_for(
    start: float, end: float, work: Work, arguments: Sequence[Any] = (), /, **options: Any
) -> Job: ...


@overload
def compute_for(
    start: float, end: float, step: float, work: Work, arguments: Sequence[Any] = (), /, **options: Any
) -> Job: ...


def compute_for(*positional: Any, **options: Any) -> Job:
    """Make a job that computes ``work`` once for each input. Nothing is deployed before you wait for it.

    ``compute_for(inputs, work[, arguments])`` with a list, any iterable or generator (read as it is uploaded), a
    Python ``range`` or a RangeObject; or ``compute_for(start, end[, step], work[, arguments])`` as in
    JavaScript, where ``end`` is included. ``work`` is the source text of a JavaScript function (or a JsFile, or
    a path), which is called with an input and then the arguments. Inputs, arguments and results may be whatever
    KVIN can carry: numbers, text, lists, dicts, bytes, dates, sets, …

    Options: ``name``, ``description``, ``link``; ``scheduler`` (URL; else $DCP_SCHEDULER_LOCATION, else the config
    files); ``slice_payment`` (DCC for each slice, or MarketValue(factor)); ``compute_groups`` ((join key, join
    secret) pairs; else the public group); ``worktime`` (name, version range); ``requirements`` (capability bits
    of the wire); ``use_strict``; ``identity_keystore``, ``payment_keystore``, ``passphrase``; ``errors``
    ("raise" or "return" those of slices); ``progress`` (True, False, or None for a bar on terminals only);
    ``keep`` (False: results that were iterated over are not kept, for jobs larger than memory)."""
    inputs, work, arguments = _sorted_out(positional)
    return _job(inputs, work, arguments, **options)


def _sorted_out(given: tuple[Any, ...]) -> tuple[Any, Any, Sequence[Any]]:
    numbers = 0
    while numbers < min(3, len(given)) and _is_number(given[numbers]):
        numbers += 1
    if numbers == 1 or len(given) < max(2, numbers + 1) or len(given) > max(numbers, 1) + 2:
        raise ClientError(
            "Call compute_for(inputs, work), compute_for(start, end, work) or compute_for(start, end, "
            "step, work), "
            "each with a list of further arguments of the work function behind it if need be."
        )
    if numbers:
        start, end = given[:2]
        step = given[2] if numbers == 3 else (1 if start <= end else -1)
        inputs: Any = RangeObject(start, end, step)
    else:
        numbers, inputs = 1, given[0]
    arguments = given[numbers + 1] if len(given) > numbers + 1 else ()
    if isinstance(arguments, str | bytes) or not isinstance(arguments, Sequence):
        raise SpecError("The arguments of a work function come as one list or tuple.")
    return inputs, given[numbers], arguments


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _job(
    inputs: Any,
    work: Any,
    arguments: Sequence[Any],
    *,
    name: str = "",
    description: str = "",
    link: str = "",
    scheduler: str | None = None,
    slice_payment: Offer | Decimal | None = None,
    compute_groups: Groups = (),
    worktime: tuple[str, str] = ("map-basic", "^1.0.0"),
    requirements: int = 0,
    use_strict: bool = False,
    identity_keystore: str | Path | None = None,
    payment_keystore: str | Path | None = None,
    passphrase: str = "",
    errors: OnErrors = "raise",
    progress: bool | None = None,
    keep: bool = True,
) -> Job:
    if errors not in ("raise", "return"):
        raise SpecError(f'errors must be "raise" or "return", not {errors!r}.')
    spec = JobSpec(
        source=work_source(work),
        inputs=inputs_of(inputs),
        arguments=tuple(arguments),
        id=new_job_id(),
        name=name,
        description=description,
        link=link,
        payment=checked_offer(slice_payment),
        groups=tuple(
            group if isinstance(group, ComputeGroup) else ComputeGroup(*group) for group in compute_groups
        ),
        worktime=worktime,
        requirements=requirements | KVIN_V9,
        use_strict=use_strict,
        worker_console=False,
    )
    return Job(
        renamed(spec),
        scheduler_url(scheduler),
        _identity(identity_keystore, payment_keystore, passphrase),
        errors=errors,
        progress=progress,
        keep=keep,
    )


def attach(
    job_id: str,
    *,
    scheduler: str | None = None,
    identity_keystore: str | Path | None = None,
    payment_keystore: str | Path | None = None,
    passphrase: str = "",
    errors: OnErrors = "raise",
    progress: bool | None = None,
    keep: bool = True,
) -> Job:
    """See ``Job.attach``."""
    if not (8 <= len(job_id) <= 64 and job_id.isascii() and job_id.isalnum()):
        raise SpecError(f"{job_id[:80]!r} is no job id; a job id has 22 letters and digits.")
    return Job(
        renamed(JobSpec(source="", inputs=NoInputs(), id=job_id)),
        scheduler_url(scheduler),
        _identity(identity_keystore, payment_keystore, passphrase),
        errors=errors,
        progress=progress,
        keep=keep,
        attached=True,
    )


def _identity(owner: str | Path | None, payer: str | Path | None, passphrase: str) -> Callable[[], Identity]:
    """How to load the keystores, when the time comes: unlocking takes a moment, and a thread has it."""
    usual_owner, usual_payer = keystore_paths()
    return lambda: load_identity(
        Path(owner).expanduser() if owner else usual_owner,
        Path(payer).expanduser() if payer else usual_payer,
        passphrase=passphrase,
    )


__all__ = ["attach", "compute_for"]
