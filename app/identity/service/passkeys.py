"""Writes about passkeys: questions that are put once, keys that are kept, and answers that prove a person."""

from datetime import timedelta
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.core.clock import now
from app.core.ids import PersonId, new_id
from app.core.secrets import digest
from app.core.settings import settings
from app.identity.domain.passkeys import (
    MOST_PASSKEYS,
    PasskeyCopied,
    PasskeyNotFound,
    PasskeyRefused,
    TooManyPasskeys,
)
from app.identity.models import Passkey, PasskeyChallenge, Person

_LIFETIME = timedelta(minutes=5)
_AGAIN = "Begin anew: the question had expired, was answered already, or the answer is not right."


class _Sent(msgspec.Struct):
    clientDataJSON: str  # noqa: N815 - the browser's name


class _Answer(msgspec.Struct):
    id: str
    response: _Sent


class _Client(msgspec.Struct):
    challenge: str


def asker_of(person_id: PersonId) -> str:
    """The asker of questions to a known person."""
    return f"person:{person_id}"


def _relying_party() -> str:
    return urlsplit(settings().public_url).hostname or "localhost"


def _origin() -> str:
    parts = urlsplit(settings().public_url)
    return f"{parts.scheme}://{parts.netloc}"


async def _ask(session: AsyncSession, challenge: bytes, *, asker: str) -> None:
    row = {"digest": digest(bytes_to_base64url(challenge)), "asker": asker, "expires_at": now() + _LIFETIME}
    await session.execute(insert(PasskeyChallenge).values(**row))


async def _take_challenge(session: AsyncSession, answer: str, *, asker: str) -> bytes:
    """Use up the question that this answer answers; each can be answered once, by whom it was put to, for five minutes."""
    try:
        sent = msgspec.json.decode(answer, type=_Answer)
        challenge = msgspec.json.decode(base64url_to_bytes(sent.response.clientDataJSON), type=_Client).challenge
    except (msgspec.DecodeError, ValueError):
        raise PasskeyRefused(_AGAIN) from None
    mine = delete(PasskeyChallenge).where(PasskeyChallenge.digest == digest(challenge), PasskeyChallenge.asker == asker)
    if await session.scalar(mine.where(PasskeyChallenge.expires_at > now()).returning(PasskeyChallenge.asker)) is None:
        raise PasskeyRefused(_AGAIN)
    return base64url_to_bytes(challenge)


async def ask_new(session: AsyncSession, person: Person) -> str:
    """What a browser is told to make a new passkey for a person, as JSON."""
    known = await session.scalars(select(Passkey.credential_id).where(Passkey.person_id == person.id))
    options = generate_registration_options(
        rp_id=_relying_party(),
        rp_name="Countinghouse",
        user_id=person.id.bytes,
        user_name=person.email,
        user_display_name=person.name,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=bytes(key)) for key in known],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
    )
    await _ask(session, options.challenge, asker=asker_of(PersonId(person.id)))
    return options_to_json(options)


async def ask_anybody(session: AsyncSession, *, asker: str) -> str:
    """What a browser is told to sign in with a passkey it finds itself; the key must also make sure of its owner."""
    options = generate_authentication_options(rp_id=_relying_party(), user_verification=UserVerificationRequirement.REQUIRED)
    await _ask(session, options.challenge, asker=asker)
    return options_to_json(options)


async def ask_person(session: AsyncSession, person_id: PersonId) -> str:
    """What a browser is told to have a person show one of their keys as the second factor."""
    keys = await session.scalars(select(Passkey.credential_id).where(Passkey.person_id == person_id))
    options = generate_authentication_options(
        rp_id=_relying_party(),
        allow_credentials=[PublicKeyCredentialDescriptor(id=bytes(key)) for key in keys],
        user_verification=UserVerificationRequirement.DISCOURAGED,
    )
    await _ask(session, options.challenge, asker=asker_of(person_id))
    return options_to_json(options)


async def add(session: AsyncSession, person_id: PersonId, *, answer: str, name: str) -> Passkey:
    """Keep a new passkey of a person under a name."""
    challenge = await _take_challenge(session, answer, asker=asker_of(person_id))
    try:
        made = verify_registration_response(
            credential=answer, expected_challenge=challenge, expected_rp_id=_relying_party(), expected_origin=_origin()
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise PasskeyRefused(_AGAIN) from None
    # the person's row is the lock under which keys are counted, here and where one is removed
    await session.execute(select(Person.id).where(Person.id == person_id).with_for_update())
    if await count(session, person_id) >= MOST_PASSKEYS:
        raise TooManyPasskeys()
    if await session.scalar(select(Passkey.id).where(Passkey.credential_id == made.credential_id)) is not None:
        raise PasskeyRefused("This key is in use here already.")
    row = Passkey(
        id=new_id(),
        person_id=person_id,
        name=name,
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        counter=made.sign_count,
        created_at=now(),
        last_used_at=None,
    )
    session.add(row)
    await session.flush()
    return row


def _credential_id(answer: str) -> bytes:
    try:
        return base64url_to_bytes(msgspec.json.decode(answer, type=_Answer).id)
    except (msgspec.DecodeError, ValueError):
        raise PasskeyRefused(_AGAIN) from None


async def owner_of(session: AsyncSession, answer: str) -> PersonId:
    """Whose key gives this answer; the answer itself is not yet checked."""
    credential_id = _credential_id(answer)
    owner = select(Passkey.person_id).join(Person, Person.id == Passkey.person_id)
    found = await session.scalar(owner.where(Passkey.credential_id == credential_id, Person.status != "disabled"))
    if found is None:
        raise PasskeyRefused("This passkey is not known here. It may have been removed.")
    return PersonId(found)


async def use(session: AsyncSession, person_id: PersonId, *, answer: str, asker: str = "", verified: bool = False) -> Passkey:
    """Accept the answer of one of a person's keys. ``verified``: the key itself must have made sure of its owner."""
    challenge = await _take_challenge(session, answer, asker=asker or asker_of(person_id))
    credential_id = _credential_id(answer)
    mine = select(Passkey).where(Passkey.person_id == person_id, Passkey.credential_id == credential_id)
    key = await session.scalar(mine.with_for_update())
    if key is None:
        raise PasskeyRefused("This passkey is not one of yours.")
    try:
        shown = verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=_relying_party(),
            expected_origin=_origin(),
            credential_public_key=bytes(key.public_key),
            credential_current_sign_count=0,  # compared below, because a counter that went back is an alarm of its own
            require_user_verification=verified,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise PasskeyRefused(_AGAIN) from None
    if (key.counter or shown.new_sign_count) and shown.new_sign_count <= key.counter:
        raise PasskeyCopied("Its counter went back. Remove it, and sign in with another factor.")
    used = update(Passkey).where(Passkey.id == key.id).values(counter=shown.new_sign_count, last_used_at=now())
    await session.execute(used)
    return key


async def count(session: AsyncSession, person_id: PersonId) -> int:
    """How many passkeys a person has."""
    return await session.scalar(select(func.count()).where(Passkey.person_id == person_id)) or 0


async def remove(session: AsyncSession, person_id: PersonId, *, passkey_id: object) -> str:
    """Forget a passkey; gives its name. Whether another factor is left is for the caller to see to."""
    gone = delete(Passkey).where(Passkey.person_id == person_id, Passkey.id == passkey_id).returning(Passkey.name)
    name = await session.scalar(gone)
    if name is None:
        raise PasskeyNotFound()
    return name


async def forget_challenges(session: AsyncSession) -> None:
    """Forget questions that nobody answered."""
    await session.execute(delete(PasskeyChallenge).where(PasskeyChallenge.expires_at < now()))
