"""Signing in through a provider: note the attempt, ask the provider outside of any transaction, record what it proved."""

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.identity import oauth
from app.identity import queries as people
from app.identity.domain.providers import Attempt, Proof, Provider, ProviderAnswer, ProviderSignInRefused, check_answer_issuer
from app.identity.providers import queries, service
from app.identity.service.events import Place
from app.web.sessions import Bound

log = structlog.get_logger()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sign-in at a provider led: to a session, or to an account that waits to be connected."""

    next_path: str
    token: str = ""
    complete: bool = False
    enrolled: bool = False


async def begin(provider: Provider, *, browser: str, next_path: str, connecting: bool) -> str:
    """Begin a sign-in at a provider; gives the address to which the browser goes."""
    found = await oauth.metadata(provider)
    async with unit_of_work(None) as session:
        state, attempt = await service.begin_attempt(session, provider, browser=browser, next_path=next_path, connecting=connecting)
    return oauth.authorization_url(provider, found, state=state, nonce=attempt.nonce, verifier=attempt.verifier)


async def take_up(provider: Provider, answer: ProviderAnswer, *, browser: str, place: Place) -> tuple[Attempt, Proof]:
    """Take up the provider's answer: once, only in the browser that began, and only from the provider that was asked. Gives what is proven."""
    async with unit_of_work(None) as session:
        attempt = await service.use_attempt(session, provider, state=answer.state, browser=browser)
    found = await oauth.metadata(provider)
    check_answer_issuer(provider, answer.issuer, promised=found.authorization_response_iss_parameter_supported)
    if answer.error or not answer.code:
        log.info("provider_declined", provider=provider.key, error=answer.error[:40])
        raise ProviderSignInRefused(f"{provider.name} did not sign you in. Begin again, or sign in another way.")
    try:
        return attempt, await oauth.exchange(provider, attempt, code=answer.code)
    except ProviderSignInRefused as refused:
        log.warning("provider_proof_refused", provider=provider.key, address=place.address, reason=refused.extra.get("reason", ""))
        raise


async def finish(key: str, answer: ProviderAnswer, *, browser: str, place: Place) -> Outcome:
    """Sign somebody in with what the provider proves, or keep it until they have proven their account here as well."""
    provider = queries.provider(key)
    attempt, proof = await take_up(provider, answer, browser=browser, place=place)
    async with unit_of_work(None) as session:
        person = None if attempt.connecting else await service.person_for(session, provider, proof)
        if person is None:
            await service.keep_for_linking(session, attempt, proof)
            return Outcome(next_path=attempt.next_path)
        return await open_session(session, provider, attempt, proof, PersonId(person.id), place=place)


async def open_session(
    session: AsyncSession,
    provider: Provider,
    attempt: Attempt,
    proof: Proof,
    person_id: PersonId,
    *,
    place: Place,
    bound: Bound | None = None,
) -> Outcome:
    """Start the session of somebody whom a provider vouches for, in the present transaction."""
    person = await people.person(session, person_id)
    token, complete = await service.open_session(session, provider, proof, person, place=place, bound=bound)
    enrolled = await people.is_enrolled(session, person)
    log.info("provider_accepted", provider=provider.key, person=str(person.id), address=place.address, second_factor=complete)
    return Outcome(next_path=attempt.next_path, token=token, complete=complete, enrolled=enrolled)


async def end_sessions(provider: Provider, *, logout_token: str) -> int:
    """End the sessions of somebody who signed out at the provider."""
    logout = await oauth.read_logout_token(provider, logout_token)
    async with unit_of_work(None) as session:
        ended = await service.end_sessions(session, logout)
    log.info("provider_signed_out", provider=provider.key, sessions=ended)
    return ended


async def end_session_address(provider: Provider) -> str:
    """Where the browser can sign out at the provider as well; empty when it offers no such thing."""
    return (await oauth.metadata(provider)).end_session_endpoint
