"""Links that let somebody choose a new password: one use, one hour, and worth nothing without the second factor afterwards."""

import secrets
from datetime import timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import PersonId
from app.core.secrets import digest
from app.identity.domain import PersonStatus, ResetLinkInvalid
from app.identity.models import PasswordReset, Person

LIFETIME = timedelta(hours=1)


async def begin(session: AsyncSession, person_id: PersonId) -> str:
    """A new key for a link; the links sent before stop working."""
    key = secrets.token_urlsafe(32)
    await forget(session, person_id)
    await session.execute(insert(PasswordReset).values(digest=digest(key), person_id=person_id, expires_at=now() + LIFETIME, used_at=None))
    return key


async def is_open(session: AsyncSession, key: str) -> bool:
    """Whether the link can still be used."""
    still = select(PasswordReset.person_id).where(PasswordReset.digest == digest(key), PasswordReset.used_at.is_(None))
    return await session.scalar(still.where(PasswordReset.expires_at > now())) is not None


async def use(session: AsyncSession, key: str) -> Person:
    """Use a link up; gives whose it is."""
    one = update(PasswordReset).where(
        PasswordReset.digest == digest(key), PasswordReset.used_at.is_(None), PasswordReset.expires_at > now()
    )
    person_id = await session.scalar(one.values(used_at=now()).returning(PasswordReset.person_id))
    person = None if person_id is None else await session.get(Person, person_id)
    if person is None or person.status == PersonStatus.DISABLED:
        raise ResetLinkInvalid("The link was used already or is older than an hour. Ask for a new one.")
    return person


async def forget(session: AsyncSession, person_id: PersonId) -> None:
    """End every open link of a person."""
    await session.execute(delete(PasswordReset).where(PasswordReset.person_id == person_id, PasswordReset.used_at.is_(None)))


async def prune(session: AsyncSession) -> None:
    """Forget links that ended."""
    await session.execute(delete(PasswordReset).where(PasswordReset.expires_at < now() - timedelta(days=1)))
