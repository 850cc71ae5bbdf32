"""Jobs of tenancy."""

from app.tenancy.members import flows as members
from app.tenancy.resets import flows
from workers.jobs import Message, job


@job
async def shut_out_unused(_message: Message) -> None:
    """Shut out people who did not sign in for a long time."""
    await members.shut_out_unused()


@job
async def finish_resets(_message: Message) -> None:
    """Do the resets of second factors that were approved a day ago."""
    await flows.finish_due()
