"""The ledger's functions called on a plain connection, for races and for what the service would refuse before the database does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import psycopg

from app.core.ids import new_id
from app.core.money import Money
from app.ledger.domain import AccountRef, Code, Line, Owner, credit, debit

TODAY = "2026-11-21"
POST = (
    "select ledger.post1(%s, %s, %s, %s, %s, %s, %s::text[], %s::text[], %s::uuid[], %s::text[], %s::smallint[], %s::bigint[], %s::text[])"
)


def eur(minor: int) -> Money:
    """Euros in cents."""
    return Money(minor, "EUR")


def seller() -> Owner:
    """Somebody with wallets."""
    return Owner("seller", new_id())


def available(owner: Owner) -> AccountRef:
    """The wallet that may not go below zero."""
    return owner.account(Code.SELLER_AVAILABLE)


BANK = AccountRef(Code.BANK_OPERATING)


def fund(owner: Owner, minor: int) -> list[Line]:
    """Money from the bank into a wallet."""
    return [debit(BANK, eur(minor)), credit(available(owner), eur(minor))]


def spend(owner: Owner, minor: int) -> list[Line]:
    """Money from a wallet to the bank."""
    return [debit(available(owner), eur(minor)), credit(BANK, eur(minor))]


def move(giver: Owner, taker: Owner, minor: int) -> list[Line]:
    """Money from wallet to wallet."""
    return [debit(available(giver), eur(minor)), credit(available(taker), eur(minor))]


def post(
    connection: psycopg.Connection,
    merchant: UUID,
    lines: Sequence[Line],
    *,
    key: str = "event",
    source: UUID | None = None,
    on: str = TODAY,
    kind: str = "ledger.adjusted",
) -> int:
    """Post in the present transaction of the connection; returns the transaction's number."""
    columns = [
        [str(line.account.code) for line in lines],
        [line.account.owner_type for line in lines],
        [line.account.owner_id for line in lines],
        [line.amount.currency for line in lines],
        [int(line.side) for line in lines],
        [line.amount.minor for line in lines],
        [line.clear_key for line in lines],
    ]
    row = connection.execute(POST, (merchant, kind, "test", source or new_id(), key, on, *columns)).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def acting_for(connection: psycopg.Connection, merchant: UUID | str) -> Iterator[psycopg.Connection]:
    """One transaction for a merchant, or for none when it is empty."""
    with connection.transaction():
        connection.execute("select set_config('app.merchant_id', %s, true)", (str(merchant),))
        yield connection


def unless_refused(work: Callable[[], int], by: str) -> int | None:
    """What the work returns, or None when this constraint refuses it."""
    try:
        return work()
    except psycopg.errors.CheckViolation as error:
        if error.diag.constraint_name != by:
            raise
        return None


def net(connection: psycopg.Connection, merchant: UUID) -> dict[tuple[str, UUID], int]:
    """What every account holds, debits less credits: balance rows and what waits."""
    rows = connection.execute(
        "select a.code, a.owner_id, (select sum(debits_posted - credits_posted) from ledger.balance b where b.account_id = a.id)"
        " + coalesce((select sum(debits - credits) from ledger.balance_delta d where d.account_id = a.id), 0)"
        " from ledger.account a where a.merchant_id = %s",
        (merchant,),
    ).fetchall()
    return {(code, owner): int(total) for code, owner, total in rows}
