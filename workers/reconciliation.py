"""Jobs of reconciliation."""

from app.reconciliation import flows
from workers.jobs import Message, job


@job
async def compare_all(_message: Message) -> None:
    """Compare everything of every merchant, and prove that the books hold."""
    await flows.compare_all()


@job
async def take_file(message: Message) -> None:
    """Read a file that arrived and compare everything with it."""
    if message.object_id is not None:
        await flows.take_file(merchant_id=message.merchant, arrival_id=message.object_id)
