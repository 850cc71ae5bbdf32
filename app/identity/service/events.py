"""What happens to a person's sign-in, written where it cannot be changed, and the mails that tell them."""

from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import mail
from app.core.clock import now
from app.core.ids import PersonId, new_id
from app.identity import queries
from app.identity.models import Person, PersonEvent
from app.web.letters import letter


class Happening(StrEnum):
    """What can happen, in the words of the account page's statuses."""

    SIGNED_IN = "signed_in"
    PASSWORD_REFUSED = "password_refused"  # noqa: S105 - the name of an event
    FACTOR_REFUSED = "factor_refused"
    NEW_DEVICE = "new_device"
    SIGNED_OUT = "signed_out"
    SIGNED_OUT_THERE = "signed_out_at_provider"
    PROVIDER_CONNECTED = "provider_connected"
    PROVIDER_DISCONNECTED = "provider_disconnected"
    SESSIONS_ENDED = "sessions_ended"
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    RECOVERY_CODE_USED = "recovery_code_used"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    PASSKEY_COPIED = "passkey_copied"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an event
    PASSWORD_RESET_ASKED = "password_reset_asked"  # noqa: S105 - the name of an event
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of an event
    FACTORS_RESET = "factors_reset"
    ACCOUNT_UNUSED = "account_unused"
    ACCOUNT_LET_IN = "account_let_in"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody acts from: network address, browser, and what that browser kept of an earlier sign-in."""

    address: str = ""
    user_agent: str = ""
    device: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is told by mail when something happened to their sign-in."""

    subject: str
    name: str
    sentence: str
    at: datetime
    device: str
    address: str


async def note(session: AsyncSession, person_id: PersonId, what: Happening, place: Place, *, about: str = "") -> None:
    """Write down what happened to a person's sign-in."""
    row = {"id": new_id(), "person_id": person_id, "at": now(), "what": what, "note": about[:200]}
    row |= {"address": place.address or None, "user_agent": place.user_agent[:300]}
    await session.execute(insert(PersonEvent).values(row))
    if what is Happening.SIGNED_IN:
        await session.execute(update(Person).where(Person.id == person_id).values(last_signed_in_at=row["at"]))


async def tell(session: AsyncSession, person: Person, place: Place, *, subject: str, sentence: str) -> None:
    """Tell a person by mail what happened, from where, and what to do if it was not them."""
    if mail.possible():
        device, address = queries.device(place.user_agent), place.address or "unknown"
        notice = Notice(subject=subject, name=person.name, sentence=sentence, at=now(), device=device, address=address)
        await mail.write(session, to=person.email, letter=letter("notice", notice))
