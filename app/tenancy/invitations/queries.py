"""Reads about invitations: the team's list, and what stands behind a key."""

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import enter_merchant
from app.core.ids import MerchantId, public_id
from app.core.secrets import digest
from app.identity import queries as people
from app.tenancy import queries as teams
from app.tenancy.invitations.domain import InvitationInvalid, InvitationStatus
from app.tenancy.invitations.schemas import InvitationRow, InvitationsPage, InvitedPage, InvitePage
from app.tenancy.models import Invitation, Merchant
from app.tenancy.roles import queries as roles
from app.web.sessions import Visitor

MOST = 100


async def invitations(session: AsyncSession, actor: Actor) -> InvitationsPage:
    """The merchant's latest hundred invitations, the newest first."""
    rows = select(*Invitation.__table__.c).where(Invitation.merchant_id == actor.merchant).order_by(Invitation.id.desc()).limit(MOST)
    found = (await session.execute(rows)).all()
    names = await people.names(session, {row.invited_by for row in found})
    may, labels = actor.can("team.write"), await _labels(session, actor)
    shown = [_row(row, names.get(row.invited_by, "Somebody"), role=labels.get(row.role, "A role that is gone"), may=may) for row in found]
    return InvitationsPage(invitations=shown, may_change=may)


async def _labels(session: AsyncSession, actor: Actor) -> dict[str, str]:
    return {one.value: one.label for one in await roles.known_roles(session, actor)}


def _row(row: Row[tuple[object, ...]], invited_by: str, *, role: str, may: bool) -> InvitationRow:
    expired = row.status == InvitationStatus.OPEN and row.expires_at <= now()
    return InvitationRow(
        id=public_id("inv", row.id),
        email=row.email,
        role=role,
        status="expired" if expired else row.status,
        invited_by=invited_by,
        sent_at=row.sent_at,
        expires_at=row.expires_at,
        may_change=may and row.status == InvitationStatus.OPEN,
    )


async def invite_page(session: AsyncSession, actor: Actor) -> InvitePage:
    """The form to invite somebody."""
    here = await teams.merchant(session, actor.merchant)
    return InvitePage(merchant=here.name, roles=await teams.role_options(session, actor))


async def by_key(session: AsyncSession, key: str) -> Invitation:
    """The open invitation behind a key; from here on the transaction is its merchant's."""
    hashed = digest(key)
    merchant_id = await session.scalar(select(func.invitation_merchant(hashed)))
    if merchant_id is not None:
        await enter_merchant(session, MerchantId(merchant_id))
        found = await session.scalar(select(Invitation).where(Invitation.merchant_id == merchant_id, Invitation.digest == hashed))
        if found is not None and found.status == InvitationStatus.OPEN and found.expires_at > now():
            return found
    raise InvitationInvalid("It was accepted, revoked or is older than a week. Ask for a new one.")


async def invited(session: AsyncSession, key: str, visitor: Visitor | None) -> InvitedPage:
    """What somebody sees who follows the link of an invitation."""
    found = await by_key(session, key)
    merchant = await session.get_one(Merchant, found.merchant_id)
    known = await people.someone(session, found.email) is not None
    me = visitor.person.email if visitor is not None and visitor.complete else None
    labels = await _labels(session, Actor.system(MerchantId(found.merchant_id)))
    return InvitedPage(key=key, merchant=merchant.name, role=labels.get(found.role, ""), email=found.email, known=known, me=me)
