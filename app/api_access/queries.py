"""Reads about API keys and OAuth clients: whose key or token a request carries, and what a merchant sees of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access.domain import (
    SCOPES,
    ApiClientNotFound,
    ApiKeyNotFound,
    AuthMethod,
    ClientState,
    KeyState,
    Knower,
    KnownClient,
    KnownToken,
    client_state,
    may_come_from,
    state_of,
)
from app.api_access.models import ApiClient, ApiClientSecret, ApiKey, ApiToken
from app.api_access.schemas import (
    ClientListPage,
    ClientNewPage,
    ClientPage,
    ClientRow,
    EditPage,
    KeyListPage,
    KeyNewPage,
    KeyPage,
    KeyRow,
    SecretRow,
)
from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.db import Record, call, call_all
from app.core.gathering import Gathering
from app.core.ids import MerchantId, public_id
from app.core.paging import fetch_page
from app.core.secrets import digest
from app.identity import queries as identity
from app.tenancy import queries as merchants
from app.web.context import HttpRequest
from app.web.requests import KeyHolder

_HOLDERS = text("select * from api_key_holders(cast(:digests as bytea[]), :now)")
_CLIENT_MERCHANT = text("select api_client_merchant(:client) as merchant_id")
_LONGEST = 200
_NOBODY: Mapping[UUID, list[Knower]] = {}
Known = Mapping[UUID, tuple[Collection[str], Collection[UUID]]]
"""Keys or clients by id: what each may do, and who knows it."""
_WHAT = {ActorKind.API_KEY: "API key", ActorKind.API_CLIENT: "access token"}


async def key_holder(token: str, request: HttpRequest) -> KeyHolder:
    """Whose key or access token this is; asked anew each time, so that a revoked one is dead at once."""
    if not token.startswith("ch_") or len(token) > _LONGEST:
        return KeyHolder(None, "This is neither an API key nor an access token. Both begin with ch_test_ or ch_live_.")
    row = await _holder(None, digest(token))
    if row is None:
        return KeyHolder(None, "This API key or access token is unknown or was revoked.")
    kind, address = ActorKind(row.kind), request.state.address
    if row.expired:
        return KeyHolder(None, f"This {_WHAT[kind]} has expired.")
    if not may_come_from(address, row.networks):
        return KeyHolder(None, f"This {_WHAT[kind]} may not be used from {address}.")
    actor = Actor(
        kind=kind,
        id=row.id,
        name=row.name,
        merchant_id=MerchantId(row.merchant_id),
        permissions=frozenset(row.scopes),
        request_id=request.state.request_id,
        address=address,
    )
    return KeyHolder(actor, requests_per_minute=row.requests_per_minute or 0)


async def _holders(_: None, digests: Sequence[bytes]) -> list[Record]:
    rows = await call_all(_HOLDERS, {"digests": list(set(digests)), "now": now()})
    found = {bytes(row.digest): row for row in rows}
    return [found.get(one) for one in digests]


_holder = Gathering(_holders)


async def api_key(session: AsyncSession, actor: Actor, *, key_id: UUID) -> ApiKey:
    """One of the merchant's API keys."""
    found = await session.get(ApiKey, (actor.merchant, key_id))
    if found is None:
        raise ApiKeyNotFound()
    return found


async def keys(session: AsyncSession, actor: Actor, *, query: str, state: str, after: str | None) -> KeyListPage:
    """A page of the merchant's API keys, the newest first."""
    asked: Select[ApiKey] = select(ApiKey, ApiKey.id).where(ApiKey.merchant_id == actor.merchant)  # type: ignore[assignment]
    if query:
        asked = asked.where(or_(ApiKey.name.icontains(query, autoescape=True), ApiKey.prefix == query[:12]))
    if state:
        asked = asked.where(*_in_state(state, now()))
    page = await fetch_page(session, asked, keys=[ApiKey.id], after=after)
    sandbox = await merchants.sandbox_of(session, actor.merchant)
    may_change = actor.can("api_clients.write")
    knowing = await knowers(session, actor.merchant, known_keys(row.ApiKey for row in page.items))
    rows = page.map(lambda row: _row(row.ApiKey, knowing))
    return KeyListPage(rows=rows, query=query, state=state, is_sandbox=sandbox, may_change=may_change)


def _in_state(state: str, at: datetime) -> tuple[ColumnElement[bool], ...]:
    living = ApiKey.revoked_at.is_(None)
    if state == KeyState.ACTIVE:
        return living, or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > at)
    return (living, ApiKey.expires_at <= at) if state == KeyState.EXPIRED else (ApiKey.revoked_at.is_not(None),)


def known_keys(rows: Iterable[ApiKey]) -> Known:
    """What the keys that work may do, and who knows them."""
    works = [row for row in rows if state_of(expires_at=row.expires_at, revoked_at=row.revoked_at, at=now()) is KeyState.ACTIVE]
    return {row.id: (row.scopes, row.known_to) for row in works}


async def known_clients(session: AsyncSession, rows: Iterable[ApiClient]) -> Known:
    """What the clients that are not ended may do, and who knows a secret of them that works, or set their present keys."""
    living = {row.id: row for row in rows if _state(row) in {ClientState.ACTIVE, ClientState.DISABLED}}
    if not living:
        return {}
    found: dict[UUID, set[UUID]] = {one: set(row.keys_known_to) for one, row in living.items()}
    merchant_id = next(iter(living.values())).merchant_id
    mine = (ApiClientSecret.merchant_id == merchant_id, ApiClientSecret.client_id.in_(living))
    works = or_(ApiClientSecret.expires_at.is_(None), ApiClientSecret.expires_at > now())
    for secret in await session.scalars(select(ApiClientSecret).where(*mine, works)):
        found[secret.client_id].update(secret.known_to)
    return {one: (row.scopes, found[one]) for one, row in living.items()}


async def knowers(session: AsyncSession, merchant_id: MerchantId, known: Known) -> dict[UUID, list[Knower]]:
    """For each of these keys and clients the people who know it and may not, or not any more, do all that it may."""
    people = {one for _, who in known.values() for one in who}
    here = await merchants.colleagues(session, merchant_id, people)
    gone = await identity.names(session, people - here.keys()) if people - here.keys() else {}
    found: dict[UUID, list[Knower]] = {}
    for credential, (scopes, who) in known.items():
        asked = [_knower(scopes, here.get(one), gone.get(one, "Somebody")) for one in sorted(who)]
        found[credential] = [one for one in asked if one is not None]
    return found


def _knower(scopes: Collection[str], person: Actor | None, name: str) -> Knower | None:
    if person is None:
        return Knower(name=name, left=True)
    lacking = [scope for scope in scopes if scope not in person.grantable]
    return Knower(name=person.name, left=False, lacking=lacking) if lacking else None


async def new_key_page(session: AsyncSession, actor: Actor) -> KeyNewPage:
    """The form for a new key: only what its maker may do can be given."""
    return KeyNewPage(scopes=_grantable(actor), is_sandbox=await merchants.sandbox_of(session, actor.merchant))


def _grantable(actor: Actor) -> list[tuple[str, str]]:
    return [(scope, f"{meaning} ({scope})") for scope, meaning in SCOPES.items() if actor.can(scope)]


async def key_page(session: AsyncSession, actor: Actor, *, key_id: UUID) -> KeyPage:
    """One key, for the question before it is revoked or replaced."""
    return KeyPage(key=_row(await api_key(session, actor, key_id=key_id)))


async def key_edit_page(session: AsyncSession, actor: Actor, *, key_id: UUID) -> EditPage:
    """The form that changes a key."""
    row = await api_key(session, actor, key_id=key_id)
    return _edit_page(actor, row, public_id("key", row.id))


async def client_edit_page(session: AsyncSession, actor: Actor, *, client_id: UUID) -> EditPage:
    """The form that changes an OAuth client."""
    row = await api_client(session, merchant_id=actor.merchant, client_id=client_id)
    return _edit_page(actor, row, public_id("cli", row.id))


def _edit_page(actor: Actor, row: ApiKey | ApiClient, public: str) -> EditPage:
    # what it has is shown though its editor could not give it: unticking it must be possible
    options = [(scope, f"{meaning} ({scope})") for scope, meaning in SCOPES.items() if actor.can(scope) or scope in row.scopes]
    return EditPage(
        id=public,
        name=row.name,
        scopes=options,
        chosen=row.scopes,
        networks=row.networks,
        requests_per_minute=row.requests_per_minute,
        expires_at=row.expires_at,
    )


def _reasons(knowing: Mapping[UUID, list[Knower]], one: UUID) -> list[str]:
    return [each.reason for each in knowing.get(one, [])]


def _row(row: ApiKey, knowing: Mapping[UUID, list[Knower]] = _NOBODY) -> KeyRow:
    return KeyRow(
        id=public_id("key", row.id),
        name=row.name,
        prefix=row.prefix,
        state=state_of(expires_at=row.expires_at, revoked_at=row.revoked_at, at=now()),
        scopes=row.scopes,
        networks=row.networks,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        renew=_reasons(knowing, row.id),
    )


async def merchant_of_client(client_id: UUID) -> MerchantId | None:
    """Whose OAuth client this is; asked before anything else of it can be read."""
    found = (await call(_CLIENT_MERCHANT, {"client": client_id})).merchant_id
    return None if found is None else MerchantId(found)


async def api_client(session: AsyncSession, *, merchant_id: MerchantId, client_id: UUID) -> ApiClient:
    """One of the merchant's OAuth clients."""
    found = await session.get(ApiClient, (merchant_id, client_id))
    if found is None:
        raise ApiClientNotFound()
    return found


async def client_secrets(session: AsyncSession, client: ApiClient) -> list[ApiClientSecret]:
    """A client's secrets that work, the newest first."""
    mine = (ApiClientSecret.merchant_id == client.merchant_id, ApiClientSecret.client_id == client.id)
    works = or_(ApiClientSecret.expires_at.is_(None), ApiClientSecret.expires_at > now())
    return list(await session.scalars(select(ApiClientSecret).where(*mine, works).order_by(ApiClientSecret.id.desc())))


async def known_client(session: AsyncSession, *, merchant_id: MerchantId, client_id: UUID) -> KnownClient | None:
    """A client as the authorization server needs it; nothing when it is disabled or revoked."""
    row = await session.get(ApiClient, (merchant_id, client_id))
    if row is None or _state(row) is not ClientState.ACTIVE:
        return None
    return KnownClient(
        client_id=public_id("cli", row.id),
        id=row.id,
        merchant_id=merchant_id,
        name=row.name,
        sandbox=await merchants.sandbox_of(session, merchant_id),
        method=AuthMethod(row.method),
        scopes=row.scopes,
        networks=row.networks,
        secrets=[bytes(secret.digest) for secret in await client_secrets(session, row)],
        jwks=row.jwks,
        jwks_url=row.jwks_url,
        jwks_fetched_at=row.jwks_fetched_at,
    )


def _state(row: ApiClient) -> ClientState:
    return client_state(expires_at=row.expires_at, disabled_at=row.disabled_at, revoked_at=row.revoked_at, at=now())


async def known_token(session: AsyncSession, *, client: KnownClient, token: str) -> KnownToken | None:
    """One of the client's own tokens."""
    mine = (ApiToken.merchant_id == client.merchant_id, ApiToken.client_id == client.id, ApiToken.digest == digest(token))
    row = await session.scalar(select(ApiToken).where(*mine))
    if row is None:
        return None
    # one that was being made while its client was narrowed is refused like a revoked one
    ended = row.revoked_at is not None or not set(row.scopes) <= set(client.scopes)
    return KnownToken(id=row.id, scopes=row.scopes, issued_at=row.issued_at, expires_at=row.expires_at, revoked=ended)


async def clients(session: AsyncSession, actor: Actor, *, query: str, state: str, after: str | None) -> ClientListPage:
    """A page of the merchant's OAuth clients, the newest first."""
    asked: Select[ApiClient] = select(ApiClient, ApiClient.id).where(ApiClient.merchant_id == actor.merchant)  # type: ignore[assignment]
    if query:
        asked = asked.where(ApiClient.name.icontains(query, autoescape=True))
    if state:
        asked = asked.where(*_in_client_state(state, now()))
    page = await fetch_page(session, asked, keys=[ApiClient.id], after=after)
    knowing = await knowers(session, actor.merchant, await known_clients(session, [row.ApiClient for row in page.items]))
    rows = page.map(lambda row: _client_row(row.ApiClient, knowing))
    return ClientListPage(rows=rows, query=query, state=state, may_change=actor.can("api_clients.write"))


def _in_client_state(state: str, at: datetime) -> tuple[ColumnElement[bool], ...]:
    if state == ClientState.REVOKED:
        return (ApiClient.revoked_at.is_not(None),)
    if state == ClientState.EXPIRED:
        return ApiClient.revoked_at.is_(None), ApiClient.expires_at <= at
    living = (ApiClient.revoked_at.is_(None), or_(ApiClient.expires_at.is_(None), ApiClient.expires_at > at))
    off = ApiClient.disabled_at
    return (*living, off.is_(None) if state == ClientState.ACTIVE else off.is_not(None))


async def new_client_page(session: AsyncSession, actor: Actor) -> ClientNewPage:
    """The form for a new OAuth client."""
    return ClientNewPage(scopes=_grantable(actor), is_sandbox=await merchants.sandbox_of(session, actor.merchant))


async def client_page(session: AsyncSession, actor: Actor, *, client_id: UUID, token_url: str) -> ClientPage:
    """One OAuth client with its secrets or keys."""
    row = await api_client(session, merchant_id=actor.merchant, client_id=client_id)
    living = (
        ApiToken.merchant_id == actor.merchant,
        ApiToken.client_id == row.id,
        ApiToken.expires_at > now(),
        ApiToken.revoked_at.is_(None),
    )
    secrets = await client_secrets(session, row)
    return ClientPage(
        client=_client_row(row, await knowers(session, actor.merchant, await known_clients(session, [row]))),
        token_url=token_url,
        secrets=[SecretRow(prefix=one.prefix, created_at=one.created_at, expires_at=one.expires_at) for one in secrets],
        key_ids=[key.get("kid") or key.get("kty", "") for key in (row.jwks or {}).get("keys", [])],
        jwks_url=row.jwks_url,
        jwks_fetched_at=row.jwks_fetched_at,
        living_tokens=await session.scalar(select(func.count()).select_from(ApiToken).where(*living)) or 0,
        may_change=actor.can("api_clients.write"),
    )


def _client_row(row: ApiClient, knowing: Mapping[UUID, list[Knower]]) -> ClientRow:
    return ClientRow(
        id=public_id("cli", row.id),
        name=row.name,
        method=row.method,
        state=_state(row),
        scopes=row.scopes,
        networks=row.networks,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        renew=_reasons(knowing, row.id),
    )
