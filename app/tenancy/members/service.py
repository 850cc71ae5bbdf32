"""Writes of members: let in again after a long absence, and limits, an act up to an amount, from the next request on."""

from typing import NoReturn
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.errors import Invalid
from app.core.ids import PersonId
from app.core.money import Money
from app.identity.service import absences
from app.tenancy import service as teams
from app.tenancy.domain import LIMITABLE, PermissionNotHeld
from app.tenancy.models import MemberLimit, Membership
from app.tenancy.roles import service as rights


async def let_in(session: AsyncSession, actor: Actor, *, member_id: UUID) -> None:
    """Let a member in again who was shut out for staying away; for an owner another owner does. Doing it twice changes nothing."""
    row = await teams.other_member(session, actor, member_id=member_id)
    await teams.check_owner(session, actor, row.role)
    if await absences.let_in(session, PersonId(row.person_id), by=actor.name):
        after = {"person": str(row.person_id)}
        await audit.record(session, actor, action="member.let_in", object_type="membership", object_id=row.id, after=after)


async def set_limit(session: AsyncSession, actor: Actor, *, member_id: UUID, permission: str, most: Money) -> None:
    """Allow a member an act up to an amount only. Other currencies of that permission are then closed until they have a limit too.

    Anybody who may change the team may narrow; whoever widens must hold what the member then may.
    """
    row = await teams.other_member(session, actor, member_id=member_id)
    await session.refresh(row, with_for_update=True)
    if permission not in LIMITABLE:
        raise Invalid(fields={"permission": "Choose one of the options."})
    if most.is_negative:
        raise Invalid(fields={"most": "Enter zero or more."})
    key = (actor.merchant, row.id, permission, most.currency)
    held = await session.get(MemberLimit, key)
    if not await _narrows(session, row, permission, held, most) and (not actor.can(permission) or actor.exceeds(permission, most)):
        _refuse(permission, "most")
    if held is None and not await _others(session, row, permission):
        # until now without an end, and so good for what knows no limit
        await rights.tell_rights_lost(session, actor, row)
    before = None if held is None else {permission: Money(held.most_minor, most.currency).format()}
    columns = ("merchant_id", "membership_id", "permission", "currency")
    statement = upsert(MemberLimit).values(dict(zip(columns, key, strict=True)) | {"most_minor": most.minor})
    await session.execute(statement.on_conflict_do_update(index_elements=columns, set_={"most_minor": most.minor}))
    await audit.record(
        session,
        actor,
        action="member.limit_set",
        object_type="membership",
        object_id=row.id,
        before=before,
        after={permission: most.format()},
    )


async def _narrows(session: AsyncSession, row: Membership, permission: str, held: MemberLimit | None, most: Money) -> bool:
    """Whether the member may do less with this limit than before: below the one of its currency, or as the first of its permission."""
    if held is not None:
        return most.minor <= held.most_minor
    return not await _others(session, row, permission)


async def _others(session: AsyncSession, row: Membership, permission: str) -> int:
    theirs = (MemberLimit.merchant_id == row.merchant_id, MemberLimit.membership_id == row.id, MemberLimit.permission == permission)
    return await session.scalar(select(func.count()).where(*theirs)) or 0


def _refuse(permission: str, field: str) -> NoReturn:
    problem = f"You cannot give what you do not hold: {permission}. Ask somebody who may do this without a limit."
    raise PermissionNotHeld(problem, fields={field: problem})


async def remove_limit(session: AsyncSession, actor: Actor, *, member_id: UUID, permission: str, currency: str) -> None:
    """Take a limit away; without any limit left for a permission it holds without end."""
    row = await teams.other_member(session, actor, member_id=member_id)
    # of two that are lifted at one moment the second must see that it is the last
    await session.refresh(row, with_for_update=True)
    gone = delete(MemberLimit).where(
        MemberLimit.merchant_id == actor.merchant,
        MemberLimit.membership_id == row.id,
        MemberLimit.permission == permission,
        MemberLimit.currency == currency,
    )
    most = await session.scalar(gone.returning(MemberLimit.most_minor))
    if most is not None:
        if permission not in actor.grantable and not await _others(session, row, permission):
            _refuse(permission, "permission")
        before = {permission: Money(most, currency).format()}
        await audit.record(session, actor, action="member.limit_removed", object_type="membership", object_id=row.id, before=before)
