"""Reads about reconciliation that services need too."""

import zlib
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
from psycopg.errors import LockNotAvailable
from sqlalchemy import TextClause, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor, ActorKind
from app.core.db import unit_of_work
from app.core.ids import MerchantId, path_id
from app.core.money import Money
from app.ledger.domain import AccountRef, Code, Owner
from app.payouts.domain import BANK, FundingAccountId, FundingAccountNotFound
from app.reconciliation.domain.arrivals import ArrivalNotFound
from app.reconciliation.domain.breaks import BreakNotFound, ComparisonUnderWay, FileNotFound, SourceNotFound
from app.reconciliation.domain.journals import EXPECTED_KINDS
from app.reconciliation.domain.lines import Side
from app.reconciliation.models import Booking, Break, FilePart, Item, Source, SourceFile
from app.reconciliation.models.arrivals import Arrival

SOURCE, FILE, BREAK, FUNDING, ARRIVAL = "rsc", "rfi", "brk", "bnk", "rar"
CONNECTION, SOURCE_OWNER = "connection", "source"
"""How the ledger knows the owners of what providers owe, and of what waits in suspense."""
RUN_SOURCE = "run"
"""How it knows what a run wrote."""
MINUTES, SECONDS = 10, 3
"""How long a job waits for another one that compares the same merchant, and how long a person does."""
NO_SOURCE = "There is no source with this id for this merchant."
NO_ARRIVAL = "There is no arrival with this id for this merchant."
NO_BREAK = "There is no break with this id for this merchant."


def source_id(value: str) -> UUID:
    """The source in an address."""
    return path_id(SOURCE, value, otherwise=SourceNotFound(NO_SOURCE))


def break_id(value: str) -> UUID:
    """The break in an address."""
    return path_id(BREAK, value, otherwise=BreakNotFound(NO_BREAK))


def funding_id(value: str) -> FundingAccountId:
    """The bank account that was chosen in a form."""
    return FundingAccountId(path_id(FUNDING, value, otherwise=FundingAccountNotFound("There is no such bank account.")))


async def source(session: AsyncSession, *, merchant_id: MerchantId, source_id: UUID) -> Source:
    """One source."""
    found = await session.get(Source, (merchant_id, source_id))
    if found is None:
        raise SourceNotFound(NO_SOURCE)
    return found


async def sources(session: AsyncSession, *, merchant_id: MerchantId) -> list[Source]:
    """Every source, by name."""
    return list((await session.execute(select(Source).where(Source.merchant_id == merchant_id).order_by(Source.name))).scalars())


async def source_file(session: AsyncSession, *, merchant_id: MerchantId, file_id: UUID) -> SourceFile:
    """One file that was handed in."""
    found = await session.get(SourceFile, (merchant_id, file_id))
    if found is None:
        raise FileNotFound("There is no file with this id for this merchant.")
    return found


def arrival_id(value: str) -> UUID:
    """The arrival in an address."""
    return path_id(ARRIVAL, value, otherwise=ArrivalNotFound(NO_ARRIVAL))


async def arrival(session: AsyncSession, *, merchant_id: MerchantId, arrival_id: UUID) -> Arrival:
    """A file on its way in, as it stands now."""
    found = await session.get(Arrival, (merchant_id, arrival_id))
    if found is None:
        raise ArrivalNotFound(NO_ARRIVAL)
    return found


async def arrival_of(session: AsyncSession, *, source: Source, digest: str) -> Arrival:
    """The newest arrival of this content."""
    statement = select(Arrival).where(Arrival.merchant_id == source.merchant_id, Arrival.source_id == source.id, Arrival.sha256 == digest)
    found = (await session.execute(statement.order_by(Arrival.id.desc()).limit(1))).scalar_one_or_none()
    if found is None:
        raise ArrivalNotFound(NO_ARRIVAL)
    return found


_ALONE = text("select pg_advisory_xact_lock(hashtextextended(cast(:merchant as text), 4218))")
_BESIDE_OTHERS = text("select pg_advisory_xact_lock_shared(hashtextextended(cast(:merchant as text), 4218))")


async def lock(session: AsyncSession, *, merchant_id: MerchantId) -> None:
    """Keep others from matching the merchant's items until the transaction ends, and wait for who does now."""
    await session.execute(_ALONE, {"merchant": str(merchant_id)})


async def lock_for(session: AsyncSession, actor: Actor) -> None:
    """As ``lock``, for as long as a comparison may take; a person, who would look at a page that does not come, is told instead."""
    if actor.kind in {ActorKind.USER, ActorKind.OPERATOR}:
        if not await try_lock(session, merchant_id=actor.merchant):
            raise ComparisonUnderWay("Somebody is at it already. Try again in a minute.")
        return
    await session.execute(text(f"set local lock_timeout = '{MINUTES}min'"))
    await lock(session, merchant_id=actor.merchant)
    await session.execute(text("set local lock_timeout to default"))


async def try_lock(session: AsyncSession, *, merchant_id: MerchantId) -> bool:
    """As ``lock``, waiting some seconds at most; says whether it could be had."""
    return await _within_seconds(session, _ALONE, merchant_id)


async def try_lock_shared(session: AsyncSession, *, merchant_id: MerchantId) -> bool:
    """As ``try_lock``, beside others who do the same: none of them matches, and nobody who does may change the books under them."""
    return await _within_seconds(session, _BESIDE_OTHERS, merchant_id)


async def _within_seconds(session: AsyncSession, locked: TextClause, merchant_id: MerchantId) -> bool:
    # most comparisons are over by then; whoever met one by chance need not try again
    try:
        async with session.begin_nested():
            await session.execute(text(f"set local lock_timeout = '{SECONDS}s'"))
            await session.execute(locked, {"merchant": str(merchant_id)})
            await session.execute(text("set local lock_timeout to default"))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        return False
    return True


async def file_bytes(merchant_id: MerchantId, file_id: UUID) -> AsyncIterator[bytes]:
    """A file as it was handed in, a part at a time."""
    async with unit_of_work(merchant_id) as session:
        number = 0
        while True:
            number += 1
            part = select(FilePart.content).where(
                FilePart.merchant_id == merchant_id, FilePart.file_id == file_id, FilePart.number == number
            )
            packed = (await session.execute(part)).scalar_one_or_none()
            if packed is None:
                return
            yield zlib.decompress(packed)


async def one_break(session: AsyncSession, *, merchant_id: MerchantId, break_id: UUID, lock: bool = False) -> Break:
    """One break as it stands now; ``lock`` keeps others from changing it until the transaction ends."""
    statement = select(Break).where(Break.merchant_id == merchant_id, Break.id == break_id)
    fresh = (statement.with_for_update() if lock else statement).execution_options(populate_existing=True)
    found = (await session.execute(fresh)).scalar_one_or_none()
    if found is None:
        raise BreakNotFound(NO_BREAK)
    return found


def bank_of(source: Source) -> Owner:
    """The bank account a source's statements are about: the one payouts are made from, or one of its own."""
    return Owner(BANK, source.funding_account_id or source.id)


def unknown_at_bank(source: Source, minor: int) -> AccountRef:
    """Where a bank line waits that nobody can name: a credit is owed to somebody, a debit is somebody's."""
    if minor > 0:
        return bank_of(source).account(Code.UNIDENTIFIED_RECEIPTS)
    return Owner(SOURCE_OWNER, source.id).account(Code.RECONCILIATION_SUSPENSE)


class Place(msgspec.Struct, frozen=True):
    """Where in the books a break's money is: the account, the key it should clear under, and whose account it is."""

    account: AccountRef
    key: str
    owner: UUID


async def place_of(session: AsyncSession, *, found: Break) -> Place | None:
    """Where what a break leaves over is; None when nothing of it is in the books."""
    merchant_id = MerchantId(found.merchant_id)
    first = await item(session, merchant_id=merchant_id, item_id=found.item_id) if found.item_id else None
    if first is None:
        return None
    if first.side == Side.BANK and found.other_id is not None:
        other = await item(session, merchant_id=merchant_id, item_id=found.other_id)
        return await place(session, item=other) if other else None
    return await place(session, item=first)


async def place(session: AsyncSession, *, item: Item) -> Place | None:
    """Where an item's money is: what the provider owes (1100), on its way (1210), in suspense (1900) or unidentified (2400)."""
    of = await source(session, merchant_id=MerchantId(item.merchant_id), source_id=item.source_id)
    booked = await booking(session, item=item)
    if item.side == Side.BANK:
        if booked is None:
            return None
        owner = bank_of(of) if item.net_minor > 0 else Owner(SOURCE_OWNER, of.id)
        return Place(unknown_at_bank(of, item.net_minor), item.clear_key, owner.id)
    assert of.connection_id is not None
    psp = Owner(CONNECTION, of.connection_id)
    if item.kind == "batch":
        return Place(psp.account(Code.SETTLEMENT_IN_TRANSIT), item.clear_key, psp.id)
    if item.side == Side.LEDGER:
        return Place(psp.account(Code.PSP_RECEIVABLE), item.clear_key, psp.id)
    if booked is None:
        return None
    if item.kind not in EXPECTED_KINDS:
        return Place(Owner(SOURCE_OWNER, of.id).account(Code.RECONCILIATION_SUSPENSE), booked.key, of.id)
    return Place(psp.account(Code.PSP_RECEIVABLE), booked.key, psp.id)


async def booking(session: AsyncSession, *, item: Item) -> Booking | None:
    """What the books have of an item; None when it was not booked."""
    return await session.get(Booking, (item.merchant_id, item.id))


async def item(session: AsyncSession, *, merchant_id: MerchantId, item_id: UUID) -> Item | None:
    """One item."""
    return await session.get(Item, (merchant_id, item_id))


_RESIDUAL = text(
    "select coalesce(sum(e.side * e.amount), 0)::bigint from ledger.account a"
    " join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id and e.phase in (0, 2) and e.clear_key = :key"
    " where a.merchant_id = :merchant and a.code = :code and a.owner_type = :owner_type and a.owner_id = :owner and a.currency = :currency"
)


async def residual(session: AsyncSession, *, merchant_id: MerchantId, place: AccountRef, key: str, currency: str) -> Money:
    """What the books have left over at an account under a key, debits positive; nothing when it cleared."""
    values = {"merchant": merchant_id, "code": str(place.code), "owner_type": place.owner_type, "owner": place.owner_id}
    minor = await session.scalar(_RESIDUAL, {**values, "currency": currency, "key": key})
    return Money(int(minor or 0), currency)
