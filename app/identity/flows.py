"""Signing in, step by step: count the try in one transaction, judge it, record the result in another.

The count must survive a refusal, so it cannot share a transaction with what is refused; and a password is checked outside of any
transaction, because that is meant to be slow.
"""

import structlog

from app.core import mail
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.identity import queries, service
from app.identity.domain import Factor, SignInRefused, TooManyTries, check_password, normalised
from app.web import limits, sessions
from app.web.sessions import Visitor

log = structlog.get_logger()

_FREE_FOR_ADDRESS = 15
"""An office shares an address: it gets this many more tries than an account before it must wait."""


async def _take_tries(**keys: int) -> None:
    """Use one try of each key (a fixed order, so that two sign-ins cannot wait for each other)."""
    async with unit_of_work(None) as session:
        waits = [await service.take_try(session, key, free=keys[key]) for key in sorted(keys)]
    if any(waits):
        wait = max(waits)
        raise TooManyTries(f"Too many wrong tries. Wait {_words(wait)}, then try again.", retry_after=wait)


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{(seconds + 59) // 60} minutes"


async def sign_in(*, email: str, password: str, address: str, user_agent: str, device: str = "") -> tuple[str, bool]:
    """Check a password. Gives the id of a session that still lacks the second factor, and whether that factor is set up already.

    ``device`` is what the browser kept of an earlier complete sign-in: there, nobody outside can make this person wait.
    """
    account, place = service.tries_key(email, device), f"address:{address}"
    await _take_tries(**{account: 0, place: _FREE_FOR_ADDRESS})
    async with unit_of_work(None) as session:
        person = await queries.someone(session, email)
    if not await service.password_matches(password, person.password_hash if person else None) or person is None:
        log.warning("sign_in_refused", address=address)
        raise SignInRefused("The e-mail address or the password is wrong.")
    async with unit_of_work(None) as session:
        await service.give_back_tries(session, account, place)
        await service.renew_hash(session, person, password)
        await service.prepare_totp(session, person)
        token = await sessions.open_session(session, person_id=PersonId(person.id), address=address, user_agent=user_agent)
    log.info("password_accepted", person=str(person.id), address=address)
    return token, person.totp_enrolled_at is not None


async def prove_totp(visitor: Visitor, *, code: str) -> str:
    """Check a code of the authenticator app, at sign-in or step-up; gives the session's new id."""
    key = f"factor:{visitor.person_id}"
    await _take_tries(**{key: 0})
    async with unit_of_work(None) as session:
        await service.use_totp(session, visitor.person_id, code=code)
        await service.give_back_tries(session, key)
        token = await sessions.prove_factor(session, visitor.session_id, factor=Factor.TOTP)
    log.info("second_factor_accepted", person=str(visitor.person_id), factor=Factor.TOTP)
    return token


async def prove_recovery_code(visitor: Visitor, *, code: str) -> str:
    """Check a recovery code at sign-in; gives the session's new id."""
    key = f"factor:{visitor.person_id}"
    await _take_tries(**{key: 0})
    async with unit_of_work(None) as session:
        await service.use_recovery_code(session, visitor.person_id, code=code)
        await service.give_back_tries(session, key)
        token = await sessions.prove_factor(session, visitor.session_id, factor=Factor.RECOVERY_CODE)
    log.warning("recovery_code_used", person=str(visitor.person_id))
    return token


async def pending_secret(visitor: Visitor) -> str:
    """The TOTP secret that somebody is just setting up."""
    async with unit_of_work(None) as session:
        return service.totp_secret_of(await queries.person(session, visitor.person_id))


async def enrol(visitor: Visitor, *, code: str) -> tuple[str, list[str]]:
    """Complete the second factor; gives the session's new id and the recovery codes."""
    key = f"factor:{visitor.person_id}"
    await _take_tries(**{key: 0})
    async with unit_of_work(None) as session:
        codes = await service.enrol(session, visitor.person_id, code=code)
        await service.give_back_tries(session, key)
        token = await sessions.prove_factor(session, visitor.session_id, factor=Factor.TOTP)
    log.info("second_factor_enrolled", person=str(visitor.person_id))
    return token, codes


async def change_password(visitor: Visitor, *, current: str, password: str, code: str) -> str:
    """Change one's own password with the old one and a code; every other session ends. Gives the session's new id."""
    check_password(password, about=(visitor.person.email, visitor.person.name))
    account, factor = f"account:{normalised(visitor.person.email)}", f"factor:{visitor.person_id}"
    await _take_tries(**{account: 0, factor: 0})
    async with unit_of_work(None) as session:
        person = await queries.person(session, visitor.person_id)
    if not await service.password_matches(current, person.password_hash):
        raise SignInRefused("That is not your present password.", fields={"current_password": "That is not your present password."})
    async with unit_of_work(None) as session:
        await service.use_totp(session, visitor.person_id, code=code)
        await service.change_password(session, visitor.person_id, password=password)
        await service.give_back_tries(session, account, factor)
        await sessions.end_all_sessions(session, person_id=visitor.person_id, keep=visitor.session_id)
        token = await sessions.prove_factor(session, visitor.session_id, factor=Factor.TOTP)
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
