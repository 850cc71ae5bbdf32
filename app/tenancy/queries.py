"""Reads about merchants: who a session cookie belongs to, the team, the roles, the profile."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import Row, and_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.db import call
from app.core.ids import MerchantId, PersonId, public_id
from app.core.money import Money
from app.core.secrets import digest
from app.core.settings import settings
from app.identity.domain import PersonStatus, initials
from app.identity.models import Person
from app.tenancy import domain
from app.tenancy.domain import (
    ACTING_PERMISSIONS,
    ACTING_ROLES,
    LIMITABLE,
    PERMISSIONS,
    MemberNotFound,
    MerchantNotFound,
    Role,
    permissions_of,
)
from app.tenancy.models import MemberLimit, Membership, Merchant, MerchantRole, SsoProvider
from app.tenancy.roles import queries as roles
from app.tenancy.rules.queries import CURRENCIES
from app.tenancy.schemas import (
    ChangeRolePage,
    LimitRow,
    MemberPage,
    MemberRow,
    MerchantPage,
    RoleOption,
    TeamPage,
)
from app.web import sessions
from app.web.context import MerchantBadge, PersonBadge
from app.web.sessions import Operating, Visitor

# the merchant one is in is that of the session, or the first of those one may enter
_VISITOR = text(
    "select v.*, standing(v.person_id, coalesce("
    "(select (m ->> 'id')::uuid from jsonb_array_elements(v.memberships) m where m ->> 'id' = v.merchant_id::text),"
    " (v.memberships -> 0 ->> 'id')::uuid)) as standing,"
    " operator_standing(v.person_id, :now) as operating, person_acts(v.person_id, :roles, :permissions) as acts"
    " from visitor(:digest, :now, session_idle(:digest, :now, :acting, :reading, :roles, :permissions)) v"
)


async def visitor(token: str) -> Visitor | None:
    """Who holds this session cookie, in which merchant, with which permissions; nobody when the session has ended."""
    acting, reading = (timedelta(minutes=minutes) for minutes in (settings().session_idle_minutes, settings().session_idle_minutes_reading))
    asked = {"digest": digest(token), "now": now(), "acting": acting, "reading": reading}
    row = await call(_VISITOR, asked | {"roles": sorted(ACTING_ROLES), "permissions": sorted(ACTING_PERMISSIONS)})
    return None if row is None else _visitor(row)


def _visitor(row: Row[tuple[object, ...]]) -> Visitor:
    mine = msgspec.convert(row.memberships, list[domain.Membership])
    current = next((m for m in mine if row.merchant_id is not None and m.id == str(row.merchant_id)), mine[0] if mine else None)
    standing = msgspec.convert(row.standing or {}, domain.Standing)
    badges = {m.id: _badge(m, mine, standing.role if m is current else None) for m in mine}
    return Visitor(
        session_id=row.session_id,
        csrf_seed=bytes(row.csrf_seed),
        person_id=PersonId(row.person_id),
        person=PersonBadge(name=row.name, email=row.email, initials=initials(row.name)),
        factor_at=row.factor_at,
        enrolled=row.enrolled,
        theme=row.theme,
        density=row.density,
        merchant_id=MerchantId(UUID(current.id)) if current else None,
        merchant=badges[current.id] if current else None,
        merchants=list(badges.values()),
        permissions=standing.may(current) if current and row.factor_at else frozenset(),
        fresh_minutes=standing.fresh_minutes,
        money_limits=standing.money,
        limits=standing.limits,
        # an operator's way in is the house's own: no merchant's provider opens the console
        operating=msgspec.convert(row.operating, Operating) if row.operating and not row.bound else None,
        idle_minutes=sessions.idle_minutes(acts=bool(row.acts)),
        factor=row.factor or "",
        bound=row.bound,
    )


def _badge(membership: domain.Membership, mine: list[domain.Membership], role: str | None) -> MerchantBadge:
    twin = next((m.id for m in mine if membership.id == m.sandbox_of or membership.sandbox_of == m.id), None)
    return MerchantBadge(
        id=public_id("mer", UUID(membership.id)),
        name=membership.name,
        initials=initials(membership.name),
        is_sandbox=membership.sandbox_of is not None,
        counterpart=public_id("mer", UUID(twin)) if twin else None,
        role=role or membership.role.capitalize(),
    )


async def merchant(session: AsyncSession, merchant_id: MerchantId) -> Merchant:
    """A merchant by id."""
    found = await session.get(Merchant, merchant_id)
    if found is None:
        raise MerchantNotFound()
    return found


async def sandbox_of(session: AsyncSession, merchant_id: MerchantId) -> bool:
    """Whether the merchant is a sandbox, where no money is real."""
    return (await merchant(session, merchant_id)).sandbox_of is not None


_MEMBER = (
    select(Membership, Person, MerchantRole.name)
    .join(Person, Person.id == Membership.person_id)
    .outerjoin(MerchantRole, and_(MerchantRole.merchant_id == Membership.merchant_id, MerchantRole.id == Membership.role_id))
)


async def membership(session: AsyncSession, actor: Actor, *, member_id: UUID) -> Membership:
    """One member of the actor's team."""
    found = await session.get(Membership, (actor.merchant, member_id))
    if found is None:
        raise MemberNotFound()
    return found


async def member(session: AsyncSession, actor: Actor, *, member_id: UUID) -> MemberRow:
    """One member of the actor's team, as the team page shows them."""
    found = (await session.execute(_MEMBER.where(Membership.merchant_id == actor.merchant, Membership.id == member_id))).one_or_none()
    if found is None:
        raise MemberNotFound()
    return _member_row(actor, *found)


def _member_row(actor: Actor, row: Membership, person: Person, own_role: str | None) -> MemberRow:
    return MemberRow(
        id=public_id("mem", row.id),
        name=person.name,
        email=person.email,
        initials=initials(person.name),
        role=row.role if row.role_id is None else public_id("rol", row.role_id),
        role_name=own_role or row.role.capitalize(),
        enrolled=person.totp_enrolled_at is not None,
        unused=person.status == PersonStatus.UNUSED,
        since=row.created_at,
        me=person.id == actor.id,
    )


async def team(session: AsyncSession, actor: Actor) -> TeamPage:
    """Everybody who works for the merchant, by name."""
    rows = (await session.execute(_MEMBER.where(Membership.merchant_id == actor.merchant).order_by(Person.name, Person.id))).all()
    return TeamPage(members=[_member_row(actor, *row) for row in rows], may_change=actor.can("team.write"))


async def own_role(session: AsyncSession, actor: Actor) -> str:
    """The actor's role at the merchant; empty for whoever is not a member, as the house itself."""
    found = await session.scalar(select(Membership.role).where(Membership.merchant_id == actor.merchant, Membership.person_id == actor.id))
    return found or ""


async def colleague(session: AsyncSession, merchant_id: MerchantId, person_id: UUID) -> Actor | None:
    """What a person may do at the merchant now, whoever asks and however long ago they did something; nobody for whoever left."""
    row = await session.scalar(select(Membership).where(Membership.merchant_id == merchant_id, Membership.person_id == person_id))
    if row is None:
        return None
    known = await roles.role(session, Actor.system(merchant_id), row.role_id or Role(row.role))
    held = select(MemberLimit).where(MemberLimit.merchant_id == merchant_id, MemberLimit.membership_id == row.id)
    limits = {f"{one.permission}:{one.currency}": one.most_minor for one in await session.scalars(held)}
    name = (await session.get_one(Person, person_id)).name
    return Actor(kind=ActorKind.USER, id=person_id, name=name, merchant_id=merchant_id, permissions=known.permissions, limits=limits)


async def colleagues(session: AsyncSession, merchant_id: MerchantId, person_ids: Collection[UUID]) -> dict[UUID, Actor]:
    """What these people may do at the merchant now, for a look and not for an act: nothing is locked. Whoever left is not among them."""
    if not person_ids:
        return {}
    found = _MEMBER.where(Membership.merchant_id == merchant_id, Membership.person_id.in_(person_ids))
    rows = (await session.execute(found.add_columns(MerchantRole.permissions))).all()
    held = select(MemberLimit).where(MemberLimit.merchant_id == merchant_id, MemberLimit.membership_id.in_([row.id for row, *_ in rows]))
    limits: dict[UUID, dict[str, int]] = {}
    for one in await session.scalars(held):
        limits.setdefault(one.membership_id, {})[f"{one.permission}:{one.currency}"] = one.most_minor
    sandbox = await sandbox_of(session, merchant_id)
    return {
        row.person_id: Actor(
            kind=ActorKind.USER,
            id=row.person_id,
            name=person.name,
            merchant_id=merchant_id,
            permissions=permissions_of(Role(row.role), sandbox=sandbox) if own is None else frozenset(own) & PERMISSIONS.keys(),
            limits=limits.get(row.id, {}),
        )
        for row, person, _, own in rows
    }


async def owners(session: AsyncSession, merchant_id: MerchantId) -> list[tuple[str, str]]:
    """Name and address of everybody who owns the merchant, by name."""
    mine = select(Person.name, Person.email).join(Membership, Membership.person_id == Person.id)
    found = await session.execute(
        mine.where(Membership.merchant_id == merchant_id, Membership.role == Role.OWNER).order_by(Person.name, Person.id)
    )
    return [(row.name, row.email) for row in found]


async def role_options(session: AsyncSession, actor: Actor) -> list[RoleOption]:
    """The roles that the actor may give."""
    return await roles.options(session, actor, is_owner=await own_role(session, actor) == Role.OWNER)


async def role_of(session: AsyncSession, merchant_id: UUID, person_id: UUID) -> str:
    """The role of a person at the merchant; empty for whoever is no member."""
    found = await session.scalar(select(Membership.role).where(Membership.merchant_id == merchant_id, Membership.person_id == person_id))
    return found or ""


async def break_glass_of(session: AsyncSession, merchant_id: UUID, person_id: UUID) -> str | None:
    """The name of the enforced sign-in provider without which this person is to get in, if there is one."""
    mine = select(SsoProvider.name).where(SsoProvider.merchant_id == merchant_id, SsoProvider.break_glass_id == person_id)
    return await session.scalar(mine.limit(1))


async def change_role_page(session: AsyncSession, actor: Actor, *, member_id: UUID) -> ChangeRolePage:
    """The form to give a member another role."""
    return ChangeRolePage(member=await member(session, actor, member_id=member_id), roles=await role_options(session, actor))


async def member_page(session: AsyncSession, actor: Actor, *, member_id: UUID) -> MemberPage:
    """One member: what they may do, up to which amounts, and when they were last here."""
    row = await membership(session, actor, member_id=member_id)
    may = (await roles.role(session, actor, row.role_id or Role(row.role))).permissions
    held = select(MemberLimit).where(MemberLimit.merchant_id == actor.merchant, MemberLimit.membership_id == member_id)
    limits = await session.scalars(held.order_by(MemberLimit.permission, MemberLimit.currency))
    groups: dict[str, list[str]] = {}
    for name, one in PERMISSIONS.items():
        if name in may:
            groups.setdefault(one.group, []).append(one.meaning)
    shown = await member(session, actor, member_id=member_id)
    return MemberPage(
        member=shown,
        permissions=list(groups.items()),
        limits=[_limit_row(one) for one in limits],
        limitable=[(name, PERMISSIONS[name].meaning) for name in LIMITABLE if name in may],
        currencies=list(CURRENCIES),
        last_seen_at=await sessions.last_seen(session, PersonId(row.person_id), merchant_id=actor.merchant),
        may_change=actor.can("team.write") and not shown.me,
    )


def _limit_row(row: MemberLimit) -> LimitRow:
    meaning = PERMISSIONS[row.permission].meaning
    return LimitRow(permission=row.permission, meaning=meaning, most=Money(row.most_minor, row.currency))


async def profile(session: AsyncSession, actor: Actor) -> MerchantPage:
    """The merchant's profile."""
    row = await merchant(session, actor.merchant)
    return MerchantPage(
        id=public_id("mer", row.id),
        name=row.name,
        legal_name=row.legal_name,
        website=row.website,
        support_email=row.support_email,
        timezone=row.timezone,
        timezones=[(zone, zone) for zone in timezones()],
        is_sandbox=row.sandbox_of is not None,
        since=row.created_at,
        may_change=actor.can("merchant.write"),
    )


def timezones() -> list[str]:
    """The time zones a merchant can live in."""
    return [
        "UTC",
        *sorted(zone for zone in clock.timezones() if "/" in zone and not zone.startswith(("Etc/", "posix/", "right/", "SystemV/"))),
    ]
