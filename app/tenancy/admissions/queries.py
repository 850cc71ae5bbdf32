"""Reads for people who come in by their team's own provider: whose provider it is, and where a domain leads."""

from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import enter_merchant
from app.core.ids import MerchantId, public_id
from app.identity.providers import queries as ways
from app.tenancy.admissions.schemas import SsoConfirmPage, SsoSignInPage
from app.tenancy.models import Membership, Merchant, SsoDomain, SsoIdentity, SsoProvider
from app.tenancy.sso.domain import SsoProviderNotFound, SsoStatus, domain_of
from app.tenancy.sso.queries import provider_id_of

_OF_DOMAIN = text("select id, name from sso_provider_of_domain(:domain)")


async def open_provider(session: AsyncSession, provider_id: UUID) -> SsoProvider:
    """A provider by which people sign in; from here on the transaction is its merchant's."""
    found = await find_provider(session, provider_id)
    if found is None:
        raise SsoProviderNotFound()
    return found


async def find_provider(session: AsyncSession, provider_id: UUID) -> SsoProvider | None:
    """The same, or nothing when nobody signs in by it (any more)."""
    merchant_id = await session.scalar(select(func.sso_provider_merchant(provider_id)))
    if merchant_id is None:
        return None
    await enter_merchant(session, MerchantId(merchant_id))
    mine = select(SsoProvider).where(SsoProvider.merchant_id == merchant_id, SsoProvider.id == provider_id)
    return await session.scalar(mine.where(SsoProvider.status == SsoStatus.ACTIVE))


async def way_for(session: AsyncSession, email: str, *, after: str = "/") -> SsoSignInPage:
    """Where the domain of an e-mail address leads; the same for everybody of it, whether or not there is such a person."""
    domain = domain_of(email)
    found = (await session.execute(_OF_DOMAIN, {"domain": domain})).one_or_none()
    key, name = (public_id("sso", found.id), found.name) if found is not None else ("", "")
    return SsoSignInPage(next=after, email=email, asked=domain, key=key, name=name)


async def proven_domains(session: AsyncSession, row: SsoProvider) -> frozenset[str]:
    """The domains for whose people the provider speaks."""
    mine = select(SsoDomain.domain).where(SsoDomain.merchant_id == row.merchant_id, SsoDomain.provider_id == row.id)
    return frozenset(await session.scalars(mine.where(SsoDomain.proven_at.is_not(None))))


async def identity(session: AsyncSession, row: SsoProvider, subject: str) -> SsoIdentity | None:
    """Whose the provider's account is at this merchant, if it is anybody's."""
    return await session.get(SsoIdentity, (row.merchant_id, row.id, subject), populate_existing=True)


async def is_member(session: AsyncSession, merchant_id: UUID, person_id: UUID) -> bool:
    """Whether somebody is in the merchant's team."""
    mine = select(Membership.id).where(Membership.merchant_id == merchant_id, Membership.person_id == person_id)
    return await session.scalar(mine) is not None


async def confirm_page(session: AsyncSession, browser: str, *, account: str) -> SsoConfirmPage | None:
    """The account at a merchant's provider that this browser has proven and that waits to be connected, if there is one."""
    waiting = await ways.waiting_link(session, browser, of_merchants=True)
    if waiting is None:
        return None
    row = await open_provider(session, provider_id_of(waiting.provider))
    merchant = await session.get_one(Merchant, row.merchant_id)
    email = waiting.email or "an account without an address"
    return SsoConfirmPage(provider=row.name, merchant=merchant.name, email=email, account=account)
