"""Accounts: ``viewAccounts`` and ``transfer@1``. Only who signs for an account sees and spends it."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.engine import Connection

from ..protocol.dcp.address import to_checksum
from .core import Call, Core, Form, Operations, read
from .job_submit import ADDRESS
from .refusal import Refused
from .store import ledger

AccountAddress = Annotated[str, Field(pattern=ADDRESS)]
MOST_DCC = Decimal(10) ** 30


class ViewAccounts(Form):
    addresses: Annotated[list[AccountAddress], Field(min_length=1, max_length=1000)]


class Transfer(Form):
    fromAccount: AccountAddress  # noqa: N815
    toAccount: AccountAddress  # noqa: N815
    amount: Annotated[float | str, Field()] | None = None  # DCC
    transferAll: bool | None = None  # noqa: N815


def amount_of(amount: float | str | None) -> int:
    """An amount in DCC, as a number or decimal text, in 10^-18 DCC. Raises Refused EAMOUNT unless it is above
    zero.
    """
    try:
        value = Decimal(amount if isinstance(amount, str) else repr(amount))
    except ArithmeticError:
        value = Decimal(0)
    if not (value.is_finite() and 0 < value <= MOST_DCC):
        raise Refused("EAMOUNT", "The amount of a transfer must be a number of DCC above zero.")
    return ledger.attos(value)


def transfer(connection: Connection, source: str, target: str, amount: int | None, now: float) -> int:
    """Move money between accounts; None moves all. Returns what was moved, in 10^-18 DCC."""
    moved = ledger.balance_of(connection, source) if amount is None else amount
    if source == ledger.ISSUER:
        raise Refused("EAUTH", "Nobody transfers from the issuing account.")
    if source != target:
        ledger.post(connection, {source: -moved, target: moved}, "transfer", "", now)
    return moved


def operations(core: Core) -> Operations:
    """The operations of this service by their names on the wire."""

    def signed(call: Call, address: str) -> str:
        checksummed = str(to_checksum(bytes.fromhex(address[2:])))
        if not call.speaks_for(checksummed):
            raise Refused("EAUTH", f"The owner of account {checksummed} has not signed this request.")
        return checksummed

    async def view(call: Call) -> Any:
        addresses = [signed(call, address) for address in read(ViewAccounts, call.data).addresses]
        balances = await core.store.read(
            lambda connection: [ledger.balance_of(connection, address) for address in addresses]
        )
        return {"accounts": [{"balance": ledger.in_dcc(balance)} for balance in balances]}

    async def move(call: Call) -> Any:
        request = read(Transfer, call.data)
        source = signed(call, request.fromAccount)
        target = str(to_checksum(bytes.fromhex(request.toAccount[2:])))
        amount = None if request.transferAll else amount_of(request.amount)
        moved = await core.store.write(
            lambda connection: transfer(connection, source, target, amount, core.now())
        )
        return ledger.in_dcc(moved)

    return {"viewAccounts": view, "transfer@1": move}
