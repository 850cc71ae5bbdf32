"""Reads about API keys: whose key a request carries, and the merchant's list of them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access.domain import SCOPES, ApiKeyNotFound, state_of
from app.api_access.models import ApiKey
from app.api_access.schemas import KeyListPage, KeyNewPage, KeyRow, RevokePage
from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.db import Record, call_all
from app.core.gathering import Gathering
from app.core.ids import MerchantId, public_id
from app.core.secrets import digest
from app.tenancy import queries as merchants
from app.web.context import HttpRequest
from app.web.requests import KeyHolder

_HOLDERS = text("select * from api_key_holders(cast(:digests as bytea[]), :now)")
_LONGEST = 200


async def key_holder(token: str, request: HttpRequest) -> KeyHolder:
    """Whose key this is; asked anew each time, so that a revoked key is dead at once."""
    if not token.startswith("ch_") or len(token) > _LONGEST:
        return KeyHolder(None, "This is not an API key. Keys begin with ch_test_ or ch_live_.")
    row = await _holder(None, digest(token))
    if row is None:
        return KeyHolder(None, "This API key is unknown or was revoked.")
    if row.expired:
        return KeyHolder(None, "This API key has expired.")
    actor = Actor(
        kind=ActorKind.API_KEY,
        id=row.id,
        name=row.name,
        merchant_id=MerchantId(row.merchant_id),
        permissions=frozenset(row.scopes),
        request_id=request.state.request_id,
        address=request.state.address,
    )
    return KeyHolder(actor, requests_per_minute=row.requests_per_minute or 0)


async def _holders(_: None, digests: Sequence[bytes]) -> list[Record]:
    rows = await call_all(_HOLDERS, {"digests": list(digests), "now": now()})
    found = {bytes(row.digest): row for row in rows}
    return [found.get(one) for one in digests]


_holder = Gathering(_holders)


async def api_key(session: AsyncSession, actor: Actor, *, key_id: UUID) -> ApiKey:
    """One of the merchant's API keys."""
    found = await session.get(ApiKey, (actor.merchant, key_id))
    if found is None:
        raise ApiKeyNotFound()
    return found


async def keys(session: AsyncSession, actor: Actor) -> KeyListPage:
    """The merchant's API keys, the newest first."""
    rows = await session.scalars(select(ApiKey).where(ApiKey.merchant_id == actor.merchant).order_by(ApiKey.id.desc()).limit(200))
    sandbox = await merchants.sandbox_of(session, actor.merchant)
    return KeyListPage(keys=[_row(row) for row in rows], is_sandbox=sandbox, may_change=actor.can("api_clients.write"))


async def new_key_page(session: AsyncSession, actor: Actor) -> KeyNewPage:
    """The form for a new key: only what its maker may do can be given."""
    allowed = [(scope, f"{meaning} ({scope})") for scope, meaning in SCOPES.items()]
    return KeyNewPage(scopes=allowed, is_sandbox=await merchants.sandbox_of(session, actor.merchant))


async def revoke_page(session: AsyncSession, actor: Actor, *, key_id: UUID) -> RevokePage:
    """The question before a key is revoked."""
    return RevokePage(key=_row(await api_key(session, actor, key_id=key_id)))


def _row(row: ApiKey) -> KeyRow:
    return KeyRow(
        id=public_id("key", row.id),
        name=row.name,
        prefix=row.prefix,
        state=state_of(expires_at=row.expires_at, revoked_at=row.revoked_at, at=now()),
        scopes=row.scopes,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
