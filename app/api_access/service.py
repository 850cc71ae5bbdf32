"""Writes about API keys: issue and revoke, both in the audit trail."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import queries
from app.api_access.domain import SCOPES, NameNotConfirmed, check_scopes, new_key, visible_prefix
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
    requests_per_minute: int | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key for the actor's merchant; gives the row and the key itself, which nobody can see again."""
    # a key knows no limits: whoever has one gives the permission to no key
    allowed = {scope for scope in SCOPES if actor.kind is not ActorKind.USER or (actor.can(scope) and not actor.has_limit(scope))}
    granted = check_scopes(scopes, allowed=allowed)
    key = new_key(sandbox=await merchants.sandbox_of(session, actor.merchant))
    row = ApiKey(
        merchant_id=actor.merchant,
        id=new_id(),
        name=name.strip(),
        prefix=visible_prefix(key),
        digest=digest(key),
        scopes=granted,
        requests_per_minute=requests_per_minute,
        created_by=actor.name,
        created_at=now(),
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    session.add(row)
    await session.flush()
    after = {"name": row.name, "prefix": row.prefix, "scopes": granted, "expires_at": expires_at}
    await audit.record(session, actor, action="api_key.issued", object_type="api_key", object_id=row.id, after=after)
    return row, key


async def revoke_key(session: AsyncSession, actor: Actor, *, key_id: UUID, name: str) -> ApiKey:
    """Kill a key; the next request with it is refused, in every process. Revoking twice changes nothing."""
    row = await queries.api_key(session, actor, key_id=key_id)
    if name.strip() != row.name:
        problem = f"Type “{row.name}” exactly."
        raise NameNotConfirmed(problem, fields={"name": problem})
    mine = update(ApiKey).where(ApiKey.merchant_id == actor.merchant, ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    if await session.scalar(mine.values(revoked_at=now()).returning(ApiKey.id)) is not None:
        before = {"name": row.name, "prefix": row.prefix}
        await audit.record(session, actor, action="api_key.revoked", object_type="api_key", object_id=row.id, before=before)
    return row
