"""Every setting of every program: its type, its default, its unit, and one sentence of what it does.

This model is the only place that knows them. ``defaults`` writes ``defaults.toml`` from it, ``layers`` fills
it from files, environment and flags, ``show`` prints it. A setting belongs to the section of the part that it
governs, whichever program starts that part. All models are immutable and refuse unknown keys.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from .units import Amount, CoreCounts, CpuGpu, Duration, Size


def setting(
    default: Any, description: str, *, unit: str = "", secret: bool = False, example: str = "", **rules: Any
) -> Any:
    """A field: ``secret`` values are never printed, ``example`` (TOML) stands for an unset value."""
    extra: dict[str, Any] = {"unit": unit, "secret": secret, "example": example}
    return Field(default=default, description=description, json_schema_extra=extra, **rules)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _http_url(text: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:  # a port that is none, an IPv6 address without its end
        wrong = True
    if wrong:
        raise ValueError('expected an address like "http://127.0.0.1:9080/"')
    if parts.username is not None or parts.password is not None:
        raise ValueError("expected an address without user name and password; DCP signs its messages instead")
    return text if text.endswith("/") else text + "/"


def _host_port(text: str) -> str:
    _host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError('expected "HOST:PORT" like "127.0.0.1:9080" or "0.0.0.0:0" (port 0: any free one)')
    return text


def _endpoint(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("tcp", "ipc") or not rest:
        raise ValueError('expected a ZeroMQ endpoint like "tcp://0.0.0.0:9081" or "ipc:///run/dcp/worker"')
    return text


HttpUrl = Annotated[str, AfterValidator(_http_url)]
HostPort = Annotated[str, AfterValidator(_host_port)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
EthereumAddress = Annotated[str, StringConstraints(pattern=r"^(0x)?[0-9a-fA-F]{40}$")]
JoinPair = Annotated[str, StringConstraints(pattern=r"^[^,]+,.+$")]
FilePath = Annotated[Path, AfterValidator(Path.expanduser)]
Level = Literal["trace", "debug", "info", "warning", "error"]
Layer = Literal["limits", "namespaces", "landlock", "seccomp"]


class Paths(Section):
    """Where files are kept."""

    resource_dir: FilePath = setting(
        Path("~/.dcp"),
        "Keystores, keys and the user's config.toml ($DCP_RESOURCE_DIR, or $XDG_DATA_HOME/dcp).",
    )
    data: FilePath | None = setting(
        None, "Databases, outbox and caches; unset: <resource_dir>/data.", example='"/var/lib/dcp"'
    )


class Scheduler(Section):
    """The scheduler: where programs find it, and how `dcp-scheduler` runs one."""

    location: HttpUrl = setting(
        "http://127.0.0.1:9080/", "The scheduler that workers and clients talk to.", unit="URL"
    )
    listen: HostPort = setting("127.0.0.1:9080", "Where dcp-scheduler listens; port 0 takes any free one.")
    public_url: HttpUrl | None = setting(
        None,
        "The address that others reach it by, when that is not what it listens on (behind a proxy).",
        unit="URL",
        example='"https://dcp.example.org/"',
    )
    data: FilePath | None = setting(
        None, "Its database and keys; unset: <paths.data>/scheduler.", example='"/var/lib/dcp/scheduler"'
    )
    database: str | None = setting(
        None,
        "SQLAlchemy URL of the database; unset: SQLite in its data directory.",
        unit="URL",
        example='"sqlite:////var/lib/dcp/scheduler/scheduler.sqlite"',
    )
    allow_web_origins: tuple[str, ...] = setting(
        (), 'Web pages of these origins may connect from a browser, "https://lab.example.org"; "*": all.'
    )
    synchronous: Literal["full", "normal"] = setting(
        "full", "full: what was answered survives a power cut; normal: it survives a crash of the program."
    )
    market_price: Amount = setting(
        "0.0000001", "What a slice costs a deployer who offers the market value.", unit="DCC"
    )
    opening_grant: Amount = setting(
        "1000", "What a new account starts with, so that a lab need not mint money by hand.", unit="DCC"
    )
    target_task: Duration = setting("1m", "How much work one task gives each core of a worker.", unit="s")
    lease_floor: Duration = setting(
        "2m", "A worker that is out of contact keeps its slices at least this long.", unit="s"
    )
    lease_max: Duration = setting(
        "1h", "A worker that is in contact keeps its slices at most this long without a result.", unit="s"
    )
    max_wait: Duration = setting("1m", "How long a worker's request for work may be held.", unit="s")
    returns_before_failure: int = setting(
        3, "A slice that was returned with an error more often than this has failed.", unit="times", ge=0
    )


class Worker(Section):
    """The worker: supervisor, result uploader, wallet."""

    cores: CoreCounts = setting(
        CpuGpu(),
        'CPU cores and GPUs of this box to use, "CPU" or "CPU,GPU"; empty: all.',
        example='"4,1"',
    )
    utilization: CoreCounts = setting(
        CpuGpu(1.0, 0.75), "Share of those cores and GPUs that may be busy, 0 to 1 each.", unit="share"
    )
    max_sandboxes: int | None = setting(
        None, "At most this many sandboxes at once on this box; unset: one a core.", example="8", ge=1
    )
    payment_address: EthereumAddress | None = setting(
        None,
        "Account that earnings go to; unset: the address of default.keystore, which is created on first use.",
        example='"0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"',
    )
    compute_groups: tuple[JoinPair, ...] = setting(
        (), 'Compute groups to work for, "joinKey,joinSecret" or "joinKey,eh1-<hash>".', secret=True
    )
    leave_public_group: bool = setting(False, "Do not work for the public compute group.")
    minimum_wage_cpu: Amount = setting("0", "Fetch no work that pays less for CPU time.", unit="DCC/hour")
    minimum_wage_gpu: Amount = setting("0", "Fetch no work that pays less for GPU time.", unit="DCC/hour")
    minimum_wage_in: Amount = setting("0", "Fetch no work that pays less for data coming in.", unit="DCC/MB")
    minimum_wage_out: Amount = setting("0", "Fetch no work that pays less for data going out.", unit="DCC/MB")
    job_ids: tuple[str, ...] = setting((), "Work only for these jobs; empty: for any.")
    evaluator_hosts: Endpoint | None = setting(
        None,
        "Endpoint that evaluator hosts of other boxes attach to; unset: none may.",
        example='"tcp://0.0.0.0:9081"',
    )
    key_file: FilePath | None = setting(
        None,
        "Its CURVE key, made on first use; unset: <resource_dir>/supervisor.key.",
        example='"/var/lib/dcp/supervisor.key"',
    )
    authorised_hosts: FilePath | None = setting(
        None,
        "Folder with the keys of the hosts that may attach (`dcp host`); unset: <resource_dir>/hosts.",
        example='"/var/lib/dcp/hosts"',
    )
    start_local_host: bool = setting(True, "Start an evaluator host on this box.")
    data: FilePath | None = setting(
        None, "Its outbox and caches; unset: <paths.data>/worker.", example='"/var/lib/dcp/worker"'
    )
    synchronous: Literal["full", "normal"] = setting(
        "full", "full: results survive a power cut; normal: they survive a crash of the program."
    )
    outbox_max: Size = setting(
        "4GiB", "Fetch no more work while results of this size wait for delivery.", unit="bytes", ge=1 << 20
    )
    prefetch: Duration = setting("5s", "How much work shall lie ready for each core.", unit="s")
    poll_max: Duration = setting("30s", "Longest rest between requests when there is no work.", unit="s")
    host_lost_after: Duration = setting(
        "15s", "A silent evaluator host is given up after this time, and its slices run elsewhere.", unit="s"
    )
    cleanup_timeout: Duration = setting(
        "30s", "After a signal, finish and deliver within this time, then leave.", unit="s"
    )


class EvaluatorHost(Section):
    """The evaluator host of a box: it keeps the sandboxes."""

    supervisor: Endpoint | None = setting(
        None, "Endpoint of the worker to attach to.", example='"tcp://worker.example.org:9081"'
    )
    supervisor_key: str | None = setting(
        None,
        "Public key of that worker, or a file with it (`dcp host key` there prints it); needed for tcp.",
        example='"/etc/dcp/supervisor.key.pub"',
    )
    key_file: FilePath | None = setting(
        None,
        "This host's own CURVE key, made on first use; unset: <resource_dir>/host.key.",
        example='"/var/lib/dcp/host.key"',
    )
    name: str | None = setting(None, "What operators see; unset: the box's host name.", example='"box-7"')
    max_load: float | None = setting(
        None,
        "Make room when the whole box is busier than this; unset: do not look.",
        unit="share",
        example="0.9",
        gt=0,
        le=1,
    )
    spares: int = setting(
        1, "Sandboxes started ahead, so that a job need not wait for one.", unit="sandboxes", ge=0, le=1000
    )
    start_timeout: Duration = setting(
        "1m", "A sandbox that is not ready within this time is given up.", unit="s"
    )
    progress_timeout: Duration = setting(
        "5m", "A slice that is silent for longer fails ENOPROGRESS.", unit="s"
    )
    memory_per_sandbox: Size = setting(
        "1GiB", "Most memory that one sandbox may use, beyond the idle engine.", unit="bytes", ge=64 << 20
    )
    allow_weaker_sandbox: tuple[Layer, ...] = setting(
        (), "Confinement layers that may be missing on this box; without this it refuses to run then."
    )


class Client(Section):
    """Who you are for a scheduler: `dcp job` and `dcp bank`."""

    identity_keystore: FilePath | None = setting(
        None,
        "Keystore that signs requests; unset: <resource_dir>/id.keystore.",
        example='"~/keys/id.keystore"',
    )
    payment_keystore: FilePath | None = setting(
        None,
        "Keystore of the account that pays; unset: <resource_dir>/default.keystore.",
        example='"~/keys/lab.keystore"',
    )


class Log(Section):
    """What programs tell about their work, and where to."""

    outputs: tuple[str, ...] = setting(
        ("console",),
        'Any number of "console", "json", "file:PATH", "json:PATH"; "@LEVEL" behind one sets its own level.',
    )
    level: Level = setting("info", "trace, debug, info, warning or error; -v on a command line lowers it.")


class Settings(Section):
    """All sections."""

    paths: Paths = Paths()
    scheduler: Scheduler = Scheduler()
    worker: Worker = Worker()
    evaluator_host: EvaluatorHost = EvaluatorHost()
    client: Client = Client()
    log: Log = Log()

    @property
    def data_dir(self) -> Path:
        return self.paths.data or self.paths.resource_dir.expanduser() / "data"

    @property
    def scheduler_data(self) -> Path:
        return self.scheduler.data or self.data_dir / "scheduler"

    @property
    def worker_data(self) -> Path:
        return self.worker.data or self.data_dir / "worker"

    @property
    def supervisor_key_file(self) -> Path:
        return self.worker.key_file or self.paths.resource_dir / "supervisor.key"

    @property
    def authorised_hosts(self) -> Path:
        return self.worker.authorised_hosts or self.paths.resource_dir / "hosts"

    @property
    def host_key_file(self) -> Path:
        return self.evaluator_host.key_file or self.paths.resource_dir / "host.key"


PROGRAM_SECTIONS: dict[str, tuple[str, ...]] = {
    "dcp-worker": ("scheduler", "worker", "evaluator_host", "log", "paths"),
    "dcp-scheduler": ("scheduler", "log", "paths"),
    "dcp-evaluator-manager": ("evaluator_host", "worker", "log", "paths"),
}
"""The sections that `--show-config` of a program prints; others print all."""
