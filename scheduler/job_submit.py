"""Deploying jobs: ``submit@5``, ``addSliceData``, ``cancelJob``."""

import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.engine import Connection

from ..protocol.dcp.address import to_checksum
from ..protocol.dcp.data_uri import encode_uri
from ..protocol.dcp.js_json import dumps
from ..protocol.dcp.kvin import Url, unmarshal
from ..protocol.dcp.values import split_document
from .claims import inputs
from .core import Call, Core, Form, Operations, read
from .outcomes import News, end_if_over, must_find, well_formed
from .ranges import length_of
from .refusal import Refused
from .settings import SchedulerSettings
from .store import jobs, ledger, slices
from .store.jobs import Job, Status
from .store.runs import SliceRun, State
from .store.stretches import chunks

MOST_ARGUMENTS = 10_000
MOST_PRICE = 1e9  # DCC for one slice
JOB_ID = r"^[A-Za-z0-9]{8,64}$"
ADDRESS = r"^0x[0-9a-fA-F]{40}$"
PUBLIC_GROUP = {"opaqueId": "WHhetL7mj1w1mw1XV6dxyC", "id": 1}

Text = Annotated[str, Field(max_length=10_000)]
"""Text for people."""


class Worktime(Form):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    version: Annotated[str, Field(max_length=100)] = "*"
    custom: bool = False


class Submit(Form):
    """``submit@5``; the fields are the wire's own."""

    job: Annotated[str, Field(pattern=JOB_ID)]
    paymentAccount: Annotated[str, Field(pattern=ADDRESS)]  # noqa: N815
    workFunctionURI: Annotated[str, Field(min_length=1)]  # noqa: N815
    mvMultSlicePayment: Annotated[float, Field(ge=0, le=MOST_PRICE)] = 1.0  # noqa: N815
    absoluteSlicePayment: Annotated[float, Field(ge=0, le=MOST_PRICE)] = 0.0  # noqa: N815
    requirements: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    requirePath: list[Text] = []  # noqa: N815, RUF012
    modulePath: list[Text] = []  # noqa: N815, RUF012
    dependencies: list[Text] = []  # noqa: RUF012
    worktime: Worktime = Worktime(name="map-basic")
    name: Text = ""
    description: Text = ""
    link: Text = ""
    isOpen: bool = False  # noqa: N815
    localExec: bool | None = None  # noqa: N815
    discrete: bool | None = None
    useStrict: bool | None = None  # noqa: N815
    workerConsole: bool | None = None  # noqa: N815
    dataRange: Any = None  # noqa: N815
    rangeLength: Annotated[int, Field(ge=0)] | None = None  # noqa: N815
    dataPattern: Any = None  # noqa: N815
    marshaledDataValues: Any = None  # noqa: N815
    marshaledArguments: dict[str, Any] | None = None  # noqa: N815
    resultStorageType: str | None = None  # noqa: N815


class AddSliceData(Form):
    job: str
    dataValues: dict[str, Any]  # noqa: N815


class CancelJob(Form):
    job: str
    reason: str | None = None


def slice_price(submit: Submit, settings: SchedulerSettings) -> int:
    """What a slice pays, in 10^-18 DCC: the absolute price when there is one, else a multiple of the
    market's.
    """
    if submit.absoluteSlicePayment > 0:
        return ledger.attos(Decimal(repr(submit.absoluteSlicePayment)))
    return ledger.attos(Decimal(repr(submit.mvMultSlicePayment)) * settings.market_price)


def arguments_of(document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """``argumentsLocation`` for workers from the KVIN document of job values and URLs that deployers send."""
    if document is None:
        return []
    values = unmarshal(document)
    if not isinstance(values, list) or len(values) > MOST_ARGUMENTS:
        raise Refused("EINVAL", f"The arguments of a job must be a list of at most {MOST_ARGUMENTS} values.")
    return [{"argIndex": index, "value": _argument_uri(value)} for index, value in enumerate(values)]


def _argument_uri(value: Any) -> str:
    if isinstance(value, Url):
        return value.href
    if isinstance(value, Mapping) and isinstance(value.get("string"), str):
        mime = value.get("MIMEType")
        if isinstance(mime, str) and len(mime) < 100 and "," not in mime:
            return f"data:{mime},{encode_uri(value['string'])}"
    raise Refused(
        "EINVAL", "An argument of a job must be a URL or a serialised value (string, method, MIMEType)."
    )


def _counted(submit: Submit) -> tuple[int, dict[str, Any]]:
    """How many slices a range job has, and what its workers count through."""
    if isinstance(submit.dataRange, str) and submit.localExec:
        return submit.rangeLength or 0, {"MROLocation": submit.dataRange}
    text = encode_uri(dumps(submit.dataRange))
    return length_of(submit.dataRange), {"MROLocation": f"data:application/json,{text}"}


def _local_inputs(values: Any) -> list[Any]:
    """Addresses of inputs that only the deployer's own worker reads: ``{"0": "file://...", "length": n}``."""
    length = values.get("length") if isinstance(values, Mapping) else None
    if type(length) is not int or not 0 <= length <= 1_000_000 or len(values) > length + 10:
        raise Refused("EINVAL", "The inputs of a local job must be an array-like object of addresses.")
    uris = [values.get(str(index)) for index in range(length)]
    if not all(isinstance(uri, str) for uri in uris):
        raise Refused("EINVAL", "The inputs of a local job must be addresses.")
    return [{"uri": uri} for uri in uris]


def _refuse_unsupported(submit: Submit) -> None:
    if submit.dataPattern is not None:
        raise Refused(
            "ENOTSUPPORTED", "Inputs by URL pattern are not supported by this scheduler; send values."
        )
    if submit.resultStorageType not in (None, "values"):
        raise Refused(
            "ENOTSUPPORTED", "Results are stored by this scheduler only; leave resultStorageType out."
        )
    if submit.marshaledDataValues is not None and not submit.localExec:
        raise Refused("EINVAL", "Addresses as inputs are for local jobs; send values with addSliceData.")


def submit_job(
    connection: Connection,
    submit: Submit,
    arguments: list[dict[str, Any]],
    owner: str,
    settings: SchedulerSettings,
    now: float,
) -> dict[str, Any]:
    """Make a job and put its worst case into escrow. Repeated by the same deployer it changes nothing."""
    known = jobs.find(connection, submit.job)
    if known is not None:
        if known.owner != owner:
            raise Refused("EEXIST", f"There is a job {submit.job} already; choose another id.")
        return _submitted(known)
    _refuse_unsupported(submit)
    local_inputs = [] if submit.marshaledDataValues is None else _local_inputs(submit.marshaledDataValues)
    total, counted = (0, {}) if submit.dataRange is None else _counted(submit)
    if total > settings.max_slices:
        raise Refused("ETOOBIG", f"A job may have {settings.max_slices} slices, this one has {total}.")
    ranged = submit.dataRange is not None
    job = Job(
        id=submit.job,
        address=to_checksum(os.urandom(20)),
        owner=owner,
        payment_account=submit.paymentAccount,
        status=Status.RUNNING,
        closed=ranged or submit.marshaledDataValues is not None,
        total=0,
        pending=0,
        leased=0,
        done=0,
        failed=0,
        slice_price=slice_price(submit, settings),
        requirements=submit.requirements,
        worktime=submit.worktime.name,
        local_exec=bool(submit.localExec),
        ranged=ranged,
        created=now,
        ended=None,
        measured_slices=0,
        wall_ms=0.0,
        cpu_ms=0.0,
        gpu_ms=0.0,
        in_bytes=0.0,
        out_bytes=0.0,
    )
    jobs.create(connection, job, {**_document(submit, job, arguments), **counted})
    ledger.open_account(connection, submit.paymentAccount, ledger.attos(settings.opening_grant), now)
    ledger.open_account(connection, job.address)
    # npm dcp-client hears of a refused submit, but waits for ever after a refused upload.
    ledger.must_cover(connection, submit.paymentAccount, job.slice_price)
    if ranged and total:
        _reserve(connection, job, total, now)
        slices.set_runs(connection, job.id, [SliceRun(1, total, State.PENDING)])
    elif local_inputs:
        _append(connection, job, local_inputs, now)
    return _submitted(end_if_over(connection, job.id, now).job)


def _submitted(job: Job) -> dict[str, Any]:
    return {"escrow": job.address, "status": job.status.value, "lastSliceNumber": job.total}


def _document(submit: Submit, job: Job, arguments: list[dict[str, Any]]) -> dict[str, Any]:
    """The JOB that workers get, without what changes while it runs."""
    return {
        "jobId": job.id,
        "jobCgId": f"{job.id}-{PUBLIC_GROUP['id']}",
        "address": job.address,
        "codeLocation": submit.workFunctionURI,
        "argumentsLocation": arguments,
        "worktime": {"name": submit.worktime.name, "version": submit.worktime.version},
        "needCapabilities": submit.requirements,
        "requirePath": submit.requirePath,
        "modulePath": submit.modulePath,
        "dependencies": submit.dependencies,
        "public": {
            "name": submit.name,
            "description": submit.description,
            "link": submit.link,
            "computeGroups": [PUBLIC_GROUP],
        },
        "workerConsole": bool(submit.workerConsole),
        "localExec": bool(submit.localExec),
        "discrete": bool(submit.discrete),
        "useStrict": bool(submit.useStrict),
    }


def _reserve(connection: Connection, job: Job, count: int, now: float) -> None:
    """Put what ``count`` more slices cost at most into the job's escrow."""
    cost = job.slice_price * count
    ledger.post(connection, {job.payment_account: -cost, job.address: cost}, "escrow", job.id, now)


def _append(connection: Connection, job: Job, nodes: list[Any], now: float) -> int:
    first, last = job.total + 1, job.total + len(nodes)
    if nodes:
        _reserve(connection, job, len(nodes), now)
        inputs.add(connection, job.id, list(chunks(first, nodes)))
        slices.set_runs(connection, job.id, [SliceRun(first, last, State.PENDING)])
    return last


def add_slices(
    connection: Connection, key: str, nodes: list[Any], owner: str, settings: SchedulerSettings, now: float
) -> tuple[int, Job]:
    """Append inputs to a job. Returns the number of its last slice, and the job as it is now."""
    job = must_own(connection, key, owner)
    if job.closed or job.ranged:
        raise Refused("ECLOSED", f"Job {job.id} is closed and takes no more slices.")
    if job.total + len(nodes) > settings.max_slices:
        raise Refused("ETOOBIG", f"A job may have {settings.max_slices} slices.")
    last = _append(connection, job, nodes, now)
    return last, must_find(connection, job.id)


def must_own(connection: Connection, key: str, *owners: str) -> Job:
    """The job, when one of these addresses is its deployer or pays for it.

    Whoever is neither learns the same as if there were no such job.
    """
    job = jobs.find(connection, key)
    if job is None or not {job.owner, job.payment_account}.intersection(owners):
        raise Refused("ENOJOB", f"There is no job {key[:64]!r} of yours on this scheduler.")
    return job


def cancel_job(connection: Connection, key: str, reason: str, owners: tuple[str, ...], now: float) -> News:
    """End a job now; cancelling one that is over changes nothing."""
    job = must_own(connection, key, *owners)
    if job.status is not Status.RUNNING:
        return News(job)
    jobs.end(connection, job, Status.CANCELLED, now, reason, "ECANCELLED")
    return News(must_find(connection, job.id), ended=True)


def operations(core: Core) -> Operations:
    """The operations of this service by their names on the wire."""

    async def submit(call: Call) -> Any:
        request = read(Submit, call.data)
        if not call.speaks_for(to_checksum(bytes.fromhex(request.paymentAccount[2:]))):
            raise Refused(
                "EPAYAUTH",
                f"The owner of payment account {request.paymentAccount} has not signed this request.",
            )
        request = request.model_copy(
            update={"paymentAccount": str(to_checksum(bytes.fromhex(request.paymentAccount[2:])))}
        )
        arguments = arguments_of(request.marshaledArguments)
        owner = str(call.peer.owner)
        answer = await core.store.write(
            lambda connection: submit_job(connection, request, arguments, owner, core.settings, core.now())
        )
        core.work.announce()
        return answer

    async def add_slice_data(call: Call) -> Any:
        request = read(AddSliceData, call.data)
        nodes = split_document(request.dataValues)
        owner = str(call.peer.owner)
        last, job = await core.store.write(
            lambda connection: add_slices(connection, request.job, nodes, owner, core.settings, core.now())
        )
        core.tell(News(job, returned=len(nodes)))
        return {"lastSliceNumber": last}

    async def cancel(call: Call) -> Any:
        request = read(CancelJob, call.data)
        owners = (str(call.peer.owner), *call.vouched)
        reason = well_formed((request.reason or "The deployer cancelled the job.")[:1000])
        news = await core.store.write(
            lambda connection: cancel_job(connection, request.job, reason, owners, core.now())
        )
        core.tell(news)
        return {"job": news.job.id, "status": news.job.status.value}

    return {"submit@5": submit, "addSliceData": add_slice_data, "cancelJob": cancel}
