"""Writes of the authorization server: tokens given and revoked, assertions used up, keys fetched."""

from datetime import timedelta

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import queries
from app.api_access.domain import Issued, KnownClient, KnownToken, UsedAssertion
from app.api_access.models import ApiAssertion, ApiClient, ApiToken
from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import new_id
from app.core.secrets import digest

KEPT = timedelta(days=1)
"""How long a token that has ended can still be found, by its client or by whoever looks into an incident."""


async def keep_token(session: AsyncSession, actor: Actor, *, client: KnownClient, issued: Issued) -> ApiToken:
    """Let a token of the client, which is the actor, work from now on, and forget its tokens that ended long ago."""
    moment = now()
    mine = (ApiToken.merchant_id == client.merchant_id, ApiToken.client_id == client.id)
    await session.execute(delete(ApiToken).where(*mine, ApiToken.expires_at < moment - KEPT))
    row = ApiToken(merchant_id=client.merchant_id, id=new_id(), client_id=client.id, digest=digest(issued.token), scopes=issued.scopes)
    row.issued_at, row.expires_at, row.revoked_at = moment, issued.expires_at, None
    session.add(row)
    await session.flush()
    after = {"scopes": row.scopes, "expires_at": row.expires_at}
    await audit.record(session, actor, action="api_client.token_issued", object_type="api_client", object_id=client.id, after=after)
    return row


async def use_assertion(session: AsyncSession, *, client: KnownClient, used: UsedAssertion) -> bool:
    """Whether this is the first use of an assertion; of several at the same moment exactly one is."""
    mine = (ApiAssertion.merchant_id == client.merchant_id, ApiAssertion.client_id == client.id)
    await session.execute(delete(ApiAssertion).where(*mine, ApiAssertion.expires_at < now() - KEPT))
    row = {"merchant_id": client.merchant_id, "client_id": client.id, "digest": used.digest, "expires_at": used.expires_at}
    first = insert(ApiAssertion).values(row).on_conflict_do_nothing().returning(ApiAssertion.digest)
    return await session.scalar(first) is not None


async def revoke_token(session: AsyncSession, actor: Actor, *, token: KnownToken) -> None:
    """End a token; the next request with it is refused, in every process. Revoking twice changes nothing."""
    mine = update(ApiToken).where(ApiToken.merchant_id == actor.merchant, ApiToken.id == token.id, ApiToken.revoked_at.is_(None))
    if await session.scalar(mine.values(revoked_at=now()).returning(ApiToken.id)) is not None:
        before = {"scopes": token.scopes, "expires_at": token.expires_at}
        await audit.record(session, actor, action="api_client.token_revoked", object_type="api_client", object_id=actor.id, before=before)


async def keep_jwks(session: AsyncSession, *, client: KnownClient, jwks: dict[str, list[dict[str, str]]]) -> KnownClient | None:
    """Remember a client's keys as its address gave them; an address that was changed meanwhile keeps what it has."""
    mine = (ApiClient.merchant_id == client.merchant_id, ApiClient.id == client.id, ApiClient.jwks_url == client.jwks_url)
    await session.execute(update(ApiClient).where(*mine).values(jwks=jwks, jwks_fetched_at=now()))
    return await queries.known_client(session, merchant_id=client.merchant_id, client_id=client.id)
