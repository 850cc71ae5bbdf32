"""Writes about OAuth clients: made, given new secrets or keys, disabled, enabled and revoked by people, all in the audit trail."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import queries
from app.api_access.domain import AuthMethod, CredentialEnded, Ending, check_scopes, new_secret, read_networks, visible_start
from app.api_access.domain.assertions import read_jwks
from app.api_access.models import ApiClient, ApiClientSecret, ApiToken
from app.api_access.service import check_change, confirm_name, grantable
from app.core import audit, outbound
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import Invalid
from app.core.ids import MerchantId, new_id
from app.core.secrets import digest
from app.tenancy import queries as merchants

Jwks = dict[str, list[dict[str, str]]]


async def add_client(
    session: AsyncSession,
    actor: Actor,
    *,
    name: str,
    scopes: Collection[str],
    method: AuthMethod = AuthMethod.SECRET,
    jwks: str = "",
    jwks_url: str = "",
    networks: str = "",
    requests_per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiClient, str | None]:
    """Make an OAuth client of the actor's merchant; gives the row and, unless it signs with a key, the secret that nobody can see again."""
    keys, address = _keys(method, jwks, jwks_url)
    row = ApiClient(
        merchant_id=actor.merchant,
        id=new_id(),
        name=name.strip(),
        method=method,
        scopes=check_scopes(scopes, allowed=grantable(actor)),
        networks=read_networks(networks),
        requests_per_minute=requests_per_minute,
        jwks=keys,
        jwks_url=address,
        jwks_fetched_at=None,
        keys_known_to=_with(actor, []) if method is AuthMethod.KEY else [],
        created_by=actor.name,
        known_to=_with(actor, []),
        created_at=now(),
        expires_at=expires_at,
        last_used_at=None,
        disabled_at=None,
        revoked_at=None,
    )
    session.add(row)
    await session.flush()
    secret = await _new_secret(session, actor, row) if method is AuthMethod.SECRET else None
    await _note(session, actor, row, "added", after=_facts(row) | {"method": method, "keys": _names(row)})
    return row, secret


def _with(actor: Actor, known_to: list[UUID]) -> list[UUID]:
    """Who knows how to be the client, from now on the actor too."""
    return known_to if actor.id is None or actor.id in known_to else [*known_to, actor.id]


def _keys(method: AuthMethod, jwks: str, jwks_url: str) -> tuple[Jwks | None, str | None]:
    if method is AuthMethod.SECRET:
        return None, None
    jwks, jwks_url = jwks.strip(), jwks_url.strip()
    if bool(jwks) == bool(jwks_url):
        problem = "Paste the public keys, or give the address where they are: one of the two."
        raise Invalid(problem, fields={"jwks": problem})
    if jwks:
        return read_jwks(jwks), None
    try:
        outbound.check_url(jwks_url, allow_insecure=False)
    except outbound.AddressRefused as refused:
        raise Invalid(refused.detail, fields={"jwks_url": refused.detail}) from None
    return None, jwks_url


async def _new_secret(session: AsyncSession, actor: Actor, client: ApiClient) -> str:
    secret = new_secret(sandbox=await merchants.sandbox_of(session, MerchantId(client.merchant_id)))
    row = ApiClientSecret(
        merchant_id=client.merchant_id, id=new_id(), client_id=client.id, prefix=visible_start(secret), digest=digest(secret)
    )
    row.known_to, row.created_at, row.expires_at = _with(actor, []), now(), None
    session.add(row)
    await session.flush()
    return secret


async def rotate_secret(session: AsyncSession, actor: Actor, *, client_id: UUID, overlap: timedelta) -> tuple[ApiClient, str]:
    """Give the client a new secret; those it had go on working for the overlap."""
    row = await _living(session, actor, client_id)
    if row.method != AuthMethod.SECRET:
        raise CredentialEnded("This client signs with its own key and has no secret.")
    check_scopes(row.scopes, allowed=grantable(actor))
    moment = now()
    mine = (ApiClientSecret.merchant_id == actor.merchant, ApiClientSecret.client_id == row.id)
    await session.execute(delete(ApiClientSecret).where(*mine, ApiClientSecret.expires_at <= moment))
    longer = or_(ApiClientSecret.expires_at.is_(None), ApiClientSecret.expires_at > moment + overlap)
    await session.execute(update(ApiClientSecret).where(*mine, longer).values(expires_at=moment + overlap))
    secret = await _new_secret(session, actor, row)
    row.known_to = _with(actor, row.known_to)
    await _note(session, actor, row, "secret_rotated", after={"prefix": visible_start(secret), "old_secrets_until": moment + overlap})
    return row, secret


async def change_keys(session: AsyncSession, actor: Actor, *, client_id: UUID, jwks: str, jwks_url: str) -> ApiClient:
    """Replace the public keys of a client that signs; what the old ones sign is refused from now on."""
    row = await _living(session, actor, client_id)
    if row.method != AuthMethod.KEY:
        raise CredentialEnded("This client has a secret and no keys.")
    check_scopes(row.scopes, allowed=grantable(actor))
    before = _names(row)
    row.jwks, row.jwks_url = _keys(AuthMethod.KEY, jwks, jwks_url)
    row.jwks_fetched_at, row.keys_known_to, row.known_to = None, _with(actor, []), _with(actor, row.known_to)
    await _note(session, actor, row, "keys_changed", before={"keys": before}, after={"keys": _names(row)})
    return row


async def change_client(
    session: AsyncSession,
    actor: Actor,
    *,
    client_id: UUID,
    name: str,
    scopes: Collection[str],
    networks: str,
    requests_per_minute: int | None,
    ends: Ending | None,
) -> ApiClient:
    """Change what a client is called, what it may do, from where, and until when; ``ends`` none keeps its end.

    Tokens that may do more than it end at once. Whoever lets it do more, come from elsewhere, or go on for longer must hold all that it then may; narrowing it asks for nothing.
    """
    row = await _living(session, actor, client_id)
    before, listed = _facts(row), read_networks(networks)
    longer = ends is not None and ends.is_later_than(row.expires_at)
    row.scopes = check_change(actor, scopes=scopes, networks=listed, than_scopes=row.scopes, than_networks=row.networks, longer=longer)
    row.expires_at = row.expires_at if ends is None else ends.at
    row.name, row.networks, row.requests_per_minute = name.strip(), listed, requests_per_minute
    await session.flush()
    await _end_tokens(session, row, ApiToken.scopes.op("<@", is_comparison=True)(ApiClient.scopes).is_(False))
    if _facts(row) != before:
        await _note(session, actor, row, "changed", before=before, after=_facts(row))
    return row


async def disable_client(session: AsyncSession, actor: Actor, *, client_id: UUID) -> ApiClient:
    """Refuse the client and its tokens from the next request on, until it is enabled. Disabling twice changes nothing."""
    row = await _living(session, actor, client_id)
    if row.disabled_at is None:
        row.disabled_at = now()
        await _end_tokens(session, row)
        await _note(session, actor, row, "disabled")
    return row


async def enable_client(session: AsyncSession, actor: Actor, *, client_id: UUID) -> ApiClient:
    """Let a disabled client get tokens again; those it had stay dead. Whoever lets it in must hold what it then may."""
    row = await _living(session, actor, client_id)
    if row.disabled_at is not None:
        check_scopes(row.scopes, allowed=grantable(actor))
        row.disabled_at = None
        await _note(session, actor, row, "enabled")
    return row


async def revoke_client(session: AsyncSession, actor: Actor, *, client_id: UUID, name: str) -> ApiClient:
    """End a client and its tokens for good; the next request of either is refused, in every process."""
    row = await queries.api_client(session, merchant_id=actor.merchant, client_id=client_id)
    confirm_name(name, row.name)
    mine = update(ApiClient).where(ApiClient.merchant_id == actor.merchant, ApiClient.id == client_id, ApiClient.revoked_at.is_(None))
    if await session.scalar(mine.values(revoked_at=now()).returning(ApiClient.id)) is not None:
        await _end_tokens(session, row)
        await _note(session, actor, row, "revoked")
    return row


async def _living(session: AsyncSession, actor: Actor, client_id: UUID) -> ApiClient:
    row = await session.get(ApiClient, (actor.merchant, client_id), with_for_update=True, populate_existing=True)
    row = row or await queries.api_client(session, merchant_id=actor.merchant, client_id=client_id)
    if row.revoked_at is not None:
        raise CredentialEnded("This client was revoked. Make a new one.")
    return row


async def _end_tokens(session: AsyncSession, row: ApiClient, *which: ColumnElement[bool]) -> None:
    of = (ApiClient.merchant_id == ApiToken.merchant_id, ApiClient.id == ApiToken.client_id)
    mine = (ApiToken.merchant_id == row.merchant_id, ApiToken.client_id == row.id, ApiToken.revoked_at.is_(None))
    await session.execute(update(ApiToken).where(*of, *mine, *which).values(revoked_at=now()))


def _facts(row: ApiClient) -> dict[str, object]:
    facts = {"name": row.name, "scopes": row.scopes, "networks": row.networks}
    return facts | {"requests_per_minute": row.requests_per_minute, "expires_at": row.expires_at}


def _names(row: ApiClient) -> list[str]:
    if row.jwks_url:
        return [row.jwks_url]
    return [key.get("kid") or key.get("kty", "") for key in (row.jwks or {}).get("keys", [])]


async def _note(
    session: AsyncSession,
    actor: Actor,
    row: ApiClient,
    what: str,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    named = None if what == "added" else {"name": row.name, **(before or {})}
    await audit.record(session, actor, action=f"api_client.{what}", object_type="api_client", object_id=row.id, before=named, after=after)
