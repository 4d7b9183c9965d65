"""What comes back of a job: events become records for the program, and a plan of what has to be fetched."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loguru import logger

from .collection import Collection, CollectionError
from .errors import JobCancelled, SliceError
from .events import ConsoleMessage, CustomEvent, JobStatus, Notice, Results

PLAIN = frozenset((int, float, str, bool, type(None)))
SEEN_EVENTS = 1000  # ids of events that are remembered, to drop repeats after a reconnect
MAX_TEXT = 10_000  # characters of a message that is shown to a person

Told = Results | SliceError | ConsoleMessage | CustomEvent | JobStatus | Notice
Tell = Callable[[Told], None]


class Follower:
    """Turns the scheduler's events and fetched results into records, each slice once. No sockets, no clock.

    ``ended`` is set when the scheduler says that the job is over; what is missing then has to be fetched.
    """

    def __init__(self, job: str, collection: Collection, tell: Tell) -> None:
        self.job = job
        self.collection = collection
        self.ended = False
        self.behind = (
            False  # the scheduler has dropped results that we were too slow for; they can be fetched
        )
        self.cancelled: JobCancelled | None = None
        self.run_status = "new"
        self._tell = tell
        self._recent: deque[str] = deque(maxlen=SEEN_EVENTS)
        self._recent_set: set[str] = set()

    def on_event(self, event: object) -> None:
        """Take the ``event`` part of the wire's ``event`` request: ``{eventId, data:{eventName, …}}``.

        What makes no sense is logged and dropped: a job does not fail for a bad message about it.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("data"), Mapping):
            logger.bind(job=self.job).warning("An event without data was dropped")
            return
        if self._repeated(event.get("eventId")):
            return
        data: Mapping[str, Any] = event["data"]
        handler = getattr(self, f"_on_{str(data.get('eventName')).lower()}", None)
        if handler is None:
            logger.bind(job=self.job).debug("Unknown event {} was dropped", str(data.get("eventName"))[:50])
            return
        from ..errors import DcpError

        try:
            handler(data)
        except (DcpError, KeyError, TypeError, ValueError) as error:
            logger.bind(job=self.job).warning("Event {} was dropped: {!r}", data.get("eventName"), error)

    def take_runs(self, answer: Mapping[str, Any]) -> int:
        """Take ``{runs:[{first,count,values}], failures:[{slice,error}]}``; return how many slices were
        new."""
        from ..protocol.dcp.values import nodes_of

        before = len(self.collection)
        for run in answer.get("runs") or ():
            first, count, body = _number(run["first"]), _number(run["count"]), run["values"]
            if not isinstance(body, str):
                raise CollectionError("The scheduler sent a values body that is no text.")
            self._take_nodes(first, nodes_of(body, count))
        for failure in answer.get("failures") or ():
            node = failure["error"]
            if isinstance(node, str):
                from ..protocol.dcp.json_text import loads

                node = loads(node)
            self._fail(_number(failure["slice"]), _value(node))
        return len(self.collection) - before

    def take_uris(self, answer: Sequence[Mapping[str, Any]]) -> int:
        """Take the answer of ``fetchResult``: ``[{slice, value:<percent-encoded URI>}]``; return how
        many were new."""
        from urllib.parse import unquote

        before = len(self.collection)
        for entry in answer:
            self._take_uri(_number(entry["slice"]), unquote(str(entry["value"])))
        return len(self.collection) - before

    # -- Events, by their names on the wire ---------------------------------------------------------------

    def _on_results(self, data: Mapping[str, Any]) -> None:
        self.behind = self.behind or bool(data.get("missed"))
        self.take_runs(data)

    def _on_result(self, data: Mapping[str, Any]) -> None:
        self._take_uri(_number(data["sliceNumber"]), str(data["result"]["result"]))

    def _on_status(self, data: Mapping[str, Any]) -> None:
        numbers = [_count(data.get(name)) for name in ("total", "distributed", "computed")]
        self.run_status = str(data.get("runStatus"))[:50]
        self._tell(JobStatus(self.run_status, *numbers))
        if self.run_status == "finished":
            self._finished(numbers[0])
        elif self.run_status == "cancelled" and data.get("reason"):
            self._was_cancelled(data)  # without a reason it only comes before ``stop``, which has one

    def _on_stop(self, data: Mapping[str, Any]) -> None:
        self.run_status = str(data.get("runStatus"))[:50]
        if self.run_status == "finished":
            self._finished(_count(data.get("sliceCount")))
        else:
            self._was_cancelled(data)

    def _on_console(self, data: Mapping[str, Any]) -> None:
        data = _payload(data)
        self._tell(
            ConsoleMessage(
                _slice_of(data),
                str(data.get("level", "log"))[:20],
                console_text(data.get("message")),
                max(1, _count(data.get("same", 1))),
            )
        )

    def _on_custom(self, data: Mapping[str, Any]) -> None:
        data = _payload(data)
        name = data.get("customEvent", data.get("name", ""))
        value = data.get("value", data.get("payload", data.get("data")))
        if isinstance(value, Mapping) and "_serializeVerId" in value:
            from ..protocol.dcp import kvin

            value = kvin.unmarshal(dict(value))
        self._tell(CustomEvent(_slice_of(data), str(name)[:200], value))

    def _on_error(self, data: Mapping[str, Any]) -> None:
        self._notice("error", data)

    def _on_noprogress(self, data: Mapping[str, Any]) -> None:
        self._notice("noprogress", data)

    def _on_nofunds(self, data: Mapping[str, Any]) -> None:
        self._notice("nofunds", data)

    # -- Inside -------------------------------------------------------------------------------------------

    def _take(self, first: int, values: list[Any]) -> None:
        for start, fresh in self.collection.take(first, values):
            self._tell(Results(start, list(fresh)))

    def _take_nodes(self, first: int, nodes: list[Any]) -> None:
        from ..errors import DcpError

        try:
            values = decoded(nodes)
        except DcpError:  # a worker may send anything; what cannot be read is the failure of that slice alone
            for number, node in enumerate(nodes, first):
                try:
                    alone = decoded([node])
                except DcpError as error:
                    self._fail(number, unreadable(error))
                else:
                    self._take(number, alone)
        else:
            self._take(first, values)

    def _take_uri(self, number: int, uri: str) -> None:
        from ..errors import DcpError
        from ..protocol.dcp.kvin_types import JsError
        from ..protocol.dcp.values import uri_to_node, value_of

        try:
            value = value_of(uri_to_node(uri))
        except DcpError as error:
            value = unreadable(error)
        if isinstance(value, JsError):  # where results come one by one, a failure is an error as the result
            self._fail(number, value)
        else:
            self._take(number, [value])

    def _fail(self, number: int, error: Any) -> None:
        failure = self.collection.fail(number, error)
        if failure is not None:
            self._tell(failure)

    def _finished(self, slices: int) -> None:
        self.ended = True
        if self.collection.total is None and slices:
            self.collection.finish(slices)
        elif slices and self.collection.total != slices:
            raise CollectionError(
                f"The scheduler says that the job had {slices} slices, and it has {self.collection.total}."
            )

    def _was_cancelled(self, data: Mapping[str, Any]) -> None:
        self.ended = True
        code = data.get("code")
        reason = str(data.get("reason") or data.get("error") or "")[:MAX_TEXT]
        self.cancelled = JobCancelled(self.job, reason, code=str(code)[:50] if code else None)

    def _notice(self, kind: str, data: Mapping[str, Any]) -> None:
        data = _payload(data)
        self._tell(
            Notice(kind, str(data.get("message") or data.get("reason") or kind)[:MAX_TEXT], dict(data))
        )

    def _repeated(self, event_id: object) -> bool:
        if not isinstance(event_id, str):
            return False
        if event_id in self._recent_set:
            return True
        if len(self._recent) == SEEN_EVENTS:
            self._recent_set.discard(self._recent[0])
        self._recent.append(event_id)
        self._recent_set.add(event_id)
        return False


def decoded(nodes: list[Any]) -> list[Any]:
    """The Python values of nodes. Plain numbers, texts and booleans are their own nodes and cost nothing."""
    if PLAIN.issuperset(set(map(type, nodes))):
        return nodes
    return [node if type(node) in PLAIN else _value(node) for node in nodes]


def unreadable(why: Exception) -> Any:
    """The error of a slice whose result is none."""
    from ..protocol.dcp.kvin_types import JsError

    return JsError(f"The worker sent a result that cannot be read: {why}", name="ERESULT")


def console_text(message: object) -> str:
    """What a terminal would show for a console message, which travels as KVIN text or as plain text."""
    value = message
    if isinstance(message, str) and message.startswith("{") and "_serializeVerId" in message[:40]:
        from ..errors import DcpError
        from ..protocol.dcp import kvin

        try:
            value = kvin.deserialize(message)
        except DcpError:
            value = message
    elif isinstance(message, Mapping) and "_serializeVerId" in message:
        from ..protocol.dcp import kvin

        value = kvin.unmarshal(dict(message))
    parts = value if isinstance(value, list) else [value]
    return " ".join(part if isinstance(part, str) else repr(part) for part in parts)[:MAX_TEXT]


def _value(node: Any) -> Any:
    from ..protocol.dcp.values import value_of

    return value_of(node)


def _payload(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Workers' payloads come either spread beside the event's name or under ``payload``."""
    inner = data.get("payload")
    return {**data, **inner} if isinstance(inner, Mapping) else data


def _slice_of(data: Mapping[str, Any]) -> int:
    return _count(data.get("sliceNumber", data.get("slice", 0)))


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CollectionError(f"The scheduler sent {str(value)[:40]!r} where a slice number belongs.")
    return value


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
