"""Jobs of wallets."""

from app.wallets import flows
from workers.jobs import Message, job


@job
async def release_due(_message: Message) -> None:
    """Make funds available whose day has come."""
    await flows.release_due()
