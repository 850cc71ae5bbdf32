"""Writes about resets of second factors, each in the audit; the person is told by mail of every step."""

from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import enter_merchant
from app.core.errors import AppError
from app.core.ids import MerchantId, PersonId, new_id
from app.identity import queries as people
from app.identity import service as identity
from app.identity.service import events
from app.identity.service.events import Place
from app.tenancy import queries as teams
from app.tenancy import service as members
from app.tenancy.models import FactorReset
from app.tenancy.resets.domain import FACTOR_RESET, WAIT, ResetByOneself, ResetNotFound, ResetPending, ResetStatus, WorksElsewhere


async def request_reset(session: AsyncSession, actor: Actor, *, member_id: UUID, reason: str) -> FactorReset:
    """Ask that a colleague's second factors be taken away, because they have lost them all."""
    member = await teams.membership(session, actor, member_id=member_id)
    if member.person_id == actor.id or actor.id is None:
        raise ResetByOneself("Ask another admin to begin it.")
    await members.check_owner(session, actor, member.role)
    await _only_here(session, actor.merchant, member.person_id)
    row = FactorReset(merchant_id=actor.merchant, id=new_id(), person_id=member.person_id, status=FACTOR_RESET.initial, reason=reason)
    row.requested_by, row.requested_at = actor.id, now()
    session.add(row)
    try:
        await session.flush()
    except IntegrityError:
        raise ResetPending() from None
    await _record(session, actor, row, "requested")
    await _tell(session, actor, row, f"{actor.name} asked to reset your second factors. Another admin must approve it.")
    return row


async def _only_here(session: AsyncSession, merchant_id: MerchantId, person_id: UUID) -> None:
    """No merchant weakens another's door: asked at each step, since somebody may begin to work elsewhere in between."""
    if await session.scalar(select(func.works_elsewhere(person_id, merchant_id))):
        raise WorksElsewhere("Ask whoever runs this installation.")


async def approve(session: AsyncSession, actor: Actor, *, reset_id: UUID) -> FactorReset:
    """Approve what another admin asked for; it happens a day later unless somebody cancels it."""
    row = await _locked(session, actor, reset_id)
    if actor.id in (row.requested_by, row.person_id):
        raise ResetByOneself("Whoever asked for it, or is meant by it, does not approve it.")
    await members.check_owner(session, actor, await _role(session, row))
    await _only_here(session, MerchantId(row.merchant_id), row.person_id)
    row.status = FACTOR_RESET.next(ResetStatus(row.status), "approve")
    row.approved_by, row.approved_at, row.due_at = actor.id, now(), now() + WAIT
    await session.flush()
    await _record(session, actor, row, "approved")
    await _tell(session, actor, row, "The reset of your second factors was approved. It happens in 24 hours unless you cancel it.")
    return row


async def cancel(session: AsyncSession, actor: Actor, *, reset_id: UUID) -> None:
    """Stop a reset; an admin does, or the person it is about."""
    row = await _locked(session, actor, reset_id)
    if row.person_id != actor.id:
        actor.require("team.write")
    await _end(session, actor, row, f"{actor.name} cancelled the reset of your second factors. Nothing was changed.")


async def _end(session: AsyncSession, actor: Actor, row: FactorReset, told: str) -> None:
    row.status, row.ended_at = FACTOR_RESET.next(ResetStatus(row.status), "cancel"), now()
    await session.flush()
    await _record(session, actor, row, "cancelled")
    await _tell(session, actor, row, told)


async def finish(session: AsyncSession, actor: Actor, *, reset_id: UUID) -> bool:
    """Take the factors away when the day is over; gives whether it happened. What would be refused today is cancelled."""
    row = await _locked(session, actor, reset_id)
    if row.status != ResetStatus.APPROVED or row.due_at is None or row.due_at > now():
        return False
    if not await _still_right(session, row):
        await _end(session, actor, row, "The reset of your second factors cannot be done any more. Nothing was changed.")
        return False
    row.status, row.ended_at = FACTOR_RESET.next(ResetStatus(row.status), "finish"), now()
    await session.flush()
    await identity.reset_factors(session, PersonId(row.person_id), place=Place(), why="By two admins")
    await _record(session, actor, row, "done")
    return True


async def _still_right(session: AsyncSession, row: FactorReset) -> bool:
    """Whether the person still works here and nowhere else, and both admins could ask for it today."""
    merchant_id, role = MerchantId(row.merchant_id), await _role(session, row)
    if not role or row.approved_by is None:
        return False
    try:
        await _only_here(session, merchant_id, row.person_id)
        for person_id in (row.requested_by, row.approved_by):
            admin = await teams.colleague(session, merchant_id, person_id)
            if admin is None or not admin.can("team.write"):
                return False
            await members.check_owner(session, admin, role)
    except AppError:
        return False
    return True


async def _locked(session: AsyncSession, actor: Actor, reset_id: UUID) -> FactorReset:
    mine = or_(FactorReset.merchant_id == actor.merchant, FactorReset.person_id == actor.id)
    home = await session.scalar(select(FactorReset.merchant_id).where(FactorReset.id == reset_id, mine))
    if home is None:
        raise ResetNotFound()
    # the person may be looking at the sandbox, where the merchant's rows can be seen by them and not changed
    await enter_merchant(session, MerchantId(home))
    locked = select(FactorReset).where(FactorReset.merchant_id == home, FactorReset.id == reset_id).with_for_update()
    row: FactorReset = (await session.scalars(locked)).one()
    return row


async def _role(session: AsyncSession, row: FactorReset) -> str:
    return await teams.role_of(session, row.merchant_id, row.person_id)


async def _record(session: AsyncSession, actor: Actor, row: FactorReset, what: str) -> None:
    after = {"person": str(row.person_id), "status": row.status}
    action, home = f"factor_reset.{what}", MerchantId(row.merchant_id)
    await audit.record(
        session, actor, action=action, object_type="factor_reset", object_id=row.id, after=after, reason=row.reason, merchant_id=home
    )


async def _tell(session: AsyncSession, actor: Actor, row: FactorReset, sentence: str) -> None:
    who = await people.person(session, PersonId(row.person_id))
    place = Place(address=actor.address or "")
    await events.tell(session, who, place, subject="Reset of your second factors", sentence=f"{sentence} Look at /factor-resets/mine.")
