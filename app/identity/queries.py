"""Reads about people: by address, by id, and what their security page shows."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import PersonId, public_id
from app.core.settings import settings
from app.identity.domain import PersonNotFound, PersonStatus, normalised
from app.identity.domain.providers import NO_HASH
from app.identity.models import Passkey, Person, PersonEvent, RecoveryCode
from app.identity.schemas import EventRow, PasskeyRow, SecondFactorPage, SecurityPage, SessionRow
from app.web import sessions
from app.web.sessions import Visitor, WebSession

_WORKPLACES = text("select workplaces(:person)")
_OPERATES = text("select operator_standing(:person, :now)")


async def person(session: AsyncSession, person_id: PersonId) -> Person:
    """A person by id."""
    found = await session.get(Person, person_id)
    if found is None:
        raise PersonNotFound()
    return found


async def person_by_email(session: AsyncSession, email: str) -> Person:
    """The person with this e-mail address, however it is capitalised."""
    found = await session.scalar(select(Person).where(Person.email_lc == normalised(email)))
    if found is None:
        raise PersonNotFound("Nobody with this e-mail address is here.")
    return found


async def someone(session: AsyncSession, email: str) -> Person | None:
    """The person with this address who is not disabled, or nobody; for the sign-in, which must not tell the two apart."""
    wanted = select(Person).where(Person.email_lc == normalised(email), Person.status != PersonStatus.DISABLED)
    return (await session.scalars(wanted)).one_or_none()


async def names(session: AsyncSession, person_ids: set[UUID]) -> dict[UUID, str]:
    """The names of people, as colleagues see them."""
    found = await session.execute(select(Person.id, Person.name).where(Person.id.in_(person_ids)))
    return {row.id: row.name for row in found}


async def is_enrolled(session: AsyncSession, person: Person) -> bool:
    """Whether the person has set up a second factor."""
    if person.totp_enrolled_at is not None:
        return True
    return await session.scalar(select(Passkey.id).where(Passkey.person_id == person.id).limit(1)) is not None


async def on_their_own(session: AsyncSession, person_ids: Collection[UUID]) -> list[tuple[UUID, str, str]]:
    """Id, name and address of those of these people who can sign in without any provider: with a password and a second factor; by name."""
    keyed = select(Passkey.id).where(Passkey.person_id == Person.id).exists()
    able = select(Person.id, Person.name, Person.email).where(
        Person.id.in_(person_ids),
        Person.status == PersonStatus.ACTIVE,
        Person.password_hash != NO_HASH,
        Person.totp_enrolled_at.is_not(None) | keyed,
    )
    found = await session.execute(able.order_by(Person.name, Person.id))
    return [(row.id, row.name, row.email) for row in found]


async def is_active(session: AsyncSession, person_id: PersonId) -> bool:
    """Whether the person may sign in at all; their row is locked, so that of two sign-ins at one moment the second sees what the first did."""
    status = await session.scalar(select(Person.status).where(Person.id == person_id).with_for_update())
    return status == PersonStatus.ACTIVE


async def recovery_codes_left(session: AsyncSession, person_id: PersonId) -> int:
    """How many recovery codes are still unused."""
    unused = select(func.count()).where(RecoveryCode.person_id == person_id, RecoveryCode.used_at.is_(None))
    return await session.scalar(unused) or 0


async def security(session: AsyncSession, visitor: Visitor) -> SecurityPage:
    """What a person sees about their own account: factors, recovery codes, open sessions."""
    who = await person(session, visitor.person_id)
    rows = await sessions.sessions_of(session, visitor.person_id, idle=visitor.idle_minutes)
    return SecurityPage(
        email=who.email,
        password_changed_at=who.password_changed_at,
        totp_enrolled_at=who.totp_enrolled_at,
        passkeys=[_passkey_row(row) for row in await passkeys(session, visitor.person_id)],
        events=[_event_row(row) for row in await recent_events(session, visitor.person_id)],
        codes_left=await recovery_codes_left(session, visitor.person_id),
        density=who.density,
        sessions=[_session_row(row, current=row.id == visitor.session_id) for row in rows],
        idle_minutes=visitor.idle_minutes,
        acts=visitor.idle_minutes < sessions.idle_minutes(acts=False),
        absolute_hours=settings().session_absolute_hours,
    )


async def words_about(session: AsyncSession, who: Person) -> tuple[str, ...]:
    """What somebody who knows the person would try as a password: address, name, and the merchants they work for."""
    return (who.email, who.name, *await session.scalars(_WORKPLACES, {"person": who.id}))


async def works_somewhere(session: AsyncSession, who: Person) -> bool:
    """Whether any merchant has the person in its team, or they run the platform."""
    if (await session.scalars(_WORKPLACES, {"person": who.id})).first() is not None:
        return True
    return await session.scalar(_OPERATES, {"person": who.id, "now": now()}) is not None


async def passkeys(session: AsyncSession, person_id: PersonId) -> list[Passkey]:
    """A person's passkeys, the first one first."""
    return list(await session.scalars(select(Passkey).where(Passkey.person_id == person_id).order_by(Passkey.id)))


async def recent_events(session: AsyncSession, person_id: PersonId, *, most: int = 20) -> list[PersonEvent]:
    """What happened lately to a person's sign-in, the newest first."""
    mine = select(PersonEvent).where(PersonEvent.person_id == person_id).order_by(PersonEvent.id.desc()).limit(most)
    return list(await session.scalars(mine))


async def second_factor(session: AsyncSession, visitor: Visitor, *, after: str) -> SecondFactorPage:
    """The question for a second factor, with the kinds this person has."""
    who = await person(session, visitor.person_id)
    keys = bool(await passkeys(session, visitor.person_id))
    return SecondFactorPage(email=who.email, app=who.totp_enrolled_at is not None, passkeys=keys, next=after)


def _passkey_row(row: Passkey) -> PasskeyRow:
    return PasskeyRow(id=public_id("pky", row.id), name=row.name, created_at=row.created_at, last_used_at=row.last_used_at)


def _event_row(row: PersonEvent) -> EventRow:
    where = device(row.user_agent) if row.user_agent else "unknown"
    return EventRow(at=row.at, what=row.what.replace("_", " ").capitalize(), note=row.note, device=where, address=row.address or "unknown")


def _session_row(row: WebSession, *, current: bool) -> SessionRow:
    return SessionRow(
        id=public_id("ses", row.id),
        device=device(row.user_agent),
        address=row.address or "unknown",
        started_at=row.created_at,
        last_seen_at=row.last_seen_at,
        ends_at=row.expires_at,
        complete=row.factor_at is not None,
        current=current,
    )


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def device(user_agent: str) -> str:
    """A browser and a system in words, as far as the browser tells the truth."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "A program")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser
