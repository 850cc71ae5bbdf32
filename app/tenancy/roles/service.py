"""Writes of a merchant's own roles. Nobody gives what they do not hold; changes hold from the next request on."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import Invalid
from app.core.ids import new_id
from app.tenancy.domain import PERMISSIONS, PermissionNotHeld, RightsLost, Role, RoleExists, RoleInUse, lacking
from app.tenancy.models import Membership, MerchantRole
from app.tenancy.roles import queries


async def create_role(session: AsyncSession, actor: Actor, *, name: str, summary: str, permissions: Collection[str]) -> MerchantRole:
    """Make a role of the merchant's own."""
    wanted = _checked(actor, permissions, before=frozenset())
    moment = now()
    row = MerchantRole(merchant_id=actor.merchant, id=new_id(), created_at=moment, updated_at=moment, permissions=wanted)
    _name(row, name, summary)
    session.add(row)
    await _store(session)
    await audit.record(session, actor, action="role.created", object_type="merchant_role", object_id=row.id, after=_shown(row))
    return row


async def change_role(
    session: AsyncSession, actor: Actor, *, role_id: UUID, name: str, summary: str, permissions: Collection[str]
) -> MerchantRole:
    """Change what a role is called and allows; whoever holds it may do so from the next request on."""
    row = await queries.own_role(session, actor, role_id=role_id, lock=True)
    before, lost_from = _shown(row), row.permissions
    row.permissions, row.updated_at = _checked(actor, permissions, before=frozenset(row.permissions)), now()
    _name(row, name, summary)
    await _store(session)
    if frozenset(lost_from) - frozenset(row.permissions):
        held = select(Membership).where(Membership.merchant_id == actor.merchant, Membership.role_id == role_id)
        for each in await session.scalars(held.order_by(Membership.id)):
            await tell_rights_lost(session, actor, each)
    if before != _shown(row):
        await audit.record(
            session, actor, action="role.changed", object_type="merchant_role", object_id=row.id, before=before, after=_shown(row)
        )
    return row


async def tell_rights_lost(session: AsyncSession, actor: Actor, row: Membership) -> None:
    """Let the rest of the house hear that a member may do less: what they gave to programs may be more than they hold."""
    event = RightsLost(person_id=str(row.person_id))
    await outbox.publish(session, merchant_id=actor.merchant, event=event, object_id=row.id)


async def delete_role(session: AsyncSession, actor: Actor, *, role_id: UUID) -> MerchantRole:
    """Remove a role that nobody holds."""
    row = await queries.own_role(session, actor, role_id=role_id, lock=True)
    held = select(func.count()).where(Membership.merchant_id == actor.merchant, Membership.role_id == role_id)
    if count := await session.scalar(held):
        raise RoleInUse(f"{count} {'person holds' if count == 1 else 'people hold'} it. Give them another role first.")
    await session.execute(delete(MerchantRole).where(MerchantRole.merchant_id == actor.merchant, MerchantRole.id == role_id))
    await audit.record(session, actor, action="role.deleted", object_type="merchant_role", object_id=role_id, before=_shown(row))
    return row


def _checked(actor: Actor, permissions: Collection[str], *, before: frozenset[str]) -> list[str]:
    wanted = frozenset(permissions)
    problem = None
    if not wanted:
        problem = "Choose at least one."
    elif unknown := sorted(wanted - PERMISSIONS.keys()):
        problem = f"There is no such permission: {', '.join(unknown)}."
    if problem:
        raise Invalid(problem, fields={"permissions": problem})
    if missing := lacking(wanted - before, actor.grantable):
        problem = f"You cannot give what you do not hold: {', '.join(missing)}."
        raise PermissionNotHeld(problem, fields={"permissions": problem})
    return [name for name in PERMISSIONS if name in wanted]


def _name(row: MerchantRole, name: str, summary: str) -> None:
    row.name, row.name_lc, row.summary = name.strip(), name.strip().casefold(), summary.strip()
    if row.name_lc in set(Role):
        raise RoleExists("The house has a role of this name.", fields={"name": "The house has a role of this name."})


async def _store(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError:
        raise RoleExists(fields={"name": "Another role has this name."}) from None


def _shown(row: MerchantRole) -> dict[str, object]:
    return {"name": row.name, "summary": row.summary, "permissions": list(row.permissions)}
