"""Jobs of the audit trail."""

from app.tenancy.audit import flows
from workers.jobs import Message, job


@job
async def seal(_message: Message) -> None:
    """Chain what was written, so that nobody can change it unseen."""
    await flows.seal_due()


@job
async def check_all(_message: Message) -> None:
    """Compare every trail with its chain."""
    await flows.check_all()


@job
async def check(message: Message) -> None:
    """Compare one merchant's trail with its chain, because somebody asked."""
    await flows.check_one(message.merchant, asked_by=message.payload["asked_by"])
