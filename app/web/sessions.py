"""Login sessions: a random id in a cookie, its hash in a table, an end after silence and an end in any case.

The id changes when somebody proves who they are (sign-in, step-up), so an id that was known before is worth nothing afterwards; an
id nobody issued is never adopted.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ForeignKey, Index, delete, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.clock import now
from app.core.db import Base
from app.core.errors import NotFound
from app.core.ids import MerchantId, PersonId, new_id
from app.core.money import Money
from app.core.secrets import digest
from app.core.settings import settings
from app.web.context import MerchantBadge, PersonBadge
from app.web.csrf import new_seed


class SessionNotFound(NotFound):
    """The session has ended already, or was never yours."""

    code = "session_not_found"
    title = "There is no such session"


class WebSession(Base):
    __tablename__ = "web_session"
    __table_args__ = (Index(None, "person_id"), Index(None, "bound_provider_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(unique=True)
    csrf_seed: Mapped[bytes]
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    merchant_id: Mapped[UUID | None]
    factor: Mapped[str | None]
    factor_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    address: Mapped[str | None]
    user_agent: Mapped[str]
    moved: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), default=dict)
    bound_merchant_id: Mapped[UUID | None] = mapped_column(default=None)
    bound_provider_id: Mapped[UUID | None] = mapped_column(default=None)


MERCHANTS_PROVIDER = "merchants_provider"
"""The factor of a session whose second factor was shown at a merchant's own provider: good at that merchant, never for the account itself."""

RECOVERY_CODE = "recovery_code"
"""The factor of a session that a recovery code opened: enough to set up another factor, never to act for a merchant."""


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """That a merchant's own provider opened a session, which is therefore good for that merchant alone."""

    merchant_id: MerchantId
    provider_id: UUID


class Operating(msgspec.Struct, frozen=True):
    """That a person operates the platform; and, while a visit is open, why and until when they may look across merchants."""

    visit: UUID | None = None
    reason: str | None = None
    until: datetime | None = None


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a valid session cookie, and what that person may do at the merchant they are in."""

    session_id: UUID
    csrf_seed: bytes
    person_id: PersonId
    person: PersonBadge
    factor_at: datetime | None
    enrolled: bool
    theme: str
    density: str
    merchant_id: MerchantId | None = None
    merchant: MerchantBadge | None = None
    merchants: list[MerchantBadge] = []
    permissions: frozenset[str] = frozenset()
    fresh_minutes: Mapping[str, int] = {}
    money_limits: Mapping[str, int] = {}
    limits: Mapping[str, int] = {}
    operating: Operating | None = None
    idle_minutes: int = 15
    factor: str = ""
    bound: bool = False

    @property
    def complete(self) -> bool:
        """Whether both factors were proven; until then only enrolment and the second factor are open."""
        return self.factor_at is not None


LoadVisitor = Callable[[str], Awaitable[Visitor | None]]
"""Given the cookie's value, who comes; answered by a higher floor, which knows people and merchants."""


async def open_session(
    session: AsyncSession,
    *,
    person_id: PersonId,
    address: str | None,
    user_agent: str,
    merchant_id: MerchantId | None = None,
    factor: str | None = None,
    bound: Bound | None = None,
) -> str:
    """Start a session for somebody whose password was right; gives the id that only the cookie will hold. With a ``factor`` it is complete."""
    token, moment = secrets.token_urlsafe(32), now()
    row = WebSession(
        id=new_id(),
        digest=digest(token),
        csrf_seed=new_seed(),
        person_id=person_id,
        merchant_id=merchant_id,
        factor=factor,
        factor_at=moment if factor else None,
        created_at=moment,
        last_seen_at=moment,
        expires_at=moment + timedelta(hours=settings().session_absolute_hours),
        address=address,
        user_agent=user_agent[:300],
        bound_merchant_id=bound.merchant_id if bound else None,
        bound_provider_id=bound.provider_id if bound else None,
    )
    session.add(row)
    await session.flush()
    return token


async def prove_factor(session: AsyncSession, session_id: UUID, *, factor: str, shown_at: datetime | None = None) -> str:
    """Note that the second factor was shown, just now where nothing else is said; the session goes on under a new id."""
    token = secrets.token_urlsafe(32)
    changed = update(WebSession).where(WebSession.id == session_id)
    changed = changed.values(digest=digest(token), factor=factor, factor_at=shown_at or now(), moved={})
    found = await session.scalar(changed.returning(WebSession.id))
    if found is None:
        raise SessionNotFound()
    return token


# a single amount above the limit needs a proof of its own: nothing moved since, and shown a moment ago
_SPEND = text(
    "update web_session set moved = moved || jsonb_build_object(cast(:currency as text), coalesce((moved ->> :currency)::bigint, 0) + :minor)"
    " where id = :id and (coalesce((moved ->> :currency)::bigint, 0) + :minor <= :limit"
    " or (coalesce((moved ->> :currency)::bigint, 0) = 0 and factor_at > :lately)) returning id"
)


async def spend_proof(session: AsyncSession, session_id: UUID, amount: Money, *, limit_minor: int) -> bool:
    """Count an amount against what the session's last proof of the second factor is good for; false when it is good for no more."""
    lately = now() - timedelta(minutes=1)
    values = {"id": session_id, "currency": amount.currency, "minor": amount.minor, "limit": limit_minor, "lately": lately}
    return await session.scalar(_SPEND, values) is not None


async def enter(session: AsyncSession, session_id: UUID, merchant_id: MerchantId) -> None:
    """From now on the session's pages are about this merchant."""
    await session.execute(update(WebSession).where(WebSession.id == session_id).values(merchant_id=merchant_id))


def idle_minutes(*, acts: bool) -> int:
    """How long a person's session may be quiet: shorter for those who may do more than read."""
    shorter = settings().session_idle_minutes
    return shorter if acts else max(shorter, settings().session_idle_minutes_reading)


async def sessions_of(session: AsyncSession, person_id: PersonId, *, idle: int | None = None) -> list[WebSession]:
    """The sessions of a person that are still open, the last used first; they end after ``idle`` quiet minutes."""
    quiet = now() - timedelta(minutes=idle or idle_minutes(acts=True))
    alive = select(WebSession).where(WebSession.person_id == person_id, WebSession.expires_at > now(), WebSession.last_seen_at > quiet)
    return list(await session.scalars(alive.order_by(WebSession.last_seen_at.desc())))


async def last_seen(session: AsyncSession, person_id: PersonId, *, merchant_id: MerchantId) -> datetime | None:
    """When a person's session last did anything at a merchant, as far as its session is still known."""
    here = or_(WebSession.merchant_id == merchant_id, WebSession.merchant_id.is_(None))
    return await session.scalar(select(func.max(WebSession.last_seen_at)).where(WebSession.person_id == person_id, here))


async def end_session(session: AsyncSession, *, person_id: PersonId, session_id: UUID) -> None:
    """End one session of a person at once, on every device and in every process."""
    gone = delete(WebSession).where(WebSession.person_id == person_id, WebSession.id == session_id).returning(WebSession.id)
    if await session.scalar(gone) is None:
        raise SessionNotFound()


async def end_all_sessions(session: AsyncSession, *, person_id: PersonId, keep: UUID | None = None) -> int:
    """End every session of a person, or every other one; gives how many ended."""
    gone = delete(WebSession).where(WebSession.person_id == person_id)
    if keep is not None:
        gone = gone.where(WebSession.id != keep)
    return len((await session.scalars(gone.returning(WebSession.id))).all())


async def end_bound_sessions(session: AsyncSession, provider_id: UUID) -> int:
    """End every session that a merchant's provider opened; gives how many ended."""
    gone = delete(WebSession).where(WebSession.bound_provider_id == provider_id).returning(WebSession.id)
    return len((await session.scalars(gone)).all())


async def prune_sessions(session: AsyncSession) -> int:
    """Forget sessions that ended by time more than a day ago."""
    gone = delete(WebSession).where(WebSession.expires_at < now() - timedelta(days=1)).returning(WebSession.id)
    return len((await session.scalars(gone)).all())
