"""Watching jobs and speaking to their owners: ``subscribeMany``, ``subscribe``, ``unsubscribe``,
``workEmit``.
"""

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.engine import Connection

from ..protocol.dcp.js_json import dumps
from .core import Call, Core, Form, Operations, read
from .job_submit import must_own
from .outcomes import News, failures_in, must_find, results
from .refusal import Refused
from .store.stretches import Stretch

Label = Annotated[str, Field(min_length=1, max_length=100)]
Labels = Annotated[list[Label], Field(max_length=1000)]

EMITTED = {"console": "console", "custom": "custom", "error": "error", "noprogress": "noprogress"}
"""What workers may emit (in any spelling of its letters' case), and the event it becomes."""
MOST_EMITTED = 1 << 20
"""Characters in one emitted event."""
WORKER_EVENTS = "schedmsg::"
"""Labels that are for workers, whom this scheduler has nothing to tell so far."""


class Options(Form):
    filter: dict[str, Any] = {}  # noqa: RUF012


class SubscribeMany(Form):
    reliableEvents: Labels | None = None  # noqa: N815
    optionalEvents: Labels | None = None  # noqa: N815
    schedmsgEvents: Labels | None = None  # noqa: N815
    options: Options = Options()


class Subscribe(Form):
    label: Label
    options: Options = Options()


class Token(Form):
    token: Annotated[str, Field(max_length=100)]


class Unsubscribe(Form):
    token: Token | str


class Emitted(Form):
    eventName: Annotated[str, Field(max_length=100)]  # noqa: N815
    payload: Any = None
    slice: int | None = None


class WorkEmit(Emitted):
    job: str
    worker: Annotated[str, Field(max_length=100)]
    authorizationMessage: dict[str, Any]  # noqa: N815


class WorkEmits(Form):
    job: str
    worker: Annotated[str, Field(max_length=100)]
    authorizationMessage: dict[str, Any]  # noqa: N815
    events: Annotated[list[Emitted], Field(max_length=1000)]


def emitted_fields(request: Emitted) -> tuple[str, dict[str, Any], int]:
    """The event that an emission becomes: its name, its fields, and how many characters it has."""
    event = EMITTED.get(request.eventName.lower())
    if event is None:
        raise Refused("EINVAL", f"A worker cannot emit {request.eventName!r}.")
    payload = request.payload if isinstance(request.payload, dict) else {"message": request.payload}
    fields = {name: value for name, value in payload.items() if name != "eventName"}
    if request.slice is not None:
        fields.setdefault("sliceNumber", request.slice)
    size = len(dumps(fields))
    if size > MOST_EMITTED:
        raise Refused("ETOOBIG", f"An event may have {MOST_EMITTED} characters, this one has {size}.")
    return event, fields, size


def so_far(connection: Connection, key: str, most_bytes: int) -> News:
    """What has become of a job until now, with its first results up to a size."""
    job = must_find(connection, key)
    stretches: list[Stretch] = []
    if most_bytes and job.done:
        for stretch in results.read(connection, job.id, (1, job.total)):
            most_bytes -= len(stretch[2])
            if most_bytes < 0:
                break
            stretches.append(stretch)
    failed = failures_in(connection, job.id, (1, job.total)) if most_bytes and job.failed else []
    return News(job, stretches, failed)


def operations(core: Core) -> Operations:
    """The operations of this service by their names on the wire."""

    async def watch(call: Call, labels: list[str], options: Options) -> list[dict[str, str]]:
        """Subscribe to labels of one job, which must be the caller's own."""
        key = options.filter.get("job")
        for_jobs = [label for label in labels if not label.startswith(WORKER_EVENTS)]
        if not for_jobs:
            return [
                {"event": label, "token": core.events.subscribe(call.peer, "", label)} for label in labels
            ]
        if not isinstance(key, str):
            raise Refused("EINVAL", "Events are about one job; name it as options.filter.job.")
        owners = (str(call.peer.owner), *call.vouched)
        job = await core.store.read(lambda connection: must_own(connection, key, *owners))
        tokens = [
            {"event": label, "token": core.events.subscribe(call.peer, job.id, label.lower())}
            for label in labels
        ]
        core.events.deploying(job.id)
        # Again, now that nothing can be missed: there may be results already, or even the end.
        one_by_one = any(label.lower() == "result" for label in for_jobs)
        most = core.settings.event_buffer_bytes if one_by_one else 0
        news = await core.store.read(lambda connection: so_far(connection, job.id, most))
        for token in tokens:
            core.events.catch_up(call.peer, token["token"], news)
        return tokens

    async def subscribe_many(call: Call) -> Any:
        request = read(SubscribeMany, call.data)
        kinds = (request.reliableEvents, request.optionalEvents, request.schedmsgEvents)
        labels = [label for kind in kinds for label in kind or ()]
        return {"tokens": await watch(call, labels, request.options)}

    async def subscribe(call: Call) -> Any:
        request = read(Subscribe, call.data)
        return {"token": (await watch(call, [request.label], request.options))[0]["token"]}

    async def unsubscribe(call: Call) -> Any:
        request = read(Unsubscribe, call.data)
        token = request.token if isinstance(request.token, str) else request.token.token
        return {"success": core.events.unsubscribe(call.peer, token)}

    def forward(request: WorkEmit | WorkEmits, events: list[Emitted]) -> bool:
        told = [emitted_fields(event) for event in events]
        grant = core.authority.verify(request.authorizationMessage)
        if grant.worker != request.worker or request.job not in grant.slices:
            raise Refused("EAUTH", f"Job {request.job[:64]!r} was not given to this worker.")
        for event, fields, size in told:
            core.events.forward(grant.ids.get(request.job, request.job), event, fields, size)
        return True

    async def work_emit(call: Call) -> Any:
        request = read(WorkEmit, call.data)
        return forward(request, [request])

    async def work_emits(call: Call) -> Any:
        request = read(WorkEmits, call.data)
        return forward(request, request.events)

    return {
        "subscribeMany": subscribe_many,
        "subscribe": subscribe,
        "unsubscribe": unsubscribe,
        "workEmit": work_emit,
        "workEmits@1": work_emits,
    }
