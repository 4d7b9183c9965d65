"""What the scheduler's books say: the jobs of a deployer, the balance of an account."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ClientError
from .identity import load_identity
from .services import Services

if TYPE_CHECKING:
    from ..protocol.dcp.signer import Signer


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job in the scheduler's list."""

    id: str
    status: str
    total: int  # slices
    done: int
    failed: int
    slice_payment: Decimal | None = (
        None  # DCC for each slice with an outcome; None when the scheduler does not say
    )

    @property
    def cost(self) -> Decimal | None:
        """What the job has cost so far, in DCC."""
        return None if self.slice_payment is None else self.slice_payment * (self.done + self.failed)


@dataclass(frozen=True, slots=True)
class Books:
    """What a deployer's jobs came to, and what a worker earned by them."""

    jobs: int
    slices: int  # with an outcome
    account: str  # address of the worker's account
    earned: Decimal  # DCC on it


async def list_jobs(services: Services, job: str | None = None) -> list[JobSummary]:
    """The jobs that this identity has deployed, or one of them."""
    answer = await services.call("pheme", "listJobs", {} if job is None else {"job": job})
    if not isinstance(answer, list):
        raise ClientError("The scheduler's list of jobs is no list.")
    return [
        JobSummary(
            str(entry.get("job", "")),
            str(entry.get("status", "")),
            _count(entry.get("totalSlices")),
            _count(entry.get("completedSlices")),
            _count(entry.get("failedSlices")),
            _amount(entry.get("slicePayment")),
        )
        for entry in answer
        if isinstance(entry, dict)
    ]


async def balances(services: Services, accounts: "Sequence[Signer]") -> list[Decimal]:
    """What is on these accounts, in DCC. Their owners sign for it."""
    data = {"addresses": [str(account.address) for account in accounts]}
    answer = await services.call("bankTeller", "viewAccounts", data, authorise=accounts)
    try:
        found = [Decimal(str(entry["balance"])) for entry in answer["accounts"]]
    except (KeyError, TypeError, ArithmeticError):
        raise ClientError("The bank's answer about accounts makes no sense.") from None
    if len(found) != len(accounts):
        raise ClientError(f"The bank told {len(found)} balances of {len(accounts)} accounts.")
    return found


def account_summary(url: str, *, deployer: Path, worker: Path) -> Books:
    """Read the books for whoever has the keystores in these folders. Blocks; a few round trips."""

    async def ask() -> Books:
        identity = await asyncio.to_thread(load_identity, folder=deployer)
        earner = await asyncio.to_thread(load_identity, folder=worker)
        services = await Services.open(url, identity, _no_requests, lambda _: None)
        try:
            jobs, [earned] = await asyncio.gather(list_jobs(services), balances(services, [earner.payer]))
        finally:
            await services.close()
        slices = sum(job.done + job.failed for job in jobs)
        return Books(len(jobs), slices, str(earner.payer.address), earned)

    return asyncio.run(ask())


async def _no_requests(operation: str, _data: Any) -> Any:
    raise ClientError(f"Nobody here serves {operation[:50]!r}.", code="ENOSYS")


def _amount(value: object) -> Decimal | None:
    try:
        amount = Decimal(value) if isinstance(value, str) and len(value) < 100 else None
    except ArithmeticError:
        return None
    return amount if amount is not None and amount.is_finite() else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


__all__ = ["Books", "JobSummary", "account_summary", "balances", "list_jobs"]
