"""Writes about API keys: issue, rotate and revoke, all in the audit trail."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import queries
from app.api_access.domain import (
    SCOPES,
    CredentialEnded,
    Ending,
    KeyState,
    NameNotConfirmed,
    check_scopes,
    new_key,
    reaches_further,
    read_networks,
    state_of,
    visible_prefix,
)
from app.api_access.models import ApiKey
from app.core import audit
from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.ids import new_id
from app.core.secrets import digest
from app.tenancy import queries as merchants


async def issue_key(
    session: AsyncSession,
    actor: Actor,
    *,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    networks: str = "",
    requests_per_minute: int | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key for the actor's merchant; gives the row and the key itself, which nobody can see again."""
    granted = check_scopes(scopes, allowed=grantable(actor))
    row, key = await _new_key(
        session,
        actor,
        name=name.strip(),
        scopes=granted,
        networks=read_networks(networks),
        per_minute=requests_per_minute,
        expires_at=expires_at,
    )
    await audit.record(session, actor, action="api_key.issued", object_type="api_key", object_id=row.id, after=_facts(row))
    return row, key


def grantable(actor: Actor) -> Collection[str]:
    """What the actor may give to a key: nobody gives what they may not do themselves, or only up to a limit, which no key knows."""
    return {scope for scope in SCOPES if actor.kind is not ActorKind.USER or (actor.can(scope) and not actor.has_limit(scope))}


async def _new_key(
    session: AsyncSession,
    actor: Actor,
    *,
    name: str,
    scopes: list[str],
    networks: list[str],
    per_minute: int | None,
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    key = new_key(sandbox=await merchants.sandbox_of(session, actor.merchant))
    row = ApiKey(
        merchant_id=actor.merchant,
        id=new_id(),
        name=name,
        prefix=visible_prefix(key),
        digest=digest(key),
        scopes=scopes,
        networks=networks,
        requests_per_minute=per_minute,
        created_by=actor.name,
        known_to=[actor.id] if actor.id else [],
        created_at=now(),
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    session.add(row)
    await session.flush()
    return row, key


def _facts(row: ApiKey) -> dict[str, object]:
    facts = {"name": row.name, "prefix": row.prefix, "scopes": row.scopes, "networks": row.networks}
    return facts | {"requests_per_minute": row.requests_per_minute, "expires_at": row.expires_at}


async def rotate_key(
    session: AsyncSession, actor: Actor, *, key_id: UUID, overlap: timedelta, expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """Replace a key by one that may do the same; the old one goes on working for the overlap, and never longer than it would have."""
    old = await session.get(ApiKey, (actor.merchant, key_id), with_for_update=True, populate_existing=True)
    old = old or await queries.api_key(session, actor, key_id=key_id)
    moment = now()
    if state_of(expires_at=old.expires_at, revoked_at=old.revoked_at, at=moment) is not KeyState.ACTIVE:
        raise CredentialEnded("This key no longer works. Issue a new one.")
    scopes = check_scopes(old.scopes, allowed=grantable(actor))
    row, key = await _new_key(
        session, actor, name=old.name, scopes=scopes, networks=old.networks, per_minute=old.requests_per_minute, expires_at=expires_at
    )
    before = _facts(old)
    if overlap:
        old.expires_at = min(old.expires_at or moment + overlap, moment + overlap)
    else:
        old.revoked_at = moment
    after = _facts(row) | {"old_key_until": old.revoked_at or old.expires_at}
    await audit.record(session, actor, action="api_key.rotated", object_type="api_key", object_id=row.id, before=before, after=after)
    return row, key


async def change_key(
    session: AsyncSession,
    actor: Actor,
    *,
    key_id: UUID,
    name: str,
    scopes: Collection[str],
    networks: str,
    requests_per_minute: int | None,
    ends: Ending | None,
) -> ApiKey:
    """Change what a key is called, what it may do, from where, and until when; ``ends`` none keeps its end. It holds from the next request on.

    Whoever lets it do more, or for longer, must hold all that it then may; narrowing it asks for nothing.
    """
    row = await session.get(ApiKey, (actor.merchant, key_id), with_for_update=True, populate_existing=True)
    row = row or await queries.api_key(session, actor, key_id=key_id)
    if state_of(expires_at=row.expires_at, revoked_at=row.revoked_at, at=now()) is not KeyState.ACTIVE:
        raise CredentialEnded("This key no longer works. Issue a new one.")
    before, listed = _facts(row), read_networks(networks)
    longer = ends is not None and ends.is_later_than(row.expires_at)
    row.scopes = check_change(actor, scopes=scopes, networks=listed, than_scopes=row.scopes, than_networks=row.networks, longer=longer)
    row.name, row.networks, row.requests_per_minute = name.strip(), listed, requests_per_minute
    row.expires_at = row.expires_at if ends is None else ends.at
    await session.flush()
    if _facts(row) != before:
        await audit.record(
            session, actor, action="api_key.changed", object_type="api_key", object_id=row.id, before=before, after=_facts(row)
        )
    return row


def check_change(
    actor: Actor,
    *,
    scopes: Collection[str],
    networks: list[str],
    than_scopes: Collection[str],
    than_networks: list[str],
    longer: bool = False,
) -> list[str]:
    """The scopes in order, if the actor may change a program to them."""
    further = longer or reaches_further(scopes=scopes, networks=networks, than_scopes=than_scopes, than_networks=than_networks)
    return check_scopes(scopes, allowed=grantable(actor) if further else than_scopes)


async def revoke_key(session: AsyncSession, actor: Actor, *, key_id: UUID, name: str) -> ApiKey:
    """Kill a key; the next request with it is refused, in every process. Revoking twice changes nothing."""
    row = await queries.api_key(session, actor, key_id=key_id)
    confirm_name(name, row.name)
    mine = update(ApiKey).where(ApiKey.merchant_id == actor.merchant, ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    if await session.scalar(mine.values(revoked_at=now()).returning(ApiKey.id)) is not None:
        before = {"name": row.name, "prefix": row.prefix}
        await audit.record(session, actor, action="api_key.revoked", object_type="api_key", object_id=row.id, before=before)
    return row


def confirm_name(typed: str, name: str) -> None:
    """Refuse unless the name was typed."""
    if typed.strip() != name:
        problem = f"Type “{name}” exactly."
        raise NameNotConfirmed(problem, fields={"name": problem})
