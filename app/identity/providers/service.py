"""Writes about sign-in through providers: begun attempts, connected accounts, the sessions that came of them. Each in one transaction."""

import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.errors import NotFound
from app.core.ids import PersonId, new_id
from app.core.secrets import digest, seal, unseal
from app.core.settings import settings
from app.identity import queries as people
from app.identity import service
from app.identity.domain import Density, Factor, PersonStatus, Theme, check_email, normalised
from app.identity.domain.providers import (
    ATTEMPT_LASTS,
    LINK_LASTS,
    NO_HASH,
    Attempt,
    IdentityTaken,
    LastWayIn,
    Logout,
    LogoutTokenRefused,
    Proof,
    Provider,
    ProviderSignInRefused,
    may_become_person,
    proves_second_factor,
)
from app.identity.models import LogoutTokenUse, Person, PersonIdentity, ProviderAttempt, ProviderSession
from app.identity.providers import queries
from app.identity.service import absences, events
from app.identity.service.events import Happening, Place
from app.web import sessions
from app.web.sessions import Bound, WebSession


def _verifier_context(attempt_id: UUID) -> str:
    return f"provider_attempt.verifier:{attempt_id}"


async def begin_attempt(
    session: AsyncSession, provider: Provider, *, browser: str, next_path: str, connecting: bool
) -> tuple[str, Attempt]:
    """Note that this browser begins a sign-in at the provider; gives the state and what else the request carries."""
    state, nonce, verifier = (secrets.token_urlsafe(size) for size in (32, 32, 48))
    attempt_id, moment = new_id(), now()
    row = {
        "id": attempt_id,
        "state_digest": digest(state),
        "browser_digest": digest(browser),
        "provider": provider.key,
        "nonce": nonce,
        "verifier": seal(verifier, _verifier_context(attempt_id)),
        "next_path": next_path,
        "connecting": connecting,
        "created_at": moment,
        "expires_at": moment + ATTEMPT_LASTS,
    }
    await session.execute(insert(ProviderAttempt), [row])
    return state, Attempt(id=str(attempt_id), nonce=nonce, verifier=verifier, next_path=next_path, connecting=connecting)


async def use_attempt(session: AsyncSession, provider: Provider, *, state: str, browser: str) -> Attempt:
    """Take up the sign-in that this browser began, once; any other answer is refused, and the reason is not told apart."""
    mine = update(ProviderAttempt).where(
        ProviderAttempt.state_digest == digest(state),
        ProviderAttempt.browser_digest == digest(browser),
        ProviderAttempt.provider == provider.key,
        ProviderAttempt.used_at.is_(None),
        ProviderAttempt.expires_at > now(),
    )
    row = (await session.scalars(mine.values(used_at=now()).returning(ProviderAttempt))).one_or_none()
    if row is None:
        raise ProviderSignInRefused("This sign-in was not begun in this browser, was finished already, or took too long. Begin again.")
    verifier = unseal(row.verifier, _verifier_context(row.id))
    return Attempt(id=str(row.id), nonce=row.nonce, verifier=verifier, next_path=row.next_path, connecting=row.connecting)


async def keep_for_linking(session: AsyncSession, attempt: Attempt, proof: Proof) -> None:
    """Keep what was proven until the person has signed in the way they did so far, too."""
    kept = {"issuer": proof.issuer, "subject": proof.subject, "email": proof.email, "expires_at": now() + LINK_LASTS}
    await session.execute(update(ProviderAttempt).where(ProviderAttempt.id == UUID(attempt.id)).values(**kept))


async def person_for(session: AsyncSession, provider: Provider, proof: Proof) -> Person | None:
    """Whose sign-in this is: the person connected with the account, or a new one where the rule says so.

    Nobody when the address belongs to a person here who has not connected the account: an address alone proves nothing.
    """
    person = await queries.person_of(session, proof.issuer, proof.subject)
    if person is not None:
        if person.status == PersonStatus.DISABLED:
            raise ProviderSignInRefused(_nobody(provider))
        await absences.admit(session, person)
        return person
    known = proof.email_verified and await session.scalar(select(Person.id).where(Person.email_lc == normalised(proof.email)))
    if known:
        return None
    if not may_become_person(provider, proof):
        raise ProviderSignInRefused(_nobody(provider))
    person = await make_person(session, proof)
    if person is None:
        # the same sign-in at the same moment, or somebody with this address: whoever was first is there now
        return await queries.person_of(session, proof.issuer, proof.subject)
    await link(session, PersonId(person.id), proof.issuer, proof.subject, email=proof.email)
    return person


def _nobody(provider: Provider) -> str:
    return (
        f"Nobody here is connected with this account of {provider.name}."
        " Sign in the way you did so far and connect it on the security page, or ask whoever runs this installation."
    )


async def make_person(session: AsyncSession, proof: Proof) -> Person | None:
    """A person without a password, from what a provider proved; nobody when another has the address, or gets it at this moment."""
    moment, email = now(), check_email(proof.email)
    row = {
        "id": new_id(),
        "email": email,
        "email_lc": normalised(email),
        "name": " ".join(proof.name.split())[:120] or email.partition("@")[0],
        "status": PersonStatus.ACTIVE,
        "password_hash": NO_HASH,
        "password_changed_at": moment,
        "totp_last_step": 0,
        "theme": Theme.AUTO,
        "density": Density.COMPACT,
        "created_at": moment,
    }
    made = upsert(Person).values(row).on_conflict_do_nothing(index_elements=["email_lc"]).returning(Person)
    return (await session.scalars(made)).one_or_none()


async def link(session: AsyncSession, person_id: PersonId, issuer: str, subject: str, *, email: str) -> None:
    """Connect an account of a provider to a person who has proven both."""
    row = {"issuer": issuer, "subject": subject, "id": new_id(), "person_id": person_id, "email": email, "created_at": now()}
    try:
        await session.execute(insert(PersonIdentity), [row])
    except IntegrityError:
        raise IdentityTaken("Disconnect it there first.") from None


async def confirm_link(session: AsyncSession, person_id: PersonId, *, browser: str) -> str:
    """Connect the account that this browser has proven, once; gives the provider's key."""
    waiting = await take_link(session, browser=browser)
    await link(session, person_id, waiting.issuer or "", waiting.subject or "", email=waiting.email or "")
    return waiting.provider


async def take_link(session: AsyncSession, *, browser: str, of_merchants: bool = False) -> ProviderAttempt:
    """Take up the account that this browser has proven and that waits to be connected; once."""
    waiting = await queries.waiting_link(session, browser, of_merchants=of_merchants)
    if waiting is None or not await _take_link(session, waiting.id):
        raise ProviderSignInRefused("There is nothing to connect any more. Begin again at the sign-in page.")
    return waiting


async def _take_link(session: AsyncSession, attempt_id: UUID) -> bool:
    mine = update(ProviderAttempt).where(ProviderAttempt.id == attempt_id, ProviderAttempt.linked_at.is_(None))
    return await session.scalar(mine.values(linked_at=now()).returning(ProviderAttempt.id)) is not None


async def unlink(session: AsyncSession, person_id: PersonId, identity_id: UUID) -> str:
    """Disconnect an account, unless it is the last way in; the sessions that came from it end. Gives whose account it was."""
    person = await session.get(Person, person_id, with_for_update=True)
    count = await session.scalar(select(func.count()).where(PersonIdentity.person_id == person_id)) or 0
    if person is None or (person.password_hash == NO_HASH and count <= 1):
        raise LastWayIn("Set a password or connect another account first.")
    gone = delete(PersonIdentity).where(PersonIdentity.person_id == person_id, PersonIdentity.id == identity_id)
    row = (await session.execute(gone.returning(PersonIdentity.issuer, PersonIdentity.subject))).one_or_none()
    if row is None:
        raise NotFound()
    await _end(session, row.issuer, row.subject, "")
    return str(row.issuer)


async def open_session(
    session: AsyncSession, provider: Provider, proof: Proof, person: Person, *, place: Place, bound: Bound | None = None
) -> tuple[str, bool]:
    """Start a session for somebody whom the provider vouches for; complete only where its second factor counts and our own is set up."""
    await service.prepare_totp(session, person)
    who = PersonId(person.id)
    token = await sessions.open_session(session, person_id=who, address=place.address, user_agent=place.user_agent, bound=bound)
    session_id = await session.scalar(select(WebSession.id).where(WebSession.digest == digest(token)))
    if session_id is None:
        raise ProviderSignInRefused("The session has ended already. Begin again.")
    row = {
        "session_id": session_id,
        "provider": provider.key,
        "issuer": proof.issuer,
        "subject": proof.subject,
        "sid": proof.sid,
        "id_token": seal(proof.id_token, f"provider_session.id_token:{session_id}") if proof.id_token else "",
    }
    await session.execute(insert(ProviderSession), [row])
    used = update(PersonIdentity).where(PersonIdentity.issuer == proof.issuer, PersonIdentity.subject == proof.subject)
    await session.execute(used.values(last_used_at=now()))
    fresh = timedelta(minutes=settings().step_up_minutes)
    complete = proves_second_factor(provider, proof, at=now(), fresh=fresh) and await people.is_enrolled(session, person)
    if complete:
        factor = Factor.MERCHANTS_PROVIDER if bound else Factor.PROVIDER
        # as old as the provider says: that it was told a moment ago makes a factor no fresher
        shown_at = min(now(), datetime.fromtimestamp(proof.auth_time, UTC))
        token = await sessions.prove_factor(session, session_id, factor=factor, shown_at=shown_at)
        await events.note(session, who, Happening.SIGNED_IN, place, about=factor)
    return token, complete


async def end_sessions(session: AsyncSession, logout: Logout) -> int:
    """End the sessions that a provider says are over, and never twice for one notice; gives how many ended."""
    noted = upsert(LogoutTokenUse).values(issuer=logout.issuer, jti=logout.jti, used_at=now()).on_conflict_do_nothing()
    if await session.scalar(noted.returning(LogoutTokenUse.jti)) is None:
        raise LogoutTokenRefused("It was used already.")
    ended = await _end(session, logout.issuer, logout.subject, logout.sid)
    for person_id in set(ended):
        await events.note(session, PersonId(person_id), Happening.SIGNED_OUT_THERE, Place(), about=logout.issuer)
    return len(ended)


async def _end(session: AsyncSession, issuer: str, subject: str, sid: str) -> list[UUID]:
    theirs = select(ProviderSession.session_id).where(ProviderSession.issuer == issuer)
    if subject:
        theirs = theirs.where(ProviderSession.subject == subject)
    if sid:
        theirs = theirs.where(ProviderSession.sid == sid)
    gone = delete(WebSession).where(WebSession.id.in_(theirs)).returning(WebSession.person_id)
    return list(await session.scalars(gone))
