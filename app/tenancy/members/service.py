"""Writes of members' limits: an act up to an amount, from the next request on."""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.errors import Invalid
from app.core.money import Money
from app.tenancy import service as teams
from app.tenancy.domain import LIMITABLE
from app.tenancy.models import MemberLimit


async def set_limit(session: AsyncSession, actor: Actor, *, member_id: UUID, permission: str, most: Money) -> None:
    """Allow a member an act up to an amount only. Other currencies of that permission are then closed until they have a limit too."""
    row = await teams.other_member(session, actor, member_id=member_id)
    if permission not in LIMITABLE:
        raise Invalid(fields={"permission": "Choose one of the options."})
    if most.is_negative:
        raise Invalid(fields={"most": "Enter zero or more."})
    key = (actor.merchant, row.id, permission, most.currency)
    held = await session.get(MemberLimit, key)
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


async def remove_limit(session: AsyncSession, actor: Actor, *, member_id: UUID, permission: str, currency: str) -> None:
    """Take a limit away; without any limit left for a permission it holds without end."""
    row = await teams.other_member(session, actor, member_id=member_id)
    gone = delete(MemberLimit).where(
        MemberLimit.merchant_id == actor.merchant,
        MemberLimit.membership_id == row.id,
        MemberLimit.permission == permission,
        MemberLimit.currency == currency,
    )
    most = await session.scalar(gone.returning(MemberLimit.most_minor))
    if most is not None:
        before = {permission: Money(most, currency).format()}
        await audit.record(session, actor, action="member.limit_removed", object_type="membership", object_id=row.id, before=before)
