"""What a client asks of the authorization server: read who it is, fetch its keys if they are elsewhere, judge, write, answer."""

from datetime import timedelta
from uuid import UUID

import msgspec
import structlog
from authlib.oauth2.rfc6749.errors import OAuth2Error

from app.api_access import oauth, queries
from app.api_access.domain import KnownClient, may_come_from
from app.api_access.domain.assertions import read_jwks
from app.api_access.oauth import OAuthAnswer, OAuthCall
from app.api_access.service import renewals, tokens
from app.core import outbound
from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.ids import MerchantId, parse_id
from app.web import limits

log = structlog.get_logger()

KEYS_FRESH, KEYS_AGAIN, KEYS_LONGEST = timedelta(minutes=10), timedelta(minutes=1), timedelta(hours=1)
"""Until when fetched keys are not asked for; how soon for a key nobody knows; and until when they count while their address is silent."""
FETCHES_PER_MINUTE = limits.Limit(name="jwks", requests=6)
TOKENS_PER_MINUTE = limits.Limit(name="token", requests=60)


async def serve(call: OAuthCall, *, address: str, request_id: str = "") -> OAuthAnswer:
    """Answer a request to one of the authorization server's endpoints. Raises TooManyRequests when a client asks for tokens too often."""
    try:
        named, key_id = oauth.claimed(call)
    except OAuth2Error as error:
        return oauth.refused(error)
    client = await _client(named)
    if client is not None and client.jwks_url is not None:
        client = await _with_keys(client, key_id)
    token = None
    if client is not None and "token" in call.form:
        async with unit_of_work(client.merchant_id) as session:
            token = await queries.known_token(session, client=client, token=call.form["token"])
    answer = oauth.judge(call, client, token)
    if client is not None and answer.status != 401:
        answer = await _written(client, answer, address=address, request_id=request_id)
    if answer.status == 401:
        log.warning("oauth_client_refused", client=named[:40], address=address, why=answer.body.get("error_description"))
    elif answer.issued is not None:
        log.info("oauth_token_issued", client=named, address=address, scopes=answer.issued.scopes)
    return answer


async def ask_for_renewal(merchant_id: MerchantId, person_id: UUID) -> None:
    """Tell the owners which keys and clients to renew because somebody who knows them may do less than before."""
    async with unit_of_work(merchant_id) as session:
        await renewals.ask(session, Actor.system(merchant_id), person_id=person_id)


async def _written(client: KnownClient, answer: OAuthAnswer, *, address: str, request_id: str) -> OAuthAnswer:
    if not may_come_from(address, client.networks):
        return oauth.not_this_client(f"This client may not be used from {address}.")
    if answer.issued is not None:
        await limits.admit(TOKENS_PER_MINUTE, str(client.id))
    if not (answer.issued or answer.revoked or answer.assertion):
        return answer
    actor = Actor(
        kind=ActorKind.API_CLIENT, id=client.id, name=client.name, merchant_id=client.merchant_id, request_id=request_id, address=address
    )
    async with unit_of_work(client.merchant_id) as session:
        if answer.assertion is not None and not await tokens.use_assertion(session, client=client, used=answer.assertion):
            return oauth.not_this_client("The assertion was used before: its claim 'jti' must be new each time.")
        if answer.issued is not None:
            await tokens.keep_token(session, actor, client=client, issued=answer.issued)
        if answer.revoked is not None:
            await tokens.revoke_token(session, actor, token=answer.revoked)
    return answer


async def _client(named: str) -> KnownClient | None:
    try:
        client_id: UUID = parse_id("cli", named)
    except Invalid:
        return None
    merchant_id = await queries.merchant_of_client(client_id)
    if merchant_id is None:
        return None
    async with unit_of_work(merchant_id) as session:
        return await queries.known_client(session, merchant_id=merchant_id, client_id=client_id)


async def _with_keys(client: KnownClient, key_id: str | None) -> KnownClient | None:
    age = None if client.jwks_fetched_at is None else now() - client.jwks_fetched_at
    known = {key.get("kid") for key in (client.jwks or {}).get("keys", [])}
    if age is not None and age < (KEYS_FRESH if key_id is None or key_id in known else KEYS_AGAIN):
        return client
    # anybody can name a client: whoever does must not make us call its address without end
    if not (await limits.count(FETCHES_PER_MINUTE, str(client.id))).admitted:
        return _as_known(client, age)
    answer = await outbound.pool().call("GET", client.jwks_url or "", headers={"accept": "application/json"}, allow_insecure=False)
    try:
        jwks = read_jwks(answer.body) if answer.status == 200 else None
    except Invalid as wrong:
        jwks = None
        log.warning("jwks_unusable", client=client.client_id, why=wrong.detail)
    if jwks is None:
        log.warning("jwks_not_fetched", client=client.client_id, status=answer.status, failure=answer.failure)
        return _as_known(client, age)
    async with unit_of_work(client.merchant_id) as session:
        return await tokens.keep_jwks(session, client=client, jwks=jwks)


def _as_known(client: KnownClient, age: timedelta | None) -> KnownClient:
    """The client with the keys it had, if they are not too old."""
    return client if age is not None and age < KEYS_LONGEST else msgspec.structs.replace(client, jwks=None)
