"""Jobs of tenancy."""

from app.tenancy.resets import flows
from workers.jobs import Message, job


@job
async def finish_resets(_message: Message) -> None:
    """Do the resets of second factors that were approved a day ago."""
    await flows.finish_due()
