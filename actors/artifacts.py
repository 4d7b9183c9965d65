"""A job as the scheduler describes it, made ready for evaluator hosts: work function, arguments and range
as bytes.

Source of the form: the JOB of ``requestTask@3``. Where an artifact stands at an address instead of in a
``data:`` URI, it is fetched, from allowed origins only.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..errors import DcpError
from ..protocol.dcp import js_json
from ..protocol.dcp.data_uri import decode_data_uri
from ..protocol.dcp.values import body_of, uri_to_node
from ..protocol.messages import JobArtifacts
from .local_messages import LoadedJob

KVIN_V9 = 64
"""The capability bit of jobs whose values are KVIN v9."""

MAX_SOURCE_BYTES = 64 * 1024 * 1024
MAX_ARGUMENTS = 10_000
_MAX_NAME = 1_000

Fetch = Callable[[str], Awaitable[str]]
"""Gives the text at an http(s) URI as a ``data:`` URI would hold it; raises DcpError."""


class ArtifactsError(DcpError):
    """A job came without something that its slices need; its slices go back."""

    code = "EJOBFETCH"


async def load_job(job: Mapping[str, Any], fetch: Fetch) -> LoadedJob:
    """Check a JOB of the wire and load its artifacts. Raises DcpError."""
    public = _mapping(job.get("public"))
    worktime = _mapping(job.get("worktime"))
    if not isinstance(worktime.get("name"), str):
        raise ArtifactsError("the job names no worktime")
    if job.get("dependencies"):
        raise ArtifactsError("the job needs modules, which this worker cannot load yet", code="ENOMODULE")
    requirements = job.get("needCapabilities", 0)
    if type(requirements) is not int or not 0 <= requirements < 1 << 31:
        raise ArtifactsError("the job's requirements are no bit mask")
    source = await _text(job.get("codeLocation"), fetch)
    range_text = ""
    if job.get("MROLocation") is not None:
        range_text = js_json.dumps(js_json.loads(await _text(job["MROLocation"], fetch)))
    artifacts = JobArtifacts(
        job=_name(job.get("jobId")),
        name=_name(public.get("name", "")),
        description=_name(public.get("description", "")),
        link=_name(public.get("link", "")),
        worktime=worktime["name"][:_MAX_NAME],
        worktime_version=_name(worktime.get("version", "")),
        requirements=requirements,
        use_strict=bool(job.get("useStrict")),
        input_range=range_text,
        kvin_version="v9" if requirements & KVIN_V9 else "v8",
    )
    arguments = await _arguments(job.get("argumentsLocation"), fetch)
    return LoadedJob(artifacts, source.encode("utf-8", "replace"), arguments, job)


async def _arguments(locations: Any, fetch: Fetch) -> bytes:
    if locations is None:
        return b"[]"
    if not isinstance(locations, list) or len(locations) > MAX_ARGUMENTS:
        raise ArtifactsError(f"the job's arguments are no list of at most {MAX_ARGUMENTS}")
    placed: dict[int, str] = {}
    for position, location in enumerate(locations):
        entry = _mapping(location)
        index = entry.get("argIndex", position)
        if type(index) is not int or not 0 <= index < len(locations) or index in placed:
            raise ArtifactsError("the job's arguments are not numbered one by one")
        if not isinstance(entry.get("value"), str):
            raise ArtifactsError("an argument of the job is no URI")
        placed[index] = entry["value"]
    nodes = []
    for index in range(len(placed)):
        uri = placed[index]
        nodes.append(uri_to_node(uri if uri[:5].lower() == "data:" else await fetch(uri)))
    return body_of(nodes).encode()


async def _text(uri: Any, fetch: Fetch) -> str:
    if not isinstance(uri, str):
        raise ArtifactsError("the job has no work function, or one that is no URI")
    if uri[:5].lower() != "data:":
        uri = await fetch(uri)
    text = decode_data_uri(uri).text
    if len(text) > MAX_SOURCE_BYTES:
        raise ArtifactsError(f"the work function is longer than {MAX_SOURCE_BYTES} characters")
    return text


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ArtifactsError("the job lacks a part that every job has, or has it in an unknown form")
    return value


def _name(value: Any) -> str:
    return value[:_MAX_NAME] if isinstance(value, str) else ""
