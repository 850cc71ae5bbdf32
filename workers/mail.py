"""Jobs of mail."""

from app.core import mail
from workers.jobs import Message, job


@job
async def send_due(_message: Message) -> None:
    """Send the mails whose time has come."""
    await mail.send_due()
