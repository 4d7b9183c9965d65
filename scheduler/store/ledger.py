"""Double-entry book-keeping in integers of 10^-18 DCC. Every transaction sums to zero, so the whole ledger
does.

Only the issuing account may be negative: it balances what labs grant to their own payment accounts.
"""

from collections.abc import Mapping
from decimal import Decimal

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.engine import Connection

from ..refusal import Refused
from .statements import Statement
from .tables import accounts, entries, journal

DCC = 10**18
ISSUER = "0x0000000000000000000000000000000000000000"
"""The account that opening grants come from."""

_account = Statement(
    select(accounts.c.balance, accounts.c.granted).where(accounts.c.address == bindparam("of"))
)
_set_balance = Statement(
    update(accounts).where(accounts.c.address == bindparam("of")).values(balance=bindparam("new_balance"))
)
_note = Statement(insert(journal), ("time", "kind", "reference"))
_enter = Statement(insert(entries))


def attos(amount: Decimal) -> int:
    """An amount in DCC as an integer of 10^-18 DCC, rounded down."""
    return int(amount * DCC)


def in_dcc(amount: int) -> str:
    """An amount of 10^-18 DCC as decimal text in DCC, without superfluous zeros."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, DCC)
    return f"{sign}{whole}.{rest:018d}".rstrip("0").rstrip(".")


def balance_of(connection: Connection, address: str) -> int:
    """What an account holds; an account that nobody opened holds nothing."""
    row = _account.first(connection, of=address)
    return 0 if row is None else int(row[0])


def open_account(connection: Connection, address: str, grant: int = 0, now: float = 0.0) -> None:
    """Make sure that the account exists, and that it has had its opening grant once when there is one."""
    row = _account.first(connection, of=address)
    if row is None:
        connection.execute(insert(accounts).values(address=address, balance=0, granted=False))
    if grant > 0 and address != ISSUER and (row is None or not row[1]):
        connection.execute(update(accounts).where(accounts.c.address == address).values(granted=True))
        post(connection, {ISSUER: -grant, address: grant}, "grant", "", now)


def post(connection: Connection, amounts: Mapping[str, int], kind: str, reference: str, now: float) -> None:
    """Enter one transaction: what each account gains (positive) or gives (negative).

    Raises Refused ENOFUNDS when an account does not hold what it is to give.
    """
    amounts = {account: amount for account, amount in amounts.items() if amount}
    if sum(amounts.values()) != 0:
        raise AssertionError(f"entries of a {kind} sum to {sum(amounts.values())}, not to zero")
    if not amounts:
        return
    balances = []
    for account, amount in amounts.items():
        row = _account.first(connection, of=account)
        if row is None:
            open_account(connection, account)
        after = (0 if row is None else int(row[0])) + amount
        if after < 0 and amount < 0 and account != ISSUER:
            raise _too_little(account, after - amount, -amount)
        balances.append({"of": account, "new_balance": after})
    _set_balance.run_each(connection, balances)
    number = _note.run(connection, time=now, kind=kind, reference=reference)
    _enter.run_each(
        connection,
        [{"journal": number, "account": account, "amount": amount} for account, amount in amounts.items()],
    )


def must_cover(connection: Connection, account: str, amount: int) -> None:
    """Raises Refused ENOFUNDS when an account holds less than an amount."""
    balance = balance_of(connection, account)
    if balance < amount:
        raise _too_little(account, balance, amount)


def _too_little(account: str, balance: int, needed: int) -> Refused:
    return Refused(
        "ENOFUNDS",
        f"Account {account} holds {in_dcc(balance)} DCC, less than the {in_dcc(needed)} DCC that this needs. "
        "Transfer DCC to it, or offer less for a slice.",
    )


def audit(connection: Connection) -> dict[str, int]:
    """Add everything up again: each account from its entries. Raises when the books are wrong."""
    sums: dict[str, int] = {}
    for account, amount in connection.execute(select(entries.c.account, entries.c.amount)):
        sums[account] = sums.get(account, 0) + amount
    if sum(sums.values()) != 0:
        raise AssertionError(f"the ledger sums to {sum(sums.values())}")
    for address, balance in connection.execute(select(accounts.c.address, accounts.c.balance)):
        if sums.get(address, 0) != balance:
            raise AssertionError(f"account {address} says {balance}, its entries say {sums.get(address, 0)}")
    return sums
