"""Evaluators that are started ahead, so that a job need not wait for one."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from loguru import logger

from ..actors.evaluator_api import Ended, Evaluator, EvaluatorFactory, Feed
from ..errors import DcpError

_REST_S = 5.0  # after a spare has failed, before the next is tried


@dataclass(eq=False)
class Started:
    """An evaluator and what it has said so far."""

    evaluator: Evaluator
    feed: Feed
    dead: bool = field(default=False)


class Spares:
    """Keeps a number of evaluators ready. Used by one thread; only ``on_loss`` is called from another."""

    def __init__(self, factory: EvaluatorFactory, count: int, on_loss: Callable[[Started], None]) -> None:
        self._factory = factory
        self._count = count
        self._on_loss = on_loss
        self._ready: deque[Started] = deque()
        self._resting_until = 0.0

    def take(self) -> Started:
        """Give an evaluator; it is the taker's from now on. Raises DcpError when none can be started."""
        while self._ready:
            spare = self._ready.popleft()
            if not spare.dead:
                return spare
        return self._start()

    def refill(self) -> float | None:
        """Start what is missing; gives the seconds after which to call again, None when all is well."""
        self._ready = deque(spare for spare in self._ready if not spare.dead)
        rest = self._resting_until - time.monotonic()
        if len(self._ready) < self._count and rest > 0:
            return rest
        while len(self._ready) < self._count:
            try:
                self._ready.append(self._start())
            except DcpError as error:
                logger.error("no evaluator can be started: {}", error)
                return self._rest()
        return None

    def lost(self, spare: Started) -> None:
        """A spare has ended by itself; rest before trying again."""
        if spare in self._ready:
            logger.warning("a spare evaluator ended before it had a job")
            spare.dead = True
            self._rest()

    def close(self) -> None:
        """Kill all that are waiting."""
        self._count = 0
        while self._ready:
            self._ready.popleft().evaluator.kill("closed", "the host ends")

    def _rest(self) -> float:
        self._resting_until = time.monotonic() + _REST_S
        return _REST_S

    def _start(self) -> Started:
        feed = Feed()
        started = Started(self._factory(feed), feed)
        feed.on_early_end = lambda: self._on_loss(started)
        return started


__all__ = ["Ended", "Spares", "Started"]
