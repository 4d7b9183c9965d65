"""How much of a box may be used now: a plain function of what was read and set. No clock, no files."""

import math
from dataclasses import dataclass

_EXPECTED_MEMORY = 256 << 20
"""What a usual sandbox takes; the limit of a single one is higher, and most never come near it."""
_RESERVE = 0.05
"""Share of the memory that stays free for everybody else."""
_CPU_STEP = 0.25
"""Changes of fewer cores than this are not worth a message."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What the operator allows."""

    cores: float | None = None  # most cores to use; None: all of the box
    gpus: float = 0.0
    utilization: float = 1.0  # 0..1, share of those cores
    gpu_utilization: float = 0.75
    max_sandboxes: int | None = None  # None: one for each core or part of one
    max_load: float | None = None  # 0..1, leave room when the whole box is busier; None: do not look


@dataclass(frozen=True, slots=True)
class Readings:
    """What the box says."""

    cores: float  # that this process may use: affinity and cgroup limits are taken into account
    memory: int  # bytes in total
    memory_available: int  # bytes
    sandboxes: int  # that live here now
    others_cpu: float = 0.0  # cores that processes which are not ours keep busy


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be used, and why not more."""

    cpu: float
    gpu: float
    sandboxes: int
    reason: str


def room(settings: LoadSettings, readings: Readings) -> Room:
    """Give what may be used now. Fractions of a core count; a sandbox is allowed for each part of one."""
    cpu = min(settings.cores if settings.cores is not None else readings.cores, readings.cores)
    cpu = max(0.0, cpu * settings.utilization)
    reason = f"{cpu:g} of {readings.cores:g} cores are allowed"
    if settings.max_load is not None:
        left = readings.cores * settings.max_load - readings.others_cpu
        if left < cpu:
            cpu = max(0.0, left)
            reason = (
                f"other programs keep {readings.others_cpu:.2f} cores busy and the box may be at most "
                f"{settings.max_load:.0%} busy"
            )
    cpu = round(cpu, 3)
    sandboxes = settings.max_sandboxes if settings.max_sandboxes is not None else math.ceil(cpu)
    if cpu == 0:
        sandboxes = 0
    spare = readings.memory_available - _RESERVE * readings.memory
    fitting = max(0, readings.sandboxes + math.floor(spare / _EXPECTED_MEMORY))
    if fitting < sandboxes:
        sandboxes = fitting
        reason = f"the free memory, {readings.memory_available >> 20} MiB, is enough for {fitting} sandboxes"
    gpu = round(max(0.0, settings.gpus * settings.gpu_utilization), 3)
    return Room(cpu, gpu, sandboxes, reason)


@dataclass
class Steady:
    """Decides which answers are passed on: less at once, more only when it was there twice in a row."""

    told: Room | None = None
    growing: Room | None = None

    def pass_on(self, new: Room) -> bool:
        """Tell whether this answer is to be sent."""
        old, growing = self.told, self.growing
        self.growing = None
        if (
            old is None
            or new.sandboxes < old.sandboxes
            or new.cpu <= old.cpu - _CPU_STEP
            or new.gpu < old.gpu
        ):
            self.told = new
            return True
        if new.cpu == 0 and old.cpu > 0:
            self.told = new
            return True
        if new.sandboxes > old.sandboxes or new.cpu >= old.cpu + _CPU_STEP or new.gpu > old.gpu:
            if growing is not None:
                self.told = new
                return True
            self.growing = new
        return False
