"""Is a request fresh? Its sender has stamped it with a unique text, a time and a time to live."""

from collections import OrderedDict
from collections.abc import Mapping

SLOP_S = 600.0
"""Seconds by which two clocks may differ."""

_MIN_TTL_S, _DEFAULT_TTL_S, _MAX_TTL_S = 15.0, 120.0, 600.0
_MAX_STAMP = 128


class StampMemory:
    """Remembers the stamps of one session until they expire, the newest ``capacity`` of them.

    Within a session each message is single-use through its nonce already, so forgetting early does no harm.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._expiry: OrderedDict[str, float] = OrderedDict()

    def add(self, stamp: str, expiry: float, now: float) -> bool:
        """Remember a stamp; False when it is known and has not expired."""
        if self._expiry.get(stamp, now) > now:
            return False
        self._expiry[stamp] = expiry
        while len(self._expiry) > self._capacity:
            self._expiry.popitem(last=False)
        return True


def refusal(validity: object, stamps: StampMemory, now: float) -> tuple[str, str] | None:
    """Why a request must not be served, as (code, message); None when it may. Times in seconds."""
    if not isinstance(validity, Mapping):
        return "EINVAL", "the request has no validity"
    stamp, time = validity.get("stamp"), _number(validity.get("time"))
    if not isinstance(stamp, str) or not 0 < len(stamp) <= _MAX_STAMP or time is None:
        return "EINVAL", "the validity of the request needs a stamp and a time"
    ttl = _number(validity.get("ttl")) or _DEFAULT_TTL_S
    expiry = time + min(max(ttl, _MIN_TTL_S), _MAX_TTL_S)
    if time > now + SLOP_S:
        return (
            "ETIMETRAVEL",
            f"the request is from the future by {time - now:.0f} seconds; set one of the two clocks",
        )
    if expiry < now - SLOP_S:
        return "EEXPIRED", f"the request expired {now - expiry:.0f} seconds ago; set one of the two clocks"
    if not stamps.add(stamp, expiry + SLOP_S, now):
        return "EDUP", "a request with this validity stamp has been received before"
    return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
