"""Jobs of identity."""

from app.identity import flows
from workers.jobs import Message, job


@job
async def tidy(_message: Message) -> None:
    """Forget ended sessions, old waits and closed windows of the rate limits."""
    await flows.tidy()
