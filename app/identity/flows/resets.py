"""A forgotten password: asked for, answered by mail, replaced. None of the steps says whether there is such a person."""

import structlog

from app.core import mail, outbox
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.identity import queries, service
from app.identity.domain import PasswordResetAsked, check_email, normalised
from app.identity.flows import tries
from app.identity.service import events, resets
from app.identity.service.events import Happening, Place
from app.web import sessions
from app.web.letters import address, letter

log = structlog.get_logger()


async def ask(*, email: str, place: Place) -> None:
    """Let a mail be written, should there be such a person; whoever asks waits the same time and reads the same words."""
    email = check_email(email)
    await tries.take(f"reset:{normalised(email)}", at=service.address_tries(place.address, normalised(email)))
    async with unit_of_work(None) as session:
        asked = PasswordResetAsked(email=email, address=place.address, user_agent=place.user_agent[:300])
        await outbox.publish(session, merchant_id=None, event=asked)


async def send(*, email: str, place: Place) -> None:
    """Write the mail with the link."""
    async with unit_of_work(None) as session:
        person = await queries.someone(session, email)
        if person is None or not mail.possible():
            return
        key = await resets.begin(session, PersonId(person.id))
        await events.note(session, PersonId(person.id), Happening.PASSWORD_RESET_ASKED, place)
        page = {"name": person.name, "link": address(f"/reset?key={key}"), "place": place}
        await mail.write(session, to=person.email, letter=letter("password_reset", page))


async def reset_password(*, key: str, password: str, place: Place) -> None:
    """Give the person whose link this is a new password; every session ends, and the second factor stays what it was."""
    shared = service.address_tries(place.address, "a link")
    await tries.take(at=shared)
    async with unit_of_work(None) as session:
        person = await resets.use(session, key)
        person_id = PersonId(person.id)
        await service.change_password(session, person_id, password=password)
        await resets.forget(session, person_id)
        await sessions.end_all_sessions(session, person_id=person_id)
        await service.give_back_tries(session, service.tries_key(person.email, ""))
        await service.pay_back(session, shared)
        await service.pay_back(session, service.address_tries(place.address, person.email_lc))
        await events.note(session, person_id, Happening.PASSWORD_RESET, place)
        sentence = "Your password was replaced by the link in a mail, and all your sessions have ended. Your second factor is unchanged."
        await events.tell(session, person, place, subject="Your password was replaced", sentence=sentence)
    log.warning("password_reset", person=str(person_id), address=place.address)
