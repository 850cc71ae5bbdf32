"""Reads about sellers."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.audit import AuditEntry
from app.core.db import read
from app.core.errors import Invalid
from app.core.ids import MerchantId, SellerId, parse_id, path_id
from app.core.money import CURRENCIES
from app.core.paging import Page, fetch_page
from app.sellers.domain import SELLER, FeeTerms, SellerNotFound, SellerStatus
from app.sellers.models import PlatformFee, Seller
from app.sellers.schemas import (
    ChangeRow,
    FeeFormPage,
    FeeRow,
    SellerDetailPage,
    SellerFormPage,
    SellerListPage,
    SellerStatusPage,
    SellerView,
)

MISSING = "There is no seller with this id for this merchant."
USUAL_CURRENCIES = ["EUR", "USD", "GBP", "CHF", "SEK", "DKK", "NOK", "PLN", "CZK", "JPY", "CAD", "AUD"]


def seller_id(text: str) -> SellerId:
    """The id in an address; one that is malformed names no seller, like any other that is not there."""
    return SellerId(path_id("sel", text, otherwise=SellerNotFound(MISSING)))


async def seller(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> Seller:
    """One seller."""
    found = await session.get(Seller, (merchant_id, seller_id))
    if found is None:
        raise SellerNotFound(MISSING)
    return found


async def sellers_by_id(session: AsyncSession, *, merchant_id: MerchantId, ids: Collection[SellerId]) -> dict[SellerId, Seller]:
    """Several sellers at once; an unknown one is refused."""
    statement = select(Seller).where(Seller.merchant_id == merchant_id, Seller.id.in_(list(ids)))
    found = {SellerId(row.id): row for row in (await session.execute(statement)).scalars()}
    if len(found) < len(set(ids)):
        raise SellerNotFound(MISSING)
    return found


async def seller_names(session: AsyncSession, *, merchant_id: MerchantId, ids: Collection[SellerId]) -> dict[SellerId, str]:
    """What the sellers are called."""
    found = await read(session, _NAMES, {"merchant": merchant_id, "ids": list(ids)})
    return {SellerId(row.id): row.name for row in found}


_NAMES = text("select id, name from seller where merchant_id = :merchant and id = any(:ids)")


async def fee_terms(
    session: AsyncSession, *, merchant_id: MerchantId, ids: Collection[SellerId], currency: str
) -> dict[SellerId, FeeTerms]:
    """What the platform keeps of each seller's sales in a currency: the seller's own rule, else the merchant's, else nothing."""
    statement = select(PlatformFee).where(
        PlatformFee.merchant_id == merchant_id,
        PlatformFee.currency == currency,
        or_(PlatformFee.seller_id.is_(None), PlatformFee.seller_id.in_(list(ids))),
    )
    rules = {
        row.seller_id: FeeTerms(basis_points=row.basis_points, fixed_minor=row.fixed_minor)
        for row in (await session.execute(statement)).scalars()
    }
    general = rules.get(None, FeeTerms())
    return {seller_id: rules.get(seller_id, general) for seller_id in ids}


async def seller_list_page(
    session: AsyncSession, *, merchant_id: MerchantId, query: str = "", status: str = "", after: str | None = None
) -> SellerListPage:
    """The list of sellers, found by name, reference or id."""
    return SellerListPage(
        sellers=await sellers(session, merchant_id=merchant_id, query=query, status=status, after=after),
        query=query,
        status=status,
        fees=await _fee_rows(session, merchant_id=merchant_id, seller_id=None),
    )


_LISTED = (Seller.id, Seller.reference, Seller.name, Seller.email, Seller.country, Seller.status, Seller.created_at)


async def sellers(
    session: AsyncSession,
    *,
    merchant_id: MerchantId,
    query: str = "",
    status: str = "",
    after: str | None = None,
    size: int = 25,
    among: Select[UUID] | None = None,
) -> Page[SellerView]:
    """A page of sellers, newest first; `among` narrows it to ids that another query selects."""
    statement = select(*_LISTED).where(Seller.merchant_id == merchant_id)
    if status in set(SellerStatus):
        statement = statement.where(Seller.status == status)
    text = query.strip().lower()
    if text.startswith("sel_"):
        statement = statement.where(Seller.id == _id_or_nothing(text))
    elif text:
        statement = statement.where(or_(Seller.name_lc.contains(text, autoescape=True), func.lower(Seller.reference) == text))
    if among is not None:
        statement = statement.where(Seller.id.in_(among))
    page = await fetch_page(session, statement, keys=[Seller.id], after=after, size=size)
    return page.map(SellerView.of)


def _id_or_nothing(text: str) -> SellerId | None:
    try:
        return SellerId(parse_id("sel", text))
    except Invalid:
        return None


async def seller_detail_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> SellerDetailPage:
    """One seller with its terms."""
    row = await seller(session, merchant_id=merchant_id, seller_id=seller_id)
    own = await _fee_rows(session, merchant_id=merchant_id, seller_id=seller_id)
    general = await _fee_rows(session, merchant_id=merchant_id, seller_id=None)
    covered = {fee.currency for fee in own}
    return SellerDetailPage(
        seller=SellerView.of(row),
        fees=own + [fee for fee in general if fee.currency not in covered],
        events=SELLER.events(SellerStatus(row.status)),
        changes=await _changes(session, merchant_id=merchant_id, seller_id=seller_id),
    )


async def _changes(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> list[ChangeRow]:
    of_seller = (AuditEntry.merchant_id == merchant_id, AuditEntry.object_type == "seller", AuditEntry.object_id == seller_id)
    statement = select(AuditEntry).where(*of_seller).order_by(AuditEntry.id.desc()).limit(10)
    return [ChangeRow.of(entry) for entry in (await session.execute(statement)).scalars()]


async def seller_form_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> SellerFormPage:
    """The form with what the seller is called and how it is reached."""
    return SellerFormPage(seller=await seller_view(session, merchant_id=merchant_id, seller_id=seller_id))


async def seller_view(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> SellerView:
    """One seller as the API shows it."""
    return SellerView.of(await seller(session, merchant_id=merchant_id, seller_id=seller_id))


async def seller_status_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, event: str) -> SellerStatusPage:
    """The question before a seller is blocked or let sell again."""
    return SellerStatusPage(seller=await seller_view(session, merchant_id=merchant_id, seller_id=seller_id), event=event)


async def fee_form_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId | None, currency: str = "") -> FeeFormPage:
    """The form of one fee rule; a currency that has none yet starts from the merchant's."""
    view = None if seller_id is None else await seller_view(session, merchant_id=merchant_id, seller_id=seller_id)
    own = await _fee_rows(session, merchant_id=merchant_id, seller_id=seller_id)
    general = [] if seller_id is None else await _fee_rows(session, merchant_id=merchant_id, seller_id=None)
    rule = next((fee for fee in own + general if fee.currency == currency), None)
    taken = {fee.currency for fee in own}
    choice = (
        [currency]
        if currency in CURRENCIES
        else [code for code in [*USUAL_CURRENCIES, *sorted(CURRENCIES.keys() - USUAL_CURRENCIES)] if code not in taken]
    )
    return FeeFormPage(seller=view, rule=rule, currencies=choice)


async def _fee_rows(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId | None) -> list[FeeRow]:
    owned = PlatformFee.seller_id.is_(None) if seller_id is None else PlatformFee.seller_id == seller_id
    columns = (PlatformFee.seller_id, PlatformFee.currency, PlatformFee.basis_points, PlatformFee.fixed_minor)
    statement = select(*columns).where(PlatformFee.merchant_id == merchant_id, owned).order_by(PlatformFee.currency)
    found: Sequence[Any] = (await session.execute(statement)).all()
    return [FeeRow.of(row) for row in found]
