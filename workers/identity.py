"""Jobs of identity."""

from app.identity import flows
from app.identity.flows import resets
from app.identity.service.events import Place
from workers.jobs import Message, job


@job
async def tidy(_message: Message) -> None:
    """Forget ended sessions, old waits and closed windows of the rate limits."""
    await flows.tidy()


@job
async def note_wrong_password(message: Message) -> None:
    """Write down a wrong password where there is a person who was meant."""
    place = Place(address=message.payload["address"], user_agent=message.payload["user_agent"])
    await flows.note_wrong_password(email=message.payload["email"], place=place)


@job
async def send_password_reset(message: Message) -> None:
    """Write the mail with a link for a new password, should there be such a person."""
    place = Place(address=message.payload["address"], user_agent=message.payload["user_agent"])
    await resets.send(email=message.payload["email"], place=place)
