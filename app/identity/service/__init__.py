"""Writes about people: making them, counting wrong tries, using up codes. Each in one transaction."""

import asyncio
import re
import secrets
from datetime import timedelta
from functools import cache
from uuid import UUID

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import PersonId, new_id
from app.core.secrets import SecretUnreadable, digest, mac, mac_matches, seal, unseal
from app.identity import queries
from app.identity.domain import (
    USED_PASSWORDS,
    AlreadyEnrolled,
    CodeRefused,
    Density,
    Factor,
    PasswordUnfit,
    PersonExists,
    PersonStatus,
    Theme,
    check_email,
    check_password,
    new_recovery_codes,
    new_totp_secret,
    normalised,
    recovery_code_text,
    throttle_pause,
    totp_step,
)
from app.identity.domain.passkeys import LastFactor
from app.identity.models import LogoutTokenUse, Passkey, Person, ProviderAttempt, RecoveryCode, SignInThrottle
from app.identity.service import events, passkeys
from app.identity.service.events import Happening, Place
from app.web import sessions
from app.web.addresses import limit_key

# OWASP's smaller profile: about 25 ms and 19 MiB a guess
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_FORGOTTEN_AFTER = timedelta(days=1)
_DEVICE = "identity.device"
_USED = "This was one of your last four passwords. Choose one that you did not use lately."
_TAKE_TRY = text(
    "insert into sign_in_throttle as t (key, failures, retry_at) values (:key, 1, :now) on conflict (key) do update set"
    " failures = case when t.retry_at < :forgotten then 1 else t.failures + 1 end, retry_at = :now where t.retry_at <= :now returning failures"
)


def _totp_context(person_id: PersonId) -> str:
    return f"person.totp_secret:{person_id}"


async def hash_password(password: str) -> str:
    """The password as it is stored (argon2id)."""
    return await asyncio.to_thread(_HASHER.hash, password)


@cache
def _nobodys_hash() -> str:
    return _HASHER.hash("the password of nobody")


async def password_matches(password: str, password_hash: str | None) -> bool:
    """Whether this is the password; without a person or without a password the same work is done, so that the time tells nothing."""
    known = password_hash if password_hash and password_hash.startswith("$argon2") else None
    try:
        await asyncio.to_thread(_HASHER.verify, known or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return known is not None


async def create_person(
    session: AsyncSession, *, email: str, name: str, password: str, totp_secret: str | None = None, workplace: str = ""
) -> Person:
    """Make a person who can sign in; with a TOTP secret the second factor is set up already, otherwise at the first sign-in.

    The password must not be made of the name of the ``workplace``, the merchant they are to join.
    """
    check_password(password, about=(check_email(email), name, workplace))
    return await add_person(session, email=email, name=name, password_hash=await hash_password(password), totp_secret=totp_secret)


async def add_person(session: AsyncSession, *, email: str, name: str, password_hash: str, totp_secret: str | None = None) -> Person:
    """Make a person whose password was checked and hashed before."""
    email, moment, person_id = check_email(email), now(), PersonId(new_id())
    person = Person(
        id=person_id,
        email=email,
        email_lc=normalised(email),
        name=name.strip(),
        status=PersonStatus.ACTIVE,
        password_hash=password_hash,
        password_changed_at=moment,
        totp_secret=seal(totp_secret, _totp_context(person_id)) if totp_secret else None,
        totp_enrolled_at=moment if totp_secret else None,
        totp_last_step=0,
        theme=Theme.AUTO,
        density=Density.COMPACT,
        created_at=moment,
        last_signed_in_at=moment,
    )
    session.add(person)
    try:
        await session.flush()
    except IntegrityError:
        raise PersonExists(fields={"email": "Somebody with this address is here already."}) from None
    return person


async def disable_person(session: AsyncSession, person_id: PersonId) -> None:
    """Shut a person out at once; open sessions stop at their next request."""
    await session.execute(update(Person).where(Person.id == person_id).values(status=PersonStatus.DISABLED))


def device_token(email: str) -> str:
    """What a browser keeps after a complete sign-in, so that wrong tries elsewhere do not make this person wait here."""
    name = secrets.token_urlsafe(12)
    return f"{name}.{mac(f'{name}:{normalised(email)}', purpose=_DEVICE)}"


def tries_key(email: str, device: str) -> str:
    """Whose tries a sign-in uses: the account's, which anybody may use up, or those of a browser this person has signed in with before."""
    name, _, proof = device.partition(".")
    known = mac_matches(proof, f"{name}:{normalised(email)}", purpose=_DEVICE)
    return f"device:{name}" if known else f"account:{normalised(email)[:254]}"


class AddressTries(msgspec.Struct, frozen=True):
    """Whose tries an address uses: those of all who share it, and among them those about one account, which that account's owner pays back."""

    shared: str
    own: str


def address_tries(address: str, about: str, *, kind: str = "address") -> AddressTries:
    """The tries of an address for today, and those of them about an account (or whatever else is tried)."""
    # by the day, so that a busy office does not wait for the slips of weeks; by the network that one IPv6 customer has
    place = f"{limit_key(address)}:{now():%Y-%m-%d}"
    return AddressTries(f"{kind}:{place}", f"{kind}-about:{place}:{about[:254]}")


async def take_try(session: AsyncSession, key: str, *, free: int = 0) -> int:
    """Use one try of an account or address; gives the seconds to wait when none is left, else 0. A try that succeeds is given back.

    The try is counted before it is judged, so that forty at once are forty tries.
    """
    moment = now()
    failures = await session.scalar(_TAKE_TRY, {"key": key, "now": moment, "forgotten": moment - _FORGOTTEN_AFTER})
    if failures is None:
        retry_at = await session.scalar(select(SignInThrottle.retry_at).where(SignInThrottle.key == key))
        return max(1, int((retry_at - moment).total_seconds()) + 1) if retry_at else 1
    pause = throttle_pause(failures - free)
    if pause:
        await session.execute(update(SignInThrottle).where(SignInThrottle.key == key).values(retry_at=moment + pause))
    return 0


async def give_back_tries(session: AsyncSession, *keys: str) -> None:
    """Forget the wrong tries of an account or address after a right one."""
    await session.execute(delete(SignInThrottle).where(SignInThrottle.key.in_(keys)))


async def pay_back(session: AsyncSession, tries: AddressTries) -> None:
    """After a right one: forget what an address tried about this account, this try included. What it tried about others stays counted,
    or an account of one's own would buy any number of tries at other people's."""
    shared = update(SignInThrottle).where(SignInThrottle.key == tries.shared)
    # it was let in, so no wait is running but the one that it brought about; and the row is locked before the other, as when it was counted
    await session.execute(shared.values(retry_at=now()))
    own = await session.scalar(delete(SignInThrottle).where(SignInThrottle.key == tries.own).returning(SignInThrottle.failures))
    if own:
        await session.execute(shared.values(failures=func.greatest(SignInThrottle.failures - own, 0)))


async def forget_tries(session: AsyncSession) -> None:
    """Forget wrong tries that no longer count."""
    await session.execute(delete(SignInThrottle).where(SignInThrottle.retry_at < now() - _FORGOTTEN_AFTER))


async def forget_provider_attempts(session: AsyncSession) -> None:
    """Forget sign-ins at providers that are over, and logout tokens that are too old to be accepted again."""
    await session.execute(delete(ProviderAttempt).where(ProviderAttempt.expires_at < now()))
    await session.execute(delete(LogoutTokenUse).where(LogoutTokenUse.used_at < now() - _FORGOTTEN_AFTER))


async def renew_hash(session: AsyncSession, person: Person, password: str) -> None:
    """Store the password under today's cost when it was stored under a smaller one."""
    if _HASHER.check_needs_rehash(person.password_hash):
        await session.execute(update(Person).where(Person.id == person.id).values(password_hash=await hash_password(password)))


async def change_password(session: AsyncSession, person_id: PersonId, *, password: str) -> None:
    """Give a person a new password, which is none of their last four."""
    # locked, so that of two changes at one moment neither forgets what the other replaced
    person = await session.get_one(Person, person_id, with_for_update=True, populate_existing=True)
    check_password(password, about=await queries.words_about(session, person))
    had = [each for each in (person.password_hash, *person.passwords_before) if each.startswith("$argon2")]
    for each in had:
        if await password_matches(password, each):
            raise PasswordUnfit(_USED, fields={"password": _USED})
    changed = {"password_hash": await hash_password(password), "passwords_before": had[: USED_PASSWORDS - 1], "password_changed_at": now()}
    await session.execute(update(Person).where(Person.id == person_id).values(**changed))


async def prepare_totp(session: AsyncSession, person: Person) -> None:
    """Make the secret that the enrolment page will show, unless the person has one."""
    if person.totp_secret is None:
        sealed = seal(new_totp_secret(), _totp_context(PersonId(person.id)))
        await session.execute(update(Person).where(Person.id == person.id, Person.totp_secret.is_(None)).values(totp_secret=sealed))


def totp_secret_of(person: Person) -> str:
    """The person's TOTP secret in the clear; for the enrolment page, before enrolment is complete."""
    if person.totp_secret is None or person.totp_enrolled_at is not None:
        raise AlreadyEnrolled("It can be shown only while it is being set up.")
    return unseal(person.totp_secret, _totp_context(PersonId(person.id)))


async def use_totp(session: AsyncSession, person_id: PersonId, *, code: str, enrolling: bool = False) -> None:
    """Accept a TOTP code, once: the database refuses a step that is not newer than the last one used."""
    person = await queries.person(session, person_id)
    if person.totp_secret is None or (person.totp_enrolled_at is None) != enrolling:
        raise CodeRefused("Set up your authenticator app first.", fields={"code": "Set up your authenticator app first."})
    step = totp_step(unseal(person.totp_secret, _totp_context(person_id)), code, now())
    newer = update(Person).where(Person.id == person_id, Person.totp_last_step < (step or 0)).values(totp_last_step=step)
    if step is None or await session.scalar(newer.returning(Person.id)) is None:
        problem = "This code is wrong, too old, or was used already. Enter the next one."
        raise CodeRefused(problem, fields={"code": problem})


async def verify_factor(session: AsyncSession, person_id: PersonId, *, proof: str, recovery: bool = True) -> Factor:
    """Accept a second factor in whichever form it comes: a passkey's answer (JSON), a code of the app, or a recovery code; each once.

    Without ``recovery`` a recovery code is refused: it opens the door, it does not move money.
    """
    if proof.lstrip().startswith("{"):
        await passkeys.use(session, person_id, answer=proof)
        return Factor.PASSKEY
    if re.fullmatch(r"[0-9]{6}", re.sub(r"\s", "", proof)):
        await use_totp(session, person_id, code=proof)
        return Factor.TOTP
    if not recovery:
        raise CodeRefused("Enter the 6 digits of your authenticator app.", fields={"code": "Enter the 6 digits of your authenticator app."})
    await use_recovery_code(session, person_id, code=proof)
    return Factor.RECOVERY_CODE


def factor_key(person_id: PersonId, email: str, *, device: str, session_id: UUID | None = None) -> str:
    """Whose tries a second factor uses.

    A session that has shown one, and a browser that has signed in before, have tries of their own: somebody who knows the password but
    sits elsewhere uses up those of all unknown browsers together, and cannot make the person wait where they usually work.
    """
    if session_id is not None:
        return f"factor:{person_id}:session:{session_id}"
    own = tries_key(email, device)
    return f"factor:{person_id}:{own}" if own.startswith("device:") else f"factor:{person_id}"


async def enrol(session: AsyncSession, person_id: PersonId, *, code: str) -> list[str]:
    """Complete the second factor with a first code; gives ten recovery codes that are shown once."""
    await use_totp(session, person_id, code=code, enrolling=True)
    await session.execute(update(Person).where(Person.id == person_id).values(totp_enrolled_at=now()))
    return await renew_recovery_codes(session, person_id)


async def renew_recovery_codes(session: AsyncSession, person_id: PersonId) -> list[str]:
    """Ten new recovery codes; the old ones stop working."""
    codes, moment = new_recovery_codes(), now()
    await session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person_id))
    rows = [{"person_id": person_id, "digest": digest(recovery_code_text(code)), "created_at": moment} for code in codes]
    await session.execute(insert(RecoveryCode), rows)
    return codes


async def use_recovery_code(session: AsyncSession, person_id: PersonId, *, code: str) -> None:
    """Accept a recovery code, once."""
    mine = update(RecoveryCode).where(RecoveryCode.person_id == person_id, RecoveryCode.digest == digest(recovery_code_text(code)))
    used = await session.scalar(mine.where(RecoveryCode.used_at.is_(None)).values(used_at=now()).returning(RecoveryCode.created_at))
    if used is None:
        problem = "This is not one of your unused recovery codes."
        raise CodeRefused(problem, fields={"code": problem})


async def keep_a_factor(session: AsyncSession, person_id: PersonId) -> None:
    """Refuse to remove a factor when no other is left. The person's row is locked, so that two removals cannot each count on the other."""
    person = await session.scalar(select(Person).where(Person.id == person_id).with_for_update())
    app = 1 if person is not None and person.totp_enrolled_at is not None else 0
    if app + await passkeys.count(session, person_id) < 2:
        raise LastFactor("Add another passkey or an authenticator app first.")


async def remove_passkey(session: AsyncSession, person_id: PersonId, *, passkey_id: UUID, place: Place) -> str:
    """Forget one of a person's passkeys and tell them; the last factor stays. Gives its name."""
    await keep_a_factor(session, person_id)
    name = await passkeys.remove(session, person_id, passkey_id=passkey_id)
    await events.note(session, person_id, Happening.FACTOR_REMOVED, place, about=name)
    sentence = f"The passkey “{name}” was removed from your account and does not work any more."
    await events.tell(session, await queries.person(session, person_id), place, subject="A passkey was removed", sentence=sentence)
    return name


def _next_context(person_id: PersonId) -> str:
    return f"totp.next:{person_id}"


def new_app(person_id: PersonId) -> tuple[str, str]:
    """A secret for another authenticator app, in the clear and sealed; nothing is kept until a code of it comes back with the sealed one."""
    secret = new_totp_secret()
    return secret, seal(secret, _next_context(person_id))


def secret_of(person_id: PersonId, sealed: str) -> str:
    """The secret that this person was shown."""
    try:
        return unseal(sealed, _next_context(person_id))
    except SecretUnreadable:
        raise CodeRefused("Begin anew.", fields={"code": "Begin anew."}) from None


async def replace_app(session: AsyncSession, person_id: PersonId, *, sealed: str, code: str, place: Place) -> None:
    """Use another authenticator app from now on; the one before stops working, and the person is told."""
    secret = secret_of(person_id, sealed)
    step = totp_step(secret, code, now())
    # a shown secret can be confirmed once: the step it was confirmed with is newer than every step used before
    newer = update(Person).where(Person.id == person_id, Person.totp_last_step < (step or 0))
    kept = {"totp_secret": seal(secret, _totp_context(person_id)), "totp_enrolled_at": now(), "totp_last_step": step}
    if step is None or await session.scalar(newer.values(**kept).returning(Person.id)) is None:
        problem = "This code is wrong, too old, or was used already. Enter the next one."
        raise CodeRefused(problem, fields={"code": problem})
    await events.note(session, person_id, Happening.FACTOR_ADDED, place, about="Authenticator app")
    sentence = "Another authenticator app was set up for your account. The one before does not work any more."
    await events.tell(session, await queries.person(session, person_id), place, subject="A new authenticator app", sentence=sentence)


async def remove_app(session: AsyncSession, person_id: PersonId, *, place: Place) -> None:
    """Let the authenticator app not work any more; the last factor stays."""
    await keep_a_factor(session, person_id)
    await session.execute(update(Person).where(Person.id == person_id).values(totp_secret=None, totp_enrolled_at=None))
    await events.note(session, person_id, Happening.FACTOR_REMOVED, place, about="Authenticator app")
    sentence = "The authenticator app was removed from your account and does not work any more."
    await events.tell(
        session, await queries.person(session, person_id), place, subject="An authenticator app was removed", sentence=sentence
    )


async def reset_factors(session: AsyncSession, person_id: PersonId, *, place: Place, why: str) -> None:
    """Take all second factors and sessions of a person away; the next sign-in, by password, sets up a new factor before anything opens."""
    await session.execute(update(Person).where(Person.id == person_id).values(totp_secret=None, totp_enrolled_at=None))
    await session.execute(delete(Passkey).where(Passkey.person_id == person_id))
    await session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person_id))
    await sessions.end_all_sessions(session, person_id=person_id)
    await events.note(session, person_id, Happening.FACTORS_RESET, place, about=why)
    sentence = "Your second factors were reset by your team. At your next sign-in you set up a new one."
    await events.tell(session, await queries.person(session, person_id), place, subject="Your second factors were reset", sentence=sentence)


async def choose_theme(session: AsyncSession, person_id: PersonId, theme: Theme) -> None:
    """Remember whether the person likes it light or dark."""
    await session.execute(update(Person).where(Person.id == person_id).values(theme=theme))


async def choose_density(session: AsyncSession, person_id: PersonId, density: Density) -> None:
    """Remember how much air the person wants between rows."""
    await session.execute(update(Person).where(Person.id == person_id).values(density=density))
