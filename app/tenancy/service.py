"""Writes about merchants and their teams, each in one transaction and each in the audit trail."""

from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor, ActorKind
from app.core.clock import now, timezones
from app.core.db import enter_merchant
from app.core.errors import Invalid
from app.core.ids import MerchantId, PersonId, new_id, public_id
from app.tenancy import queries
from app.tenancy.domain import (
    OTHER_ROLE,
    BreakGlassOwner,
    LastOwner,
    MemberExists,
    MerchantNotFound,
    MerchantOpened,
    MerchantStatus,
    OwnRole,
    PermissionNotHeld,
    Role,
    lacking,
)
from app.tenancy.models import Membership, Merchant
from app.tenancy.roles import queries as roles
from app.tenancy.roles import service as rights
from app.web import sessions


async def open_merchant(session: AsyncSession, actor: Actor, *, name: str) -> tuple[Merchant, Merchant]:
    """Open a merchant together with its sandbox; the person who does it becomes owner of both."""
    live = await _open(session, actor, name=name, sandbox_of=None)
    sandbox = await _open(session, actor, name=name, sandbox_of=live.id)
    await enter_merchant(session, actor.merchant_id)
    return live, sandbox


async def _open(session: AsyncSession, actor: Actor, *, name: str, sandbox_of: UUID | None) -> Merchant:
    merchant_id = MerchantId(new_id())
    await enter_merchant(session, merchant_id)
    row = Merchant(id=merchant_id, sandbox_of=sandbox_of, name=name.strip(), status=MerchantStatus.ACTIVE, created_at=now())
    row.legal_name, row.website, row.support_email, row.timezone = "", "", "", "UTC"
    session.add(row)
    await session.flush()
    after = {"name": row.name, "sandbox": sandbox_of is not None}
    await audit.record(
        session, actor, action="merchant.opened", object_type="merchant", object_id=row.id, after=after, merchant_id=merchant_id
    )
    opened = MerchantOpened(name=row.name, sandbox=sandbox_of is not None)
    await outbox.publish(session, merchant_id=merchant_id, event=opened, object_id=row.id)
    if actor.kind is ActorKind.USER and actor.id is not None:
        await _join(session, actor, merchant_id=merchant_id, person_id=PersonId(actor.id), role=Role.OWNER)
    return row


async def add_member(session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, person_id: PersonId, role: Role | UUID) -> Membership:
    """Let a person work for a merchant, in a role of the house or (by its id) of the merchant's own. Nobody gives what they do not hold."""
    await enter_merchant(session, merchant_id)
    if actor.kind is ActorKind.USER:
        await check_grant(session, actor, role)
    row = await _join(session, actor, merchant_id=merchant_id, person_id=person_id, role=role)
    await enter_merchant(session, actor.merchant_id)
    return row


async def _join(session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, person_id: PersonId, role: Role | UUID) -> Membership:
    row = Membership(merchant_id=merchant_id, id=new_id(), person_id=person_id, created_at=now(), last_entered_at=None)
    row.role, row.role_id = _columns(role)
    session.add(row)
    try:
        await session.flush()
    except IntegrityError:
        raise MemberExists(fields={"email": "This person is in the team already."}) from None
    after = {"person": str(person_id), "role": _word(row)}
    await audit.record(
        session, actor, action="member.added", object_type="membership", object_id=row.id, after=after, merchant_id=merchant_id
    )
    return row


def _columns(role: Role | UUID) -> tuple[str, UUID | None]:
    return (OTHER_ROLE, role) if isinstance(role, UUID) else (role.value, None)


def _word(row: Membership) -> str:
    return row.role if row.role_id is None else public_id("rol", row.role_id)


async def check_grant(session: AsyncSession, actor: Actor, role: Role | UUID) -> None:
    """Refuse a role that allows more than the actor may do; and the owner's to whoever is no owner, whatever else they hold."""
    await check_owner(session, actor, _columns(role)[0])
    given = await roles.role(session, actor, role)
    missing = lacking(given.permissions, actor.grantable)
    if missing:
        problem = f"You cannot give what you do not hold: {', '.join(missing)}."
        raise PermissionNotHeld(problem, fields={"role": problem})


async def check_owner(session: AsyncSession, actor: Actor, *named: str) -> None:
    """Giving or taking the owner's role, or an owner's second factors, is an owner's right."""
    if Role.OWNER in named and await queries.own_role(session, actor) != Role.OWNER:
        problem = "Only an owner gives or takes the owner’s role."
        raise Invalid(problem, fields={"role": problem})


async def change_role(session: AsyncSession, actor: Actor, *, member_id: UUID, role: Role | UUID) -> Membership:
    """Give a member another role, from their next request on."""
    row = await other_member(session, actor, member_id=member_id)
    old = {"role": _word(row)}
    await check_owner(session, actor, row.role)
    await check_grant(session, actor, role)
    if row.role == Role.OWNER and role != Role.OWNER:
        await keep_an_owner(session, actor, leaving=row.id)
        await _keep_break_glass(session, row)
    lost = (await _permissions(session, actor, row)) - (await roles.role(session, actor, role)).permissions
    row.role, row.role_id = _columns(role)
    await session.flush()
    if lost:
        await rights.tell_rights_lost(session, actor, row)
    new = {"role": _word(row)}
    await audit.record(session, actor, action="member.role_changed", object_type="membership", object_id=row.id, before=old, after=new)
    return row


async def remove_member(session: AsyncSession, actor: Actor, *, member_id: UUID) -> None:
    """Take a person out of the team, from their next request on."""
    row = await other_member(session, actor, member_id=member_id)
    await check_owner(session, actor, row.role)
    if row.role == Role.OWNER:
        await keep_an_owner(session, actor, leaving=row.id)
        await _keep_break_glass(session, row)
    before = {"person": str(row.person_id), "role": _word(row)}
    await session.execute(delete(Membership).where(Membership.merchant_id == actor.merchant, Membership.id == row.id))
    await rights.tell_rights_lost(session, actor, row)
    await audit.record(session, actor, action="member.removed", object_type="membership", object_id=row.id, before=before)


async def _permissions(session: AsyncSession, actor: Actor, row: Membership) -> frozenset[str]:
    return (await roles.role(session, actor, row.role_id or Role(row.role))).permissions


async def other_member(session: AsyncSession, actor: Actor, *, member_id: UUID) -> Membership:
    """A member of the team who is not the actor: about oneself nobody decides."""
    row = await queries.membership(session, actor, member_id=member_id)
    if row.person_id == actor.id:
        raise OwnRole("Ask another owner.")
    return row


async def keep_an_owner(session: AsyncSession, actor: Actor, *, leaving: UUID) -> None:
    """Refuse when nobody else owns the merchant. The owners' rows are locked in one order, so that two cannot remove each other at once."""
    owners = select(Membership.id).where(Membership.merchant_id == actor.merchant, Membership.role == Role.OWNER)
    held = (await session.scalars(owners.order_by(Membership.id).with_for_update())).all()
    if not set(held) - {leaving}:
        raise LastOwner("Make somebody else an owner first.")


async def _keep_break_glass(session: AsyncSession, row: Membership) -> None:
    """Refuse when an enforced sign-in provider relies on this owner. Their row is locked by now, as it is where they are named."""
    name = await queries.break_glass_of(session, row.merchant_id, row.person_id)
    if name is not None:
        raise BreakGlassOwner(f"They get in when “{name}” does not. Name another owner under Single sign-on first.")


async def change_profile(
    session: AsyncSession, actor: Actor, *, name: str, legal_name: str, website: str, support_email: str, timezone: str
) -> None:
    """Change what is known about the merchant itself."""
    if timezone not in timezones():
        raise Invalid(fields={"timezone": "Choose a time zone from the list."})
    if website and not website.startswith(("https://", "http://")):
        raise Invalid(fields={"website": "Begin with https://"})
    row = await queries.merchant(session, actor.merchant)
    after = {"name": name, "legal_name": legal_name, "website": website, "support_email": support_email, "timezone": timezone}
    before = {field: getattr(row, field) for field in after}
    await session.execute(update(Merchant).where(Merchant.id == actor.merchant).values(**after))
    changed = [field for field in after if after[field] != before[field]]
    if changed:
        old, new = {f: before[f] for f in changed}, {f: after[f] for f in changed}
        await audit.record(session, actor, action="merchant.changed", object_type="merchant", object_id=row.id, before=old, after=new)


async def enter(session: AsyncSession, actor: Actor, *, session_id: UUID, merchant_id: MerchantId) -> None:
    """Go on working in another merchant one belongs to; the next sign-in starts there."""
    await enter_merchant(session, merchant_id)
    mine = update(Membership).where(Membership.merchant_id == merchant_id, Membership.person_id == actor.id)
    if await session.scalar(mine.values(last_entered_at=now()).returning(Membership.id)) is None:
        raise MerchantNotFound()
    await sessions.enter(session, session_id, merchant_id)
