"""Reads about sign-in providers: which there are, and which accounts of theirs a person has connected."""

from functools import cache
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import PersonId, public_id
from app.core.secrets import digest, unseal
from app.core.settings import settings
from app.identity.domain.providers import MERCHANTS, Provider, ProviderNotFound, read_providers
from app.identity.models import Person, PersonIdentity, ProviderAttempt, ProviderSession
from app.identity.schemas import IdentityRow, ProviderChoice


@cache
def _parsed(text: str) -> tuple[Provider, ...]:
    return tuple(read_providers(text))


def providers() -> tuple[Provider, ...]:
    """The sign-in providers of this deployment."""
    return _parsed(settings().sign_in_providers)


def provider(key: str) -> Provider:
    """A sign-in provider by its key."""
    found = still_there(key)
    if found is None:
        raise ProviderNotFound()
    return found


def still_there(key: str) -> Provider | None:
    """The provider by its key, unless it was taken out of the settings meanwhile."""
    return next((one for one in providers() if one.key == key), None)


def choices() -> list[ProviderChoice]:
    """The providers as the sign-in page offers them."""
    return [ProviderChoice(key=one.key, name=one.name) for one in providers()]


async def person_of(session: AsyncSession, issuer: str, subject: str) -> Person | None:
    """The person who connected this account of a provider, if anybody did."""
    mine = select(Person).join(PersonIdentity, PersonIdentity.person_id == Person.id)
    return (await session.scalars(mine.where(PersonIdentity.issuer == issuer, PersonIdentity.subject == subject))).one_or_none()


async def identities(session: AsyncSession, person_id: PersonId) -> list[IdentityRow]:
    """The provider accounts a person has connected."""
    mine = select(PersonIdentity).where(PersonIdentity.person_id == person_id).order_by(PersonIdentity.created_at)
    names = {one.issuer: one.name for one in providers()}
    return [
        IdentityRow(
            id=public_id("idn", row.id),
            provider=names.get(row.issuer, row.issuer),
            email=row.email,
            connected_at=row.created_at,
            last_used_at=row.last_used_at,
        )
        for row in await session.scalars(mine)
    ]


async def waiting_link(session: AsyncSession, browser: str, *, of_merchants: bool = False) -> ProviderAttempt | None:
    """The account that this browser has proven and that waits to be connected, at the deployment's providers or at merchants'."""
    merchants = ProviderAttempt.provider.startswith(MERCHANTS, autoescape=True)
    wanted = select(ProviderAttempt).where(
        merchants if of_merchants else ~merchants,
        ProviderAttempt.browser_digest == digest(browser),
        ProviderAttempt.subject.is_not(None),
        ProviderAttempt.linked_at.is_(None),
        ProviderAttempt.expires_at > now(),
    )
    return (await session.scalars(wanted.order_by(ProviderAttempt.id.desc()).limit(1))).one_or_none()


async def id_token_of(session: AsyncSession, session_id: UUID) -> tuple[str, str] | None:
    """The provider a session came from and its ID token, to end the session there as well."""
    row = await session.get(ProviderSession, session_id)
    if row is None or not row.id_token:
        return None
    return row.provider, unseal(row.id_token, f"provider_session.id_token:{session_id}")
