"""Reads about sellers' bank accounts."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals.domain import EVERYTHING, Part, Waiting
from app.approvals.queries import part_of
from app.core import secrets
from app.core.actors import Actor
from app.core.ids import MerchantId, SellerId, path_id, public_id
from app.core.paging import fetch_page
from app.sellers import queries
from app.sellers.domain.bank_accounts import (
    BankAccountId,
    BankAccountKind,
    BankAccountNotFound,
    BankAccountStatus,
    Destination,
    Verification,
)
from app.sellers.models import BankAccount, Seller
from app.sellers.schemas.bank_accounts import (
    BankAccountFormPage,
    BankAccountListPage,
    BankAccountPage,
    BankAccountRow,
    SellerBankAccountsPage,
)

MISSING = "There is no bank account with this id for this merchant."


def bank_account_id(text: str) -> BankAccountId:
    """The id in an address; one that is malformed names no account, like any other that is not there."""
    return BankAccountId(path_id("ba", text, otherwise=BankAccountNotFound(MISSING)))


async def bank_account(session: AsyncSession, *, merchant_id: MerchantId, account_id: BankAccountId) -> BankAccount:
    """One bank account, its number sealed."""
    found = await session.get(BankAccount, (merchant_id, account_id))
    if found is None:
        raise BankAccountNotFound(MISSING)
    return found


async def destination(session: AsyncSession, *, merchant_id: MerchantId, account_id: BankAccountId) -> Destination:
    """One bank account as payouts see it."""
    return _destination(await bank_account(session, merchant_id=merchant_id, account_id=account_id))


async def destinations(
    session: AsyncSession, *, merchant_id: MerchantId, ids: Collection[BankAccountId]
) -> dict[BankAccountId, Destination]:
    """Several bank accounts as payouts see them; unknown ones are left out."""
    statement = select(BankAccount).where(BankAccount.merchant_id == merchant_id, BankAccount.id.in_(list(ids)))
    return {BankAccountId(row.id): _destination(row) for row in (await session.execute(statement)).scalars()}


async def active_destination(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str) -> Destination | None:
    """The account to which a seller's money in a currency goes, as payouts see it."""
    found = await active_account(session, merchant_id=merchant_id, seller_id=seller_id, currency=currency)
    return None if found is None else _destination(found)


async def destinations_in(
    session: AsyncSession, *, merchant_id: MerchantId, seller_ids: Collection[SellerId], currency: str
) -> dict[SellerId, Destination]:
    """The accounts to which several sellers' money in a currency goes; sellers without one are left out."""
    statement = select(BankAccount).where(
        BankAccount.merchant_id == merchant_id,
        BankAccount.seller_id.in_(list(seller_ids)),
        BankAccount.currency == currency,
        BankAccount.status == BankAccountStatus.ACTIVE,
    )
    return {SellerId(row.seller_id): _destination(row) for row in (await session.execute(statement)).scalars()}


async def active_destinations(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> list[Destination]:
    """The accounts a seller can be paid to, one a currency."""
    statement = select(BankAccount).where(
        BankAccount.merchant_id == merchant_id, BankAccount.seller_id == seller_id, BankAccount.status == BankAccountStatus.ACTIVE
    )
    return [_destination(row) for row in (await session.execute(statement.order_by(BankAccount.currency))).scalars()]


async def numbers_of(session: AsyncSession, *, merchant_id: MerchantId, ids: Collection[BankAccountId]) -> dict[BankAccountId, str]:
    """Account numbers in clear, for the moment orders are written to the bank; never for a page."""
    statement = select(BankAccount).where(BankAccount.merchant_id == merchant_id, BankAccount.id.in_(list(ids)))
    return {BankAccountId(row.id): number_of(row) for row in (await session.execute(statement)).scalars()}


def _destination(row: BankAccount) -> Destination:
    return Destination(
        id=BankAccountId(row.id),
        seller_id=SellerId(row.seller_id),
        currency=row.currency,
        kind=BankAccountKind(row.kind),
        holder_name=row.holder_name,
        country=row.country,
        bic=row.bic,
        routing=row.routing,
        bank_name=row.bank_name,
        last4=row.last4,
        fingerprint=row.fingerprint,
        status=BankAccountStatus(row.status),
        verification=Verification(row.verification),
        requested_by=row.requested_by,
        decided_at=row.decided_at,
        usable_from=row.usable_from,
    )


async def active_account(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str) -> BankAccount | None:
    """The account to which a seller's money in a currency goes, if there is one."""
    statement = select(BankAccount).where(
        BankAccount.merchant_id == merchant_id,
        BankAccount.seller_id == seller_id,
        BankAccount.currency == currency,
        BankAccount.status == BankAccountStatus.ACTIVE,
    )
    return (await session.execute(statement)).scalar_one_or_none()


def number_of(account: BankAccount) -> str:
    """The account number in clear, for the moment a payment is written to the bank; never for a page."""
    return secrets.unseal(account.number, context(MerchantId(account.merchant_id), BankAccountId(account.id)))


def context(merchant_id: MerchantId, account_id: BankAccountId) -> str:
    """The place a number is sealed for."""
    return f"bank_account.number:{merchant_id}:{account_id}"


async def bank_account_list_page(
    session: AsyncSession, *, merchant_id: MerchantId, status: str = "", after: str | None = None
) -> BankAccountListPage:
    """All sellers' bank accounts, newest first; what waits for a second person stands above them."""
    statement = _rows(merchant_id)
    if status in set(BankAccountStatus):
        statement = statement.where(BankAccount.status == status)
    page = await fetch_page(session, statement, keys=[BankAccount.id], after=after)
    waiting = _rows(merchant_id).where(BankAccount.status == BankAccountStatus.PROPOSED).order_by(BankAccount.id).limit(25)
    return BankAccountListPage(
        accounts=page.map(lambda row: BankAccountRow.of(row.BankAccount, row.name)),
        waiting=[BankAccountRow.of(row.BankAccount, row.name) for row in await session.execute(waiting)],
        status=status,
    )


def _rows(merchant_id: MerchantId) -> Select[UUID, BankAccount, str]:
    return (
        select(BankAccount.id, BankAccount, Seller.name)
        .join(Seller, (Seller.merchant_id == BankAccount.merchant_id) & (Seller.id == BankAccount.seller_id))
        .where(BankAccount.merchant_id == merchant_id)
    )


async def bank_account_page(session: AsyncSession, actor: Actor, *, account_id: BankAccountId) -> BankAccountPage:
    """One bank account, with whom else has the same number and which one it would replace."""
    account = await bank_account(session, merchant_id=actor.merchant, account_id=account_id)
    seller_id = SellerId(account.seller_id)
    owner = await queries.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    others = _rows(actor.merchant).where(
        BankAccount.fingerprint == account.fingerprint,
        BankAccount.seller_id != seller_id,
        BankAccount.status.in_((BankAccountStatus.ACTIVE, BankAccountStatus.PROPOSED)),
    )
    present = await active_account(session, merchant_id=actor.merchant, seller_id=seller_id, currency=account.currency)
    return BankAccountPage(
        account=BankAccountRow.of(account, owner.name),
        digest=account.digest,
        shared_with=[row.name for row in await session.execute(others.limit(5))],
        replaces=None if present is None or present.id == account.id else BankAccountRow.of(present, owner.name),
        is_mine=actor.id == account.requested_by,
    )


async def bank_account_form_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> BankAccountFormPage:
    """The form of a new bank account of a seller."""
    return BankAccountFormPage(seller=await queries.seller_view(session, merchant_id=merchant_id, seller_id=seller_id))


async def seller_bank_accounts_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> SellerBankAccountsPage:
    """The bank accounts of one seller that are used or wait for approval."""
    view = await queries.seller_view(session, merchant_id=merchant_id, seller_id=seller_id)
    open_states = (BankAccountStatus.ACTIVE, BankAccountStatus.PROPOSED)
    statement = _rows(merchant_id).where(BankAccount.seller_id == seller_id, BankAccount.status.in_(open_states))
    found = await session.execute(statement.order_by(BankAccount.currency, BankAccount.id))
    return SellerBankAccountsPage(seller=view, accounts=[BankAccountRow.of(row.BankAccount, row.name) for row in found])


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many proposed bank accounts wait for a second person."""
    mine = (BankAccount.merchant_id == actor.merchant, BankAccount.status == BankAccountStatus.PROPOSED)
    return await session.scalar(select(func.count()).select_from(BankAccount).where(*mine)) or 0


async def waiting(session: AsyncSession, actor: Actor, part: Part = EVERYTHING) -> list[Waiting]:
    """Proposed bank accounts that wait for a second person, oldest first."""
    statement = part_of(_rows(actor.merchant).where(BankAccount.status == BankAccountStatus.PROPOSED), BankAccount.id, part)
    return [_waiting(actor, row.BankAccount, row.name) for row in await session.execute(statement)]


def _waiting(actor: Actor, row: BankAccount, seller: str) -> Waiting:
    account = public_id("ba", row.id)
    return Waiting(
        kind="bank_account",
        id=account,
        title=f"Bank account of {seller}",
        detail=f"{row.currency}, ends in {row.last4}",
        href=f"/bank-accounts/{account}",
        digest=row.digest,
        requested_by=row.requested_by_name,
        requested_at=row.requested_at,
        may_decide=actor.can("payouts.approve") and actor.id != row.requested_by,
        facts=[
            ("Holder", row.holder_name),
            ("Bank", row.bank_name or row.bic or row.routing),
            ("Number ends in", row.last4),
            ("Country", row.country),
        ],
    )
