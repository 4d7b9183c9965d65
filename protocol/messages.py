"""The whole conversation between the actors of a worker, one small immutable type for each message.

Who needs this module: every actor, and whoever debugs one. Each type says who sends it to whom and each field has a
comment; ``framing`` turns them into msgpack arrays ``[tag, field, field, ...]`` behind a version, and validates them
when they come back. Large payloads never stand inside a message: they travel as raw *bodies* beside it, opaque to
every Python process on the way.

The words: a *run* is a stretch of consecutively numbered slices of one job that is dealt to one sandbox at once. A
*values body* is the UTF-8 text of a JSON array with one KVIN node a slice (``protocol.dcp.values``), on one line.
"""

from dataclasses import dataclass
from enum import StrEnum

PROTOCOL_VERSION = 1
"""Raised when a message changes in a way that an older peer would misread; both sides refuse another version."""


class Outcome(StrEnum):
    """Why a sandbox is gone."""

    CLOSED = "closed"  # the supervisor asked for it
    NO_PROGRESS = "ENOPROGRESS"  # a slice was silent for longer than the progress timeout
    OUT_OF_MEMORY = "EOUTOFMEMORY"  # V8 or a resource limit ended the process for memory
    FLOODED = "EFLOOD"  # more output than the limits allow
    PROTOCOL = "EPROTOCOL"  # the sandbox said something that makes no sense
    DIED = "EVALUATORDIED"  # the evaluator process ended by itself or was killed from outside
    ASSIGN_FAILED = "EASSIGN"  # the job could not be set up, e.g. a syntax error in the work function
    NOT_STARTED = "ENOSANDBOX"  # the evaluator could not be started at all


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a stretch of slices has cost. Times in milliseconds, sizes in bytes, all summed over the slices."""

    slices: int
    wall_ms: float
    cpu_ms: float
    gpu_ms: float
    in_bytes: int
    out_bytes: int


# -- Evaluator host <-> Supervisor: attaching, living, leaving -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostHello:
    """host -> supervisor. The first message on a new link, and again after every reconnect."""

    version: int  # PROTOCOL_VERSION of the host
    host: str  # id that the host keeps for its lifetime as a process
    name: str  # for people: the box's host name unless configured
    cores: int  # logical cores of the box
    memory: int  # bytes of RAM of the box
    capabilities: int  # bit mask of the DCP wire (v8 1, fdlibm 16, webgpu 32, KVINv9 64)
    worktimes: tuple[tuple[str, str], ...]  # (name, version)


@dataclass(frozen=True, slots=True)
class HostWelcome:
    """supervisor -> host. The host may work; it sends a Heartbeat this often."""

    version: int
    heartbeat_s: float  # seconds between heartbeats
    lost_after_s: float  # silence after which either side gives the other up


@dataclass(frozen=True, slots=True)
class HostRefused:
    """supervisor -> host. The host must not attach; the reason is for its operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """host -> supervisor, and back unchanged: each side learns that the other lives."""

    host: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """LoadGovernor -> EvaluatorHost -> supervisor: how much of the box may be used now, and why."""

    host: str
    cpu: float  # cores, fractions count
    gpu: float  # GPUs, fractions count
    sandboxes: int  # how many sandboxes may be alive at once
    reason: str  # one sentence for the operator


@dataclass(frozen=True, slots=True)
class HostLeaving:
    """host -> supervisor: an orderly goodbye; what it held is to run elsewhere."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class StopHost:
    """supervisor -> host: close every sandbox and end (sent to hosts that the worker started itself)."""

    reason: str


# -- Supervisor -> host: jobs and sandboxes ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobArtifacts:
    """supervisor -> host: everything about a job that all its slices share. Sent once to each host.

    bodies[0] is the work function's source (UTF-8), bodies[1] the values body of its arguments.
    """

    job: str
    name: str  # public name of the job, for logs and for work.job.public
    description: str
    link: str
    worktime: str
    worktime_version: str
    requirements: int  # bit mask of the DCP wire
    use_strict: bool
    input_range: str  # JSON text of the range object that slices count through, or "" when values travel
    kvin_version: str  # "v8" or "v9": what results are written in


@dataclass(frozen=True, slots=True)
class ForgetJob:
    """supervisor -> host: the job is over here; close its sandboxes, drop its artifacts."""

    job: str


@dataclass(frozen=True, slots=True)
class OpenSandbox:
    """supervisor -> host: give the job a sandbox, from the spares if there is one. Its actor is ``sandbox/<id>``."""

    sandbox: str
    job: str


@dataclass(frozen=True, slots=True)
class CloseSandbox:
    """supervisor -> sandbox actor: end now, whatever it is doing."""

    reason: str


@dataclass(frozen=True, slots=True)
class SandboxOpened:
    """sandbox actor -> supervisor: the job is assigned, runs are welcome."""

    host: str
    sandbox: str
    job: str


@dataclass(frozen=True, slots=True)
class SandboxClosed:
    """sandbox actor -> supervisor: this sandbox is gone. Slices without a committed outcome are to run elsewhere."""

    host: str
    sandbox: str
    job: str
    outcome: Outcome
    detail: str  # a sentence for people
    culprit: int  # the slice that was being computed when it ended, 0 when none was


# -- Runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """supervisor -> sandbox actor: compute these slices, in order. bodies[0] is their values body, unless by range."""

    run: int  # number that the supervisor never repeats
    task: str  # which authorisation of the scheduler these slices came under; travels with their results
    job: str
    first: int  # slice numbers start at 1
    count: int


@dataclass(frozen=True, slots=True)
class RunFinished:
    """sandbox actor -> supervisor: every slice of the run has had its outcome sent to the uploader."""

    sandbox: str
    run: int
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Results:
    """sandbox actor -> uploader: results of consecutive slices of a run. bodies[0] is their values body."""

    host: str
    sandbox: str
    run: int
    task: str
    job: str
    first: int
    count: int
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class SliceFailed:
    """sandbox actor -> uploader: the work function threw. bodies[0] is the KVIN node of the error, as JSON text."""

    host: str
    sandbox: str
    run: int
    task: str
    job: str
    slice: int
    message: str  # for logs, one line
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class SliceRejected:
    """sandbox actor -> supervisor: the work function called work.reject(reason, retries)."""

    sandbox: str
    run: int
    job: str
    slice: int
    reason: str
    retries: int


@dataclass(frozen=True, slots=True)
class SliceProgress:
    """sandbox actor -> supervisor, throttled: how far a slice is."""

    sandbox: str
    job: str
    slice: int
    progress: float  # 0..1, negative when indeterminate


@dataclass(frozen=True, slots=True)
class JobEvent:
    """sandbox actor -> supervisor: console output or work.emit, on its way to the job's owner.

    bodies[0] is the JSON text of the DCP event payload.
    """

    sandbox: str
    job: str
    slice: int  # 0 when outside a slice
    event: str  # "console" or "custom"


# -- Supervisor <-> uploader ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskAccepted:
    """supervisor -> uploader, before any run of the task: bodies[0] is the scheduler's authorisation message (JSON)."""

    task: str
    job: str


@dataclass(frozen=True, slots=True)
class TaskClosed:
    """supervisor -> uploader: no more outcomes of this task; forget its authorisation when all are delivered."""

    task: str


@dataclass(frozen=True, slots=True)
class OutcomesCommitted:
    """uploader -> supervisor: these outcomes are safe on disk. Only now is a slice finished for the supervisor."""

    sandbox: str
    run: int
    job: str
    first: int
    count: int
    failed: bool  # True: one slice whose work function threw


@dataclass(frozen=True, slots=True)
class OutcomesAcknowledged:
    """uploader -> supervisor: the scheduler has taken these outcomes."""

    job: str
    count: int
    payment: int  # what they earned, in 10^-18 DCC
    job_metrics: str  # JSON text of the scheduler's metrics for the job, "" when it sent none


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """uploader -> supervisor: what still waits for delivery (after each change of emptiness, and on request)."""

    slices: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DrainOutbox:
    """supervisor -> uploader: no more outcomes will come; answer OutboxStatus when all is delivered or time is up."""

    deadline_s: float  # seconds from now


# -- Anybody -> Wallet ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignRequest:
    """anybody -> wallet: sign bodies[0] as an Ethereum personal message. Answer: Signed, or WalletRefused."""

    key: str  # "identity" or "payment"


@dataclass(frozen=True, slots=True)
class Signed:
    """wallet -> asker."""

    r: bytes  # 32 bytes
    s: bytes  # 32 bytes
    v: int  # 27 or 28


@dataclass(frozen=True, slots=True)
class AddressesRequest:
    """anybody -> wallet. Answer: Addresses."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """wallet -> asker: checksummed addresses."""

    identity: str
    payment: str


@dataclass(frozen=True, slots=True)
class WalletRefused:
    """wallet -> asker: why it does not sign."""

    reason: str
