"""Writing the ledger: one call to the database per posting, inside the caller's transaction."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Final
from uuid import UUID

from psycopg import errors as postgres
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.errors import AppError
from app.core.ids import MerchantId
from app.ledger import domain
from app.ledger.domain import AccountId, AccountRef, AccountStatus, Kind, Line, Posting, TransactionId, check_balanced

REFUSALS: Final[dict[str, type[AppError]]] = {
    "ck_balance_no_overdraft": domain.InsufficientFunds,
    "ledger_idempotency": domain.LedgerIdempotencyConflict,
    "ledger_period_open": domain.PeriodClosed,
    "ledger_account_open": domain.AccountFrozen,
    "ledger_balanced": domain.Unbalanced,
    "ledger_complete": domain.Unbalanced,
    "ck_entry_amount": domain.Unbalanced,
    "ledger_chart": domain.UnknownAccount,
    "ledger_kind": domain.UnknownAccount,
    "ledger_book": domain.UnknownAccount,
    "fk_account_currency_currency": domain.UnknownAccount,
    "ck_account_owner": domain.UnknownAccount,
    "ledger_held": domain.Unbalanced,
    "ledger_hold": domain.TransactionNotFound,
    "ledger_transaction": domain.TransactionNotFound,
    "uq_txn_merchant_id_reverses_txn_id": domain.AlreadyReversed,
    "uq_txn_merchant_id_pending_txn_id": domain.AlreadyReversed,
    "ledger_tenant": domain.BookNotOpen,
}
"""What the database refuses, by constraint, and what people are told."""

_POST_ONE = text(
    "select ledger.post1(:merchant, :kind, :source_type, :source_id, :event_key, :effective_on, cast(:codes as text[]),"
    " cast(:owner_types as text[]), cast(:owners as uuid[]), cast(:currencies as text[]), cast(:sides as smallint[]),"
    " cast(:amounts as bigint[]), cast(:clear_keys as text[]), :actor_kind, :actor_id, :request_id, :description)"
)
_POST_MANY = text(
    "select ledger.post(:merchant, cast(:kinds as text[]), cast(:source_types as text[]), cast(:source_ids as uuid[]),"
    " cast(:event_keys as text[]), cast(:effective_ons as date[]), cast(:lines_of as int[]), cast(:codes as text[]),"
    " cast(:owner_types as text[]), cast(:owners as uuid[]), cast(:currencies as text[]), cast(:sides as smallint[]),"
    " cast(:amounts as bigint[]), cast(:clear_keys as text[]), cast(:actor_kinds as text[]), cast(:actor_ids as uuid[]),"
    " cast(:request_ids as text[]), cast(:descriptions as text[]))"
)


@asynccontextmanager
async def refusals() -> AsyncIterator[None]:
    """Turn what the ledger's own rules refuse into errors people can act on; other database errors pass."""
    try:
        yield
    except DBAPIError as error:
        refused = refusal(error)
        if refused is None:
            raise
        raise refused from error


def refusal(error: DBAPIError) -> AppError | None:
    """The application's error for a database error of the ledger, if it is one."""
    return refusal_of(error.orig)


def refusal_of(original: BaseException | None) -> AppError | None:
    """The application's error for what the driver reports, if the ledger's rules refused something."""
    if isinstance(original, postgres.DeadlockDetected | postgres.LockNotAvailable):
        return domain.LedgerBusy()
    if not isinstance(original, postgres.Error):
        return None
    kind = REFUSALS.get(original.diag.constraint_name or "")
    if kind is None:
        return None
    return kind() if kind is domain.InsufficientFunds else kind(original.diag.message_primary or "")


async def post(session: AsyncSession, *, merchant_id: MerchantId, postings: Sequence[Posting]) -> list[TransactionId]:
    """Post balanced transactions, each exactly once, and return their numbers in order; all of them happen or none.

    Give everything one database transaction posts in one call: it locks the accounts in one order, so that two calls cannot block each other.
    """
    for posting in postings:
        check_balanced(posting.lines)
    if not postings:
        return []
    async with refusals():
        if len(postings) == 1:
            return [TransactionId(await session.scalar(_POST_ONE, _one(merchant_id, postings[0])))]
        found = await session.scalar(_POST_MANY, _many(merchant_id, postings))
        return [TransactionId(number) for number in found]


async def open_book(session: AsyncSession, merchant_id: MerchantId) -> None:
    """Give a merchant its book; a second call changes nothing."""
    async with refusals():
        await session.execute(text("select ledger.open_book(:merchant)"), {"merchant": merchant_id})


async def open_account(
    session: AsyncSession, *, merchant_id: MerchantId, account: AccountRef, currency: str, min_available: int | None = None
) -> AccountId:
    """Open an account before its first use, when it needs another limit than the chart's: 0 refuses a negative balance, -50000 is a credit line."""
    statement = text("select ledger.open_account(:merchant, :code, :owner_type, :owner_id, :currency, :min_available)")
    values = {"merchant": merchant_id, **_named(account), "currency": currency, "min_available": min_available}
    async with refusals():
        return AccountId(await session.scalar(statement, values))


async def set_account_status(session: AsyncSession, *, merchant_id: MerchantId, account_id: AccountId, status: AccountStatus) -> None:
    """Freeze, reopen or close an account; what was closed stays closed."""
    statement = text("select ledger.set_account_status(:merchant, :account, cast(:status as smallint))")
    async with refusals():
        changed = await session.scalar(statement, {"merchant": merchant_id, "account": account_id, "status": int(status)})
    if not changed:
        raise domain.AccountNotFound("There is no such account, or it is closed for good.")


async def lock_available(session: AsyncSession, *, merchant_id: MerchantId, account: AccountRef, currency: str) -> int | None:
    """Keep others from this account until the transaction ends and return what may be taken, in minor units; None when it is not open yet."""
    statement = text("select ledger.lock_available(:merchant, :code, :owner_type, :owner_id, :currency)")
    async with refusals():
        available: int | None = await session.scalar(statement, {"merchant": merchant_id, **_named(account), "currency": currency})
    return available


async def lock_all_available(
    session: AsyncSession, *, merchant_id: MerchantId, code: str, owner_type: str, owners: Collection[UUID], currency: str
) -> dict[UUID, int]:
    """As ``lock_available`` for the same account of many owners, locked in the order in which postings lock; those not open yet are left out."""
    statement = text(
        "select owner_id, available from ledger.lock_available_many(:merchant, :code, :owner_type, cast(:owners as uuid[]), :currency)"
    )
    values = {"merchant": merchant_id, "code": code, "owner_type": owner_type, "owners": list(owners), "currency": currency}
    async with refusals():
        return {row.owner_id: int(row.available) for row in await session.execute(statement, values)}


async def reverse(
    session: AsyncSession,
    *,
    merchant_id: MerchantId,
    transaction_id: TransactionId,
    effective_on: date,
    actor: Actor,
    reason: str,
    kind: str = Kind.REVERSED,
) -> TransactionId:
    """Undo a transaction by posting its opposite, at most once; the original stays."""
    statement = text(
        "select ledger.reverse(:merchant, :txn, :kind, :key, :effective_on, :actor_kind, :actor_id, :request_id, :description)"
    )
    values = {"merchant": merchant_id, "txn": transaction_id, "kind": kind, "key": f"reverse:{transaction_id}"}
    async with refusals():
        number = await session.scalar(statement, {**values, "effective_on": effective_on, "description": reason, **_by(actor)})
    return TransactionId(number)


async def hold(session: AsyncSession, *, merchant_id: MerchantId, posting: Posting) -> TransactionId:
    """Set money aside without moving it yet: it cannot be spent until the hold is posted or released."""
    check_balanced(posting.lines)
    statement = text(
        "select ledger.hold(:merchant, :kind, :source_type, :source_id, :event_key, :effective_on, cast(:codes as text[]),"
        " cast(:owner_types as text[]), cast(:owners as uuid[]), cast(:currencies as text[]), cast(:sides as smallint[]),"
        " cast(:amounts as bigint[]), cast(:clear_keys as text[]))"
    )
    async with refusals():
        return TransactionId(await session.scalar(statement, _one(merchant_id, posting)))


async def end_hold(
    session: AsyncSession,
    *,
    merchant_id: MerchantId,
    hold_id: TransactionId,
    event_key: str,
    effective_on: date,
    amounts: Sequence[int] | None = None,
) -> TransactionId:
    """Post a hold, line by line in these minor units, or release all of it when no amounts are given."""
    statement = text("select ledger.end_hold(:merchant, :hold, :key, :effective_on, cast(:amounts as bigint[]))")
    posted = None if amounts is None else list(amounts)
    values = {"merchant": merchant_id, "hold": hold_id, "key": event_key, "effective_on": effective_on, "amounts": posted}
    async with refusals():
        return TransactionId(await session.scalar(statement, values))


async def close_period(session: AsyncSession, *, merchant_id: MerchantId, through: date) -> int:
    """Close the books up to and including a day and keep every account's sums of that day; returns how many accounts were kept."""
    async with refusals():
        statement = text("select ledger.close_period(:merchant, :through)")
        return int(await session.scalar(statement, {"merchant": merchant_id, "through": through}))


async def roll_up(session: AsyncSession, *, merchant_id: MerchantId, limit: int = 50_000) -> int:
    """Fold waiting changes of busy accounts into their balances; balances read the same before and after."""
    async with refusals():
        return int(await session.scalar(text("select ledger.roll_up(:merchant, :limit)"), {"merchant": merchant_id, "limit": limit}))


async def books_to_roll_up(session: AsyncSession) -> list[MerchantId]:
    """The merchants whose books have changes waiting to be folded."""
    found = await session.scalars(text("select * from ledger.books_to_roll_up()"))
    return [MerchantId(merchant_id) for merchant_id in found]


async def ensure_partitions(session: AsyncSession) -> int:
    """Make room for the transactions to come; returns how many partitions were added."""
    return int(await session.scalar(text("select ledger.ensure_partitions()")))


def _named(account: AccountRef) -> dict[str, object]:
    return {"code": account.code, "owner_type": account.owner_type, "owner_id": account.owner_id}


def _by(actor: Actor | None) -> dict[str, object]:
    if actor is None:
        return {"actor_kind": None, "actor_id": None, "request_id": None}
    return {"actor_kind": actor.kind.value, "actor_id": actor.id, "request_id": actor.request_id or None}


def _columns(lines: Sequence[Line]) -> dict[str, object]:
    return {
        "codes": [str(line.account.code) for line in lines],
        "owner_types": [line.account.owner_type for line in lines],
        "owners": [line.account.owner_id for line in lines],
        "currencies": [line.amount.currency for line in lines],
        "sides": [int(line.side) for line in lines],
        "amounts": [line.amount.minor for line in lines],
        "clear_keys": [line.clear_key for line in lines],
    }


def columns(postings: Sequence[Posting]) -> dict[str, object]:
    """Several postings as flat columns, for a server-side function that posts them within its own work."""
    for posting in postings:
        check_balanced(posting.lines)
    by = [_by(posting.actor) for posting in postings]
    return {
        "kinds": [str(posting.kind) for posting in postings],
        "source_ids": [posting.source_id for posting in postings],
        "event_keys": [posting.event_key for posting in postings],
        "effective_ons": [posting.effective_on for posting in postings],
        "descriptions": [posting.description for posting in postings],
        "actor_kinds": [one["actor_kind"] for one in by],
        "actor_ids": [one["actor_id"] for one in by],
        "request_ids": [one["request_id"] for one in by],
        "lines_of": [number for number, posting in enumerate(postings, start=1) for _ in posting.lines],
        **_columns([line for posting in postings for line in posting.lines]),
    }


def _one(merchant_id: UUID, posting: Posting) -> dict[str, object]:
    return {
        "merchant": merchant_id,
        "kind": str(posting.kind),
        "source_type": posting.source_type,
        "source_id": posting.source_id,
        "event_key": posting.event_key,
        "effective_on": posting.effective_on,
        "description": posting.description,
        **_columns(posting.lines),
        **_by(posting.actor),
    }


def _many(merchant_id: UUID, postings: Sequence[Posting]) -> dict[str, object]:
    return {"merchant": merchant_id, "source_types": [posting.source_type for posting in postings], **columns(postings)}
