"""People who stayed away: shut out after a while, and let in again by their team. Password and factors stay what they were."""

from datetime import datetime

import msgspec
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import mail
from app.core.clock import now
from app.core.ids import PersonId
from app.identity import queries
from app.identity.domain import AccountUnused, PersonStatus
from app.identity.models import Person
from app.identity.service import events
from app.identity.service.events import Happening, Place
from app.web import sessions
from app.web.letters import letter

_SHUT = (
    "Your account is shut because nobody signed in with it for a long time. Ask an owner or admin of your team to let you in again,"
    " or whoever runs this installation."
)


class AbsenceLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is told when they are shut out or let in again."""

    subject: str
    name: str
    sentence: str


async def shut_out(session: AsyncSession, person_id: PersonId, *, before: datetime) -> bool:
    """Shut a person out who did not sign in since a moment, and tell them; gives whether it was so."""
    stale = update(Person).where(Person.id == person_id, Person.status == PersonStatus.ACTIVE, Person.last_signed_in_at < before)
    if await session.scalar(stale.values(status=PersonStatus.UNUSED).returning(Person.id)) is None:
        return False
    await sessions.end_all_sessions(session, person_id=person_id)
    days = (now() - before).days
    await events.note(session, person_id, Happening.ACCOUNT_UNUSED, Place(), about=f"By the house, after {days} days")
    sentence = f"Nobody signed in with your account for {days} days, so it was shut. An owner or admin of your team can let you in again."
    await _tell(session, person_id, subject="Your account was shut", sentence=sentence)
    return True


async def let_in(session: AsyncSession, person_id: PersonId, *, by: str) -> bool:
    """Let somebody in again who was shut out for staying away, and tell them; gives whether they were. Nobody else is let in by this."""
    shut = update(Person).where(Person.id == person_id, Person.status == PersonStatus.UNUSED)
    opened = shut.values(status=PersonStatus.ACTIVE, last_signed_in_at=now()).returning(Person.id)
    if await session.scalar(opened) is None:
        return False
    await events.note(session, person_id, Happening.ACCOUNT_LET_IN, Place(), about=by)
    sentence = f"{by} opened your account again. Sign in with your password and your second factor, as before."
    await _tell(session, person_id, subject="Your account is open again", sentence=sentence)
    return True


async def admit(session: AsyncSession, person: Person) -> None:
    """Refuse somebody who stayed away, once they have proven who they are; who has no team any more waits for nobody."""
    if person.status != PersonStatus.UNUSED:
        return
    if await queries.works_somewhere(session, person):
        raise AccountUnused(_SHUT)
    await let_in(session, PersonId(person.id), by="The house")


async def _tell(session: AsyncSession, person_id: PersonId, *, subject: str, sentence: str) -> None:
    if mail.possible():
        person = await queries.person(session, person_id)
        page = AbsenceLetter(subject=subject, name=person.name, sentence=sentence)
        await mail.write(session, to=person.email, letter=letter("absence", page))
