"""Jobs of approvals."""

from app.approvals import flows
from workers.jobs import Message, job


@job
async def expire_due(_message: Message) -> None:
    """End the requests for approval that nobody decided about in time."""
    await flows.expire_due()
