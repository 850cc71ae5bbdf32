"""Reads about merchants: who a session cookie belongs to, the team, the roles, the profile, the audit trail."""

from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.audit import AuditEntry
from app.core.clock import now
from app.core.db import call
from app.core.ids import MalformedId, MerchantId, PersonId, parse_id, public_id
from app.core.paging import fetch_page
from app.core.secrets import digest
from app.core.settings import settings
from app.identity.domain import initials
from app.identity.models import Person
from app.tenancy import domain
from app.tenancy.domain import PERMISSIONS, ROLE_SUMMARY, MemberNotFound, MerchantNotFound, Role, permissions_of
from app.tenancy.models import Membership, Merchant
from app.tenancy.schemas import (
    AddMemberPage,
    AuditPage,
    AuditRow,
    ChangeRolePage,
    MemberRow,
    MerchantPage,
    PermissionRow,
    RoleOption,
    RolesPage,
    TeamPage,
)
from app.web.context import MerchantBadge, PersonBadge
from app.web.sessions import Visitor

_VISITOR = text("select * from visitor(:digest, :now, :idle)")
_PREFIXES = {
    "merchant": "mer",
    "person": "usr",
    "membership": "mem",
    "api_key": "key",
    "payment": "pay",
    "order": "ord",
    "seller": "sel",
    "refund": "ref",
    "capture": "cap",
    "connection": "con",
    "psp_connection": "con",
}


async def visitor(token: str) -> Visitor | None:
    """Who holds this session cookie, in which merchant, with which permissions; nobody when the session has ended."""
    idle = timedelta(minutes=settings().session_idle_minutes)
    row = await call(_VISITOR, {"digest": digest(token), "now": now(), "idle": idle})
    return None if row is None else _visitor(row)


def _visitor(row: Row[tuple[object, ...]]) -> Visitor:
    mine = msgspec.convert(row.memberships, list[domain.Membership])
    current = next((m for m in mine if row.merchant_id is not None and m.id == str(row.merchant_id)), mine[0] if mine else None)
    badges = {m.id: _badge(m, mine) for m in mine}
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
        permissions=permissions_of(current.role, sandbox=current.sandbox_of is not None) if current and row.factor_at else frozenset(),
    )


def _badge(membership: domain.Membership, mine: list[domain.Membership]) -> MerchantBadge:
    twin = next((m.id for m in mine if membership.id == m.sandbox_of or membership.sandbox_of == m.id), None)
    return MerchantBadge(
        id=public_id("mer", UUID(membership.id)),
        name=membership.name,
        initials=initials(membership.name),
        is_sandbox=membership.sandbox_of is not None,
        counterpart=public_id("mer", UUID(twin)) if twin else None,
        role=membership.role.capitalize(),
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


_MEMBER = select(Membership, Person).join(Person, Person.id == Membership.person_id)


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


def _member_row(actor: Actor, row: Membership, person: Person) -> MemberRow:
    return MemberRow(
        id=public_id("mem", row.id),
        name=person.name,
        email=person.email,
        initials=initials(person.name),
        role=Role(row.role),
        enrolled=person.totp_enrolled_at is not None,
        since=row.created_at,
        me=person.id == actor.id,
    )


async def team(session: AsyncSession, actor: Actor) -> TeamPage:
    """Everybody who works for the merchant, by name."""
    rows = (await session.execute(_MEMBER.where(Membership.merchant_id == actor.merchant).order_by(Person.name, Person.id))).all()
    return TeamPage(members=[_member_row(actor, *row) for row in rows], may_change=actor.can("team.write"))


def role_options(actor: Actor, role: str) -> list[RoleOption]:
    """The roles that this actor may give: only an owner makes an owner."""
    return [RoleOption(r, r.capitalize(), ROLE_SUMMARY[r]) for r in Role if r is not Role.OWNER or role == Role.OWNER]


async def own_role(session: AsyncSession, actor: Actor) -> str:
    """The actor's role at the merchant; empty for whoever is not a member, as the house itself."""
    found = await session.scalar(select(Membership.role).where(Membership.merchant_id == actor.merchant, Membership.person_id == actor.id))
    return found or ""


async def role_of(session: AsyncSession, merchant_id: UUID, person_id: UUID) -> str:
    """The role of a person at the merchant; empty for whoever is no member."""
    found = await session.scalar(select(Membership.role).where(Membership.merchant_id == merchant_id, Membership.person_id == person_id))
    return found or ""


async def add_member_page(session: AsyncSession, actor: Actor) -> AddMemberPage:
    """The form to add a person to the team."""
    here = await merchant(session, actor.merchant)
    return AddMemberPage(roles=role_options(actor, await own_role(session, actor)), merchant=here.name)


async def change_role_page(session: AsyncSession, actor: Actor, *, member_id: UUID) -> ChangeRolePage:
    """The form to give a member another role."""
    return ChangeRolePage(
        member=await member(session, actor, member_id=member_id), roles=role_options(actor, await own_role(session, actor))
    )


async def roles(session: AsyncSession, actor: Actor) -> RolesPage:
    """Which role may do what at this merchant."""
    sandbox = await sandbox_of(session, actor.merchant)
    granted = [permissions_of(role, sandbox=sandbox) for role in Role]
    rows = [PermissionRow(name=name, meaning=meaning, granted=[name in g for g in granted]) for name, meaning in PERMISSIONS.items()]
    return RolesPage(roles=[RoleOption(r, r.capitalize(), ROLE_SUMMARY[r]) for r in Role], permissions=rows, sandbox=sandbox)


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
        *sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix/", "right/", "SystemV/"))),
    ]


async def audit_log(
    session: AsyncSession, actor: Actor, *, action: str = "", who: str = "", q: str = "", after: str | None = None
) -> AuditPage:
    """What happened at the merchant, newest first: by action, by who did it, by object or request."""
    statement = select(*AuditEntry.__table__.c).where(AuditEntry.merchant_id == actor.merchant)
    if action:
        statement = statement.where(AuditEntry.action == action)
    if who:
        statement = statement.where(AuditEntry.actor_name == who)
    if q:
        statement = statement.where((AuditEntry.request_id == q) | (AuditEntry.object_id == _object_id(q)))
    page = (await fetch_page(session, statement, keys=[AuditEntry.id], after=after)).map(_audit_row)
    actions = await session.scalars(_ACTIONS, {"merchant": actor.merchant})
    kept = {name: value for name, value in (("action", action), ("who", who), ("q", q)) if value}
    return AuditPage(
        entries=page,
        actions=[("", "Every action"), *((name, name) for name in actions)],
        action=action,
        actor=who,
        q=q,
        next_href=_href(kept, page.next),
        previous_href=_href(kept, page.previous),
    )


# a loose index scan: one probe of (merchant, action, id) per distinct action, however long the log is
_ACTIONS = text(
    "with recursive a as ((select action from audit_entry where merchant_id = :merchant order by action limit 1) union all"
    " select (select e.action from audit_entry e where e.merchant_id = :merchant and e.action > a.action order by e.action limit 1)"
    " from a where a.action is not null) select action from a where action is not null"
)


def _href(kept: dict[str, str], pointer: str | None) -> str | None:
    return None if pointer is None else "/audit?" + urlencode(kept | {"after": pointer})


def _object_id(q: str) -> UUID:
    """The uuid behind a public id of any kind, or a bare uuid; anything else matches nothing."""
    prefix = q.strip().partition("_")[0]
    try:
        return parse_id(prefix, q) if "_" in q else UUID(q)
    except (ValueError, MalformedId):
        return UUID(int=0)


def _audit_row(row: Row[tuple[object, ...]]) -> AuditRow:
    prefix = _PREFIXES.get(row.object_type)
    return AuditRow(
        id=public_id("aud", row.id),
        at=row.at,
        actor=row.actor_name,
        actor_kind=row.actor_kind,
        action=row.action,
        object_type=row.object_type,
        object_id=None if row.object_id is None else public_id(prefix, row.object_id) if prefix else str(row.object_id),
        address=row.address,
        request_id=row.request_id,
        reason=row.reason,
        before=row.before,
        after=row.after,
    )
