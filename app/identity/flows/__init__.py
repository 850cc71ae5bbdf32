"""Signing in, step by step: count the try in one transaction, judge it, record the result in another.

The count must survive a refusal, so it cannot share a transaction with what is refused; and a password is checked outside of any
transaction, because that is meant to be slow.
"""

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import mail, outbox
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.identity import queries, service
from app.identity.domain import AlreadyEnrolled, CodeRefused, Factor, PasswordRefused, SignInRefused, check_password, normalised
from app.identity.domain.passkeys import PasskeyCopied, PasskeyRefused
from app.identity.flows import tries
from app.identity.models import Person
from app.identity.service import absences, events, passkeys
from app.identity.service import resets as reset_links
from app.identity.service.events import Happening, Place
from app.web import limits, sessions
from app.web.sessions import Visitor

log = structlog.get_logger()


async def sign_in(*, email: str, password: str, address: str, user_agent: str, device: str = "") -> tuple[str, bool]:
    """Check a password. Gives the id of a session that still lacks the second factor, and whether that factor is set up already.

    ``device`` is what the browser kept of an earlier complete sign-in: there, nobody outside can make this person wait.
    """
    account = service.tries_key(email, device)
    # a known browser has tries of its own; those of its address anybody in the same office or network could use up
    shared = None if account.startswith("device:") else service.address_tries(address, normalised(email))
    await tries.take(account, at=shared)
    async with unit_of_work(None) as session:
        person = await queries.someone(session, email)
    if not await service.password_matches(password, person.password_hash if person else None) or person is None:
        # told through the outbox whether or not there is such a person, so that the time this takes does not tell
        async with unit_of_work(None) as session:
            refusal = PasswordRefused(email=email[:254], address=address, user_agent=user_agent[:300])
            await outbox.publish(session, merchant_id=None, event=refusal)
        log.warning("sign_in_refused", address=address)
        raise SignInRefused("The e-mail address or the password is wrong.")
    async with unit_of_work(None) as session:
        await service.give_back_tries(session, account)
        if shared is not None:
            await service.pay_back(session, shared)
    async with unit_of_work(None) as session:
        await absences.admit(session, person)
        await service.renew_hash(session, person, password)
        await service.prepare_totp(session, person)
        token = await sessions.open_session(session, person_id=PersonId(person.id), address=address, user_agent=user_agent)
        enrolled = await queries.is_enrolled(session, person)
    log.info("password_accepted", person=str(person.id), address=address)
    return token, enrolled


async def note_wrong_password(*, email: str, place: Place) -> None:
    """Write down a wrong password where there is a person who was meant."""
    async with unit_of_work(None) as session:
        person = await queries.someone(session, email)
        if person is not None:
            await events.note(session, PersonId(person.id), Happening.PASSWORD_REFUSED, place)


async def prove(visitor: Visitor, *, proof: str, place: Place) -> str:
    """Check a second factor, at sign-in or step-up: a code of the app, a recovery code or a passkey's answer; gives the session's new id."""
    key = service.factor_key(
        visitor.person_id, visitor.person.email, device=place.device, session_id=visitor.session_id if visitor.complete else None
    )
    await tries.take(key)
    try:
        async with unit_of_work(None) as session:
            factor = await service.verify_factor(session, visitor.person_id, proof=proof, recovery=not visitor.complete)
            await service.give_back_tries(session, key)
            token = await sessions.prove_factor(session, visitor.session_id, factor=factor)
            await _note_proof(session, visitor, factor, place)
    except (CodeRefused, PasskeyRefused, PasskeyCopied) as refused:
        await note_refusal(visitor.person_id, place, refused)
        raise
    log.info("second_factor_accepted", person=str(visitor.person_id), factor=factor)
    return token


async def _note_proof(session: AsyncSession, visitor: Visitor, factor: Factor, place: Place) -> None:
    person = await queries.person(session, visitor.person_id)
    if factor is Factor.RECOVERY_CODE:
        left = await queries.recovery_codes_left(session, visitor.person_id)
        await events.note(session, visitor.person_id, Happening.RECOVERY_CODE_USED, place, about=f"{left} left")
        sentence = f"A recovery code was used to confirm that it is you. {left} of them are left."
        await events.tell(session, person, place, subject="A recovery code was used", sentence=sentence)
    if not visitor.complete:
        await note_sign_in(session, person, factor, place)


async def note_sign_in(session: AsyncSession, person: Person, factor: Factor, place: Place) -> None:
    """Write down a complete sign-in; from a browser that is new to the person, tell them by mail."""
    await events.note(session, PersonId(person.id), Happening.SIGNED_IN, place, about=factor)
    if not service.tries_key(person.email, place.device).startswith("device:"):
        await events.note(session, PersonId(person.id), Happening.NEW_DEVICE, place)
        sentence = "You have signed in from a browser that was not used for your account before."
        await events.tell(session, person, place, subject="New sign-in to your account", sentence=sentence)


async def note_refusal(person_id: PersonId, place: Place, refused: Exception) -> None:
    """Write down that a factor was refused; of a key that may have been copied the person is told."""
    async with unit_of_work(None) as session:
        if isinstance(refused, PasskeyCopied):
            await events.note(session, person_id, Happening.PASSKEY_COPIED, place)
            sentence = "One of your passkeys gave an answer that a copy of it would give. It was refused. Remove that passkey."
            who = await queries.person(session, person_id)
            await events.tell(session, who, place, subject="A passkey may have been copied", sentence=sentence)
        else:
            await events.note(session, person_id, Happening.FACTOR_REFUSED, place)
    log.warning("second_factor_refused", person=str(person_id), address=place.address, why=type(refused).__name__)


async def pending_secret(visitor: Visitor) -> str:
    """The TOTP secret that somebody is just setting up."""
    async with unit_of_work(None) as session:
        return service.totp_secret_of(await queries.person(session, visitor.person_id))


async def enrol(visitor: Visitor, *, code: str, place: Place) -> tuple[str, list[str]]:
    """Complete the second factor with a first code of an app; gives the session's new id and the recovery codes."""
    key = service.factor_key(visitor.person_id, visitor.person.email, device=place.device)
    await tries.take(key)
    async with unit_of_work(None) as session:
        codes = await service.enrol(session, visitor.person_id, code=code)
        await service.give_back_tries(session, key)
        token = await sessions.prove_factor(session, visitor.session_id, factor=Factor.TOTP)
        await _note_enrolment(session, visitor.person_id, Factor.TOTP, place, about="Authenticator app")
    log.info("second_factor_enrolled", person=str(visitor.person_id))
    return token, codes


async def _note_enrolment(session: AsyncSession, person_id: PersonId, factor: Factor, place: Place, *, about: str) -> None:
    """Write down a first second factor and tell the person: until then the password alone was enough to set up any."""
    await events.note(session, person_id, Happening.FACTOR_ADDED, place, about=about)
    await events.note(session, person_id, Happening.SIGNED_IN, place, about=factor)
    sentence = f"A second factor ({about}) was set up for your account. Every sign-in asks for it from now on."
    await events.tell(session, await queries.person(session, person_id), place, subject="A second factor was set up", sentence=sentence)


async def enrol_passkey(visitor: Visitor, *, answer: str, name: str, place: Place) -> tuple[str, list[str]]:
    """Complete the second factor with a passkey; gives the session's new id and the recovery codes."""
    if visitor.enrolled:
        raise AlreadyEnrolled("Sign in with the factor you have, then add another one.")
    async with unit_of_work(None) as session:
        await passkeys.add(session, visitor.person_id, answer=answer, name=name)
        codes = await service.renew_recovery_codes(session, visitor.person_id)
        token = await sessions.prove_factor(session, visitor.session_id, factor=Factor.PASSKEY)
        await _note_enrolment(session, visitor.person_id, Factor.PASSKEY, place, about=name)
    log.info("second_factor_enrolled", person=str(visitor.person_id))
    return token, codes


async def add_passkey(visitor: Visitor, *, answer: str, name: str, place: Place) -> None:
    """Keep one more passkey of a person who is signed in, and tell them by mail."""
    async with unit_of_work(None) as session:
        await passkeys.add(session, visitor.person_id, answer=answer, name=name)
        await events.note(session, visitor.person_id, Happening.FACTOR_ADDED, place, about=name)
        who = await queries.person(session, visitor.person_id)
        sentence = f"The passkey “{name}” was added to your account. It can be used to sign in."
        await events.tell(session, who, place, subject="A passkey was added", sentence=sentence)
    log.warning("passkey_added", person=str(visitor.person_id))


async def sign_in_with_passkey(*, answer: str, asker: str, place: Place) -> tuple[str, str]:
    """Sign in with a passkey alone: it proves the device and, because it made sure of its owner, the person. Gives the session's id and the
    person's e-mail address."""
    # not the tries of passwords: who guesses those must not make the owners of keys wait
    # a right one forgives them all: what a key answers cannot be guessed
    shared = service.address_tries(place.address, "a passkey", kind="passkey")
    await tries.take(at=shared)
    async with unit_of_work(None) as session:
        person_id = await passkeys.owner_of(session, answer)
    try:
        async with unit_of_work(None) as session:
            person = await queries.person(session, person_id)
            await passkeys.use(session, person_id, answer=answer, asker=asker, verified=True)
            await absences.admit(session, person)
            await service.pay_back(session, shared)
            token = await sessions.open_session(
                session, person_id=person_id, address=place.address, user_agent=place.user_agent, factor=Factor.PASSKEY
            )
            await note_sign_in(session, person, Factor.PASSKEY, place)
    except (PasskeyRefused, PasskeyCopied) as refused:
        await note_refusal(person_id, place, refused)
        raise
    log.info("passkey_accepted", person=str(person_id), address=place.address)
    return token, person.email


async def change_password(visitor: Visitor, *, current: str, password: str, proof: str, place: Place) -> str:
    """Change one's own password with the old one and a second factor; every other session ends. Gives the session's new id."""
    check_password(password, about=(visitor.person.email, visitor.person.name, *(each.name for each in visitor.merchants)))
    factor = service.factor_key(visitor.person_id, visitor.person.email, device="", session_id=visitor.session_id)
    await tries.take(factor)
    async with unit_of_work(None) as session:
        person = await queries.person(session, visitor.person_id)
    if not await service.password_matches(current, person.password_hash):
        raise SignInRefused("That is not your present password.", fields={"current_password": "That is not your present password."})
    async with unit_of_work(None) as session:
        shown = await service.verify_factor(session, visitor.person_id, proof=proof, recovery=False)
        await service.change_password(session, visitor.person_id, password=password)
        await service.give_back_tries(session, service.tries_key(visitor.person.email, ""), factor)
        await sessions.end_all_sessions(session, person_id=visitor.person_id, keep=visitor.session_id)
        token = await sessions.prove_factor(session, visitor.session_id, factor=shown)
        await events.note(session, visitor.person_id, Happening.PASSWORD_CHANGED, place)
        sentence = "Your password was changed, and your other sessions have ended."
        await events.tell(session, person, place, subject="Your password was changed", sentence=sentence)
    log.warning("password_changed", person=str(visitor.person_id))
    return token


async def leave(visitor: Visitor) -> None:
    """End the session that a browser still held when somebody signs in with it again."""
    async with unit_of_work(None) as session:
        await sessions.end_session(session, person_id=visitor.person_id, session_id=visitor.session_id)


async def tidy() -> None:
    """Forget what has ended: sessions, waits after wrong tries, windows of the rate limits, old mails."""
    async with unit_of_work(None) as session:
        await sessions.prune_sessions(session)
        await service.forget_tries(session)
        await limits.prune_limits(session)
        await mail.forget(session)
        await passkeys.forget_challenges(session)
        await reset_links.prune(session)
        await service.forget_provider_attempts(session)
