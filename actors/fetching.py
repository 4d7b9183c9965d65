"""When to ask the scheduler for work, and for how much.

Pure: the caller gives the time and rolls the dice.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .records import JobRecord

FIRST_SLICES_A_SLOT = 4
"""How many slices a slot asks for before any slice time is known here."""

MAX_SLICES = 100_000
"""Most slices that one request asks for: what waits here does not run elsewhere."""

REFILL = 0.5
"""What lies ready may shrink to this part of the window before more is asked for, unless a slot is empty."""

HELD_S = 1.0
"""An empty answer that took longer than this was held by the scheduler until it gave up.

Asking again is no polling.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request should ask for."""

    cpu: float
    slices: int


def predict(
    jobs: Iterable[JobRecord], slots: int, cpu: float, window_s: float, typical_ms: float | None
) -> Wanted | None:
    """What will be free within the prefetch window, or None when that is too little to ask for.

    A job occupies as many slots as it has slices and no more; as long as none of its slices was measured,
    each is taken to last beyond the window.
    """
    if slots < 1 or cpu <= 0:
        return None
    window_ms = window_s * 1000.0
    free_ms = slots * window_ms
    idle = slots
    for job in jobs:
        slices = job.queued + job.dealt
        lasting = window_ms if job.slice_ms is None else job.slice_ms
        free_ms -= min(slices * lasting, min(slices, slots) * window_ms)
        idle -= min(slices, slots)
    if free_ms <= 0 or (idle <= 0 and free_ms < REFILL * slots * window_ms):
        return None
    share = min(1.0, free_ms / (slots * window_ms))
    slices = FIRST_SLICES_A_SLOT * slots
    if typical_ms is not None:
        slices = int(free_ms / max(typical_ms, 0.001))
    return Wanted(cpu=round(min(cpu, slots) * share, 3), slices=max(1, min(MAX_SLICES, slices)))


@dataclass(slots=True)
class Fetching:
    """CLOSED until what an earlier life left is delivered, then asking, resting or idle until it stops."""

    watch_s: float  # the longest rest when there is no work, seconds
    open: bool = False
    asking_since: float | None = None
    started: bool = False  # the scheduler has answered the start-up check
    rests_until: float = 0.0
    empties: int = 0  # answers without work that were not held, one after the other

    def may_ask(self, now: float) -> bool:
        """Whether a request may go out now."""
        return self.open and self.asking_since is None and now >= self.rests_until

    def asked(self, now: float) -> None:
        """A request went out."""
        self.asking_since = now

    def answered(self, now: float, *, empty: bool, dice: float) -> None:
        """The scheduler has answered. Without work, rest longer each time, unless it held the request."""
        held = self.asking_since is not None and now - self.asking_since >= HELD_S
        self.asking_since = None
        self.started = True
        if not empty or held:
            self.empties = 0
            self.rests_until = now
        else:
            self._rest(now, dice)

    def failed(self, now: float, *, dice: float) -> None:
        """The request got no answer, or an error."""
        self.asking_since = None
        self._rest(now, dice)

    def wake(self) -> None:
        """Something speaks for work being there now, e.g. slices just went back or a host came."""
        self.empties = 0
        self.rests_until = 0.0

    def _rest(self, now: float, dice: float) -> None:
        """Half a second, doubling up to the watch interval; ``dice`` in 0..1 takes off up to half of it."""
        rest = min(self.watch_s, 0.5 * 2.0 ** min(self.empties, 20))
        self.empties += 1
        self.rests_until = now + rest * (0.5 + 0.5 * dice)
