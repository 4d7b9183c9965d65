"""What proves that a worker was given slices: a message that only this scheduler can have made.

The worker returns everything of a task but its ``body`` word for word with each status and result (the
*authorizationMessage* of the wire). Workers do not verify it, we do: with a keyed hash, which costs
microseconds where a signature costs hundreds.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..errors import DcpError
from ..protocol.intervals import Interval, covers, from_numbers, normalise
from .refusal import Refused


@dataclass(frozen=True, slots=True)
class Grant:
    """Slices that a worker was given, by job, as normalised intervals."""

    worker: str
    slices: Mapping[str, Sequence[Interval]]
    ids: Mapping[str, str] = field(default_factory=dict)  # of jobs that are called by their addresses here

    def covers(self, job: str, part: Interval) -> bool:
        return covers(self.slices.get(job, ()), *part)


class Authority:
    """Makes and checks authorisation messages of one scheduler."""

    def __init__(self, secret: bytes, address: str) -> None:
        self._key = hashlib.blake2b(secret, person=b"dcp task auth").digest()
        self._address = address
        self._last: tuple[bytes, Grant] | None = None

    def issue(
        self,
        worker: str,
        given: Mapping[str, Sequence[Interval]],
        *,
        numbered: bool = False,
        addresses: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The message for these slices. ``numbered`` lists them singly, as one-slice workers expect it.

        With ``addresses``, of the jobs by their ids, it is in the older dialect.
        """
        auth: dict[str, Any] = {"workerId": worker, "schedulerId": self._address, "jobCommissions": {}}
        if addresses is not None:
            auth["schedulerId"] = {"address": self._address}
            auth["jobIds"] = {addresses[job]: job for job in given}
            given = {addresses[job]: of_job for job, of_job in given.items()}
        if numbered:
            auth["authSlices"] = {
                job: [number for first, count in of_job for number in range(first, first + count)]
                for job, of_job in given.items()
            }
        else:
            auth["authRuns"] = {job: [list(part) for part in of_job] for job, of_job in given.items()}
        return {"owner": self._address, "signature": {"hmac": self._seal(_canonical(auth))}, "auth": auth}

    def verify(self, message: Mapping[str, Any]) -> Grant:
        """What the message grants. Raises Refused EAUTH when it is not one of ours, or was changed."""
        auth, signature = message.get("auth"), message.get("signature")
        seal = signature.get("hmac") if isinstance(signature, Mapping) else None
        if not isinstance(auth, Mapping) or not isinstance(seal, str):
            raise Refused("EAUTH", "There is no authorisation of a task in this message.")
        text = _canonical(auth)
        if self._last is not None and self._last[0] == text + seal.encode(errors="replace"):
            return self._last[1]  # a worker sends the same one with every result
        if not hmac.compare_digest(self._seal(text).encode(), seal.encode(errors="replace")):
            raise Refused(
                "EAUTH",
                "This scheduler did not give out that authorisation; the slices need to be fetched again.",
            )
        grant = Grant(str(auth["workerId"]), _slices(auth), auth.get("jobIds", {}))
        self._last = (text + seal.encode(), grant)
        return grant

    def _seal(self, text: bytes) -> str:
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def _canonical(auth: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(auth, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError, DcpError) as error:
        raise Refused("EAUTH", "The authorisation of the task is not JSON.") from error


def _slices(auth: Mapping[str, Any]) -> dict[str, list[Interval]]:
    # Sealed by us, so the shapes are ours.
    if "authRuns" in auth:
        return {
            job: normalise((first, count) for first, count in runs) for job, runs in auth["authRuns"].items()
        }
    return {job: from_numbers(numbers) for job, numbers in auth["authSlices"].items()}
