"""Everything that an operator can set about a scheduler, in one small frozen record."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Settings of one scheduler process. Money is in DCC, times are in seconds, sizes in bytes."""

    data_dir: Path  # database, private key and lock; made with mode 0700 when it is missing
    host: str = "127.0.0.1"  # loopback unless told
    port: int = 0  # 0: any free port
    public_url: str = ""  # what clients are told, when it differs from what is listened on (a proxy in front)
    database_url: str = ""  # "" means scheduler.sqlite in data_dir
    origins: tuple[str, ...] = ()  # web origins whose pages may connect, "*" for all
    key_file: Path | None = None  # None means identity.key in data_dir
    synchronous: Literal["FULL", "NORMAL"] = "FULL"  # FULL survives a power cut, NORMAL a killed process only

    market_price: Decimal = field(
        default_factory=lambda: Decimal("0.0000001")
    )  # DCC for one slice at multiplier 1
    opening_grant: Decimal = field(
        default_factory=lambda: Decimal(1000)
    )  # DCC that a new payment account starts with

    target_task_s: float = 60.0  # how much work one task gives each core
    lease_floor_s: float = 120.0  # a worker that is out of contact keeps its slices at least this long
    lease_max_s: float = (
        3600.0  # a worker that is in contact keeps its slices at most this long without a result
    )
    returns_before_failure: int = 3  # a slice that was returned with an error more often than this has failed
    max_task_slices: int = 50_000
    max_task_bytes: int = 8 << 20  # of inputs in one task
    max_wait_s: float = 60.0  # how long a request for work may be held

    max_slices: int = (1 << 53) - 1  # of one job: what JavaScript can count
    max_fetch_bytes: int = 64 << 20  # of results in one answer
    event_buffer_bytes: int = (
        8 << 20
    )  # results that wait for one slow subscriber; it fetches what did not fit
