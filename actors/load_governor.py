"""The LoadGovernor: reads the box every few seconds and tells its host when the allowance changes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from loguru import logger

from ..protocol.messages import Allowance
from ..protocol.switchboard import Address, Switchboard
from .base import Actor, handles
from .load import LoadSettings, Readings, Steady, room

_CGROUP = Path("/sys/fs/cgroup")


class _Look:
    """The governor's message to itself: time to look again."""


class LoadGovernor(Actor):
    """LoadGovernor -> EvaluatorHost: Allowance, when it changes."""

    remote = False

    def __init__(
        self,
        switchboard: Switchboard,
        name: str,
        *,
        host: str,
        settings: LoadSettings,
        sandboxes: Callable[[], int],
        every_s: float = 5.0,
    ) -> None:
        """``sandboxes`` gives how many live here now; the allowance goes to the actor ``host``."""
        super().__init__(switchboard, name)
        self._host = host
        self._settings = settings
        self._sandboxes = sandboxes
        self._every_s = every_s
        self._steady = Steady()
        self._meter = CpuMeter() if settings.max_load is not None else None

    def on_start(self) -> None:
        self.on_look(_Look(), None)

    @handles(_Look)
    def on_look(self, message: _Look, _delivery: object) -> None:
        """Read, decide, tell."""
        answer = room(self._settings, read_box(self._sandboxes(), self._meter))
        if self._steady.pass_on(answer):
            logger.info(
                "{} cores and {} sandboxes may be used: {}", answer.cpu, answer.sandboxes, answer.reason
            )
            allowance = Allowance(self._host, answer.cpu, answer.gpu, answer.sandboxes, answer.reason)
            self.tell(Address(b"", "host"), allowance)
        self.after(self._every_s, message)


class CpuMeter:
    """Measures how many cores processes other than ours keep busy."""

    def __init__(self) -> None:
        self._before = (time.monotonic(), self._busy(), self._own())

    def others(self) -> float:
        """Give the cores that others kept busy since the last call."""
        now = (time.monotonic(), self._busy(), self._own())
        seconds = max(now[0] - self._before[0], 0.001)
        used = (now[1] - self._before[1]) - (now[2] - self._before[2])
        self._before = now
        return max(0.0, used / seconds)

    @staticmethod
    def _busy() -> float:
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    @staticmethod
    def _own() -> float:
        """CPU seconds of this process and all it has started, the ended ones too."""
        me = psutil.Process()
        own = me.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in me.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
        return float(total)


def read_box(sandboxes: int = 0, meter: CpuMeter | None = None) -> Readings:
    """Read cores and memory of this box, or of the cgroup that this process is confined to."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = _read("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]):
        cores = min(cores, int(quota[0]) / int(quota[1]))
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limit, current = _read("memory.max"), _read("memory.current")
    if limit.isdigit() and current.isdigit() and int(limit) < total:
        total = int(limit)
        available = min(available, max(0, total - int(current)))
    return Readings(cores, total, available, sandboxes, meter.others() if meter else 0.0)


def _read(name: str) -> str:
    try:
        return (_CGROUP / name).read_text().strip()
    except OSError:
        return ""
