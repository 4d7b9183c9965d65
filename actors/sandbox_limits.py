"""How patient we are with a sandbox, and how much it may chatter."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """All of it can be set; these are the defaults."""

    progress_timeout_s: float = 300.0  # longest silence while slices are in flight
    start_timeout_s: float = 60.0  # from the start of the process until the job is assigned
    progress_every_s: float = 0.25  # progress is passed on no more often
    event_bytes: int = 256 << 10  # a larger console line or custom event is dropped
    events_burst: int = 5_000  # console lines and custom events that may come at once
    events_per_s: float = 500.0  # and for ever
    event_bytes_burst: int = 16 << 20
    event_bytes_per_s: float = 1 << 20
    wasted_burst: int = 20_000  # dropped ones that may come at once before the sandbox is ended; a long one
    # counts once more for each 4 KiB
    wasted_per_s: float = 1_000.0


class _Bucket:
    """Holds up to ``burst``, refilled steadily."""

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst = self._level = burst
        self._per_s = per_s
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        self._level = min(self._burst, self._level + (now - self._at) * self._per_s)
        self._at = now
        if amount > self._level:
            return False
        self._level -= amount
        return True


class EventBudget:
    """Counts what a sandbox tells besides its results."""

    def __init__(self, limits: SandboxLimits, now: float) -> None:
        self._events = _Bucket(limits.events_burst, limits.events_per_s, now)
        self._bytes = _Bucket(limits.event_bytes_burst, limits.event_bytes_per_s, now)
        self._wasted = _Bucket(limits.wasted_burst, limits.wasted_per_s, now)

    def take(self, size: int, now: float) -> bool:
        """Tell whether an event of this size may be passed on."""
        return self._bytes.take(size, now) and self._events.take(1, now)

    def waste(self, size: int, now: float) -> bool:
        """Count something that is dropped; tells whether it may go on like this."""
        return self._wasted.take(1 + size // 4096, now)
