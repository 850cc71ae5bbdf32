"""Jobs of reconciliation."""

from app.reconciliation import flows
from workers.jobs import Message, job


@job
async def compare_all(_message: Message) -> None:
    """Compare everything of every merchant, and prove that the books hold."""
    await flows.compare_all()
