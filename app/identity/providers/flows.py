"""Signing in through a provider: note the attempt, ask the provider outside of any transaction, record what it proved."""

import msgspec
import structlog

from app.core.db import unit_of_work
from app.identity import oauth
from app.identity.domain.providers import Provider, ProviderSignInRefused, check_answer_issuer
from app.identity.providers import queries, service

log = structlog.get_logger()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sign-in at a provider led: to a session, or to an account that waits to be connected."""

    next_path: str
    token: str = ""
    complete: bool = False
    enrolled: bool = False


async def begin(key: str, *, browser: str, next_path: str, connecting: bool) -> str:
    """Begin a sign-in at a provider; gives the address to which the browser goes."""
    provider = queries.provider(key)
    found = await oauth.metadata(provider)
    async with unit_of_work(None) as session:
        state, attempt = await service.begin_attempt(session, provider, browser=browser, next_path=next_path, connecting=connecting)
    return oauth.authorization_url(provider, found, state=state, nonce=attempt.nonce, verifier=attempt.verifier)


async def finish(key: str, *, state: str, code: str, issuer: str, error: str, browser: str, address: str, user_agent: str) -> Outcome:
    """Take up the provider's answer: once, only in the browser that began, and only from the provider that was asked."""
    provider = queries.provider(key)
    async with unit_of_work(None) as session:
        attempt = await service.use_attempt(session, provider, state=state, browser=browser)
    found = await oauth.metadata(provider)
    check_answer_issuer(provider, issuer, promised=found.authorization_response_iss_parameter_supported)
    if error or not code:
        log.info("provider_declined", provider=key, error=error[:40])
        raise ProviderSignInRefused(f"{provider.name} did not sign you in. Begin again, or sign in another way.")
    try:
        proof = await oauth.exchange(provider, attempt, code=code)
    except ProviderSignInRefused as refused:
        log.warning("provider_proof_refused", provider=key, address=address, reason=refused.extra.get("reason", ""))
        raise
    async with unit_of_work(None) as session:
        person = None if attempt.connecting else await service.person_for(session, provider, proof)
        if person is None:
            await service.keep_for_linking(session, attempt, proof)
            return Outcome(next_path=attempt.next_path)
        token, complete = await service.open_session(session, provider, proof, person, address=address, user_agent=user_agent)
    log.info("provider_accepted", provider=key, person=str(person.id), address=address, second_factor=complete)
    return Outcome(next_path=attempt.next_path, token=token, complete=complete, enrolled=person.totp_enrolled_at is not None)


async def end_sessions(key: str, *, logout_token: str) -> int:
    """End the sessions of somebody who signed out at the provider."""
    provider = queries.provider(key)
    logout = await oauth.read_logout_token(provider, logout_token)
    async with unit_of_work(None) as session:
        ended = await service.end_sessions(session, logout)
    log.info("provider_signed_out", provider=key, sessions=ended)
    return ended


async def end_session_address(key: str) -> tuple[Provider, str]:
    """Where the browser can sign out at the provider as well; empty when it offers no such thing."""
    provider = queries.provider(key)
    return provider, (await oauth.metadata(provider)).end_session_endpoint
