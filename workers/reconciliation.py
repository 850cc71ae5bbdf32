"""Jobs of reconciliation."""

from app.reconciliation import flows
from app.reconciliation.drops import flows as drops
from workers.jobs import Message, job


@job
async def compare_all(_message: Message) -> None:
    """Have everything of every merchant compared."""
    await flows.compare_all()


@job
async def compare_one(message: Message) -> None:
    """Compare everything of a merchant, and prove that its books hold."""
    await flows.compare_one(message.merchant)


@job
async def take_file(message: Message) -> None:
    """Read a file that arrived and compare everything with it."""
    if message.object_id is not None:
        await flows.take_file(merchant_id=message.merchant, arrival_id=message.object_id)


@job
async def fetch_due(_message: Message) -> None:
    """Look for new reports wherever the time has come."""
    await flows.fetch_due()


@job
async def fetch(message: Message) -> None:
    """Look for a source's new reports now."""
    if message.object_id is not None:
        await flows.fetch(merchant_id=message.merchant, feed_id=message.object_id)


@job
async def sweep_drops(_message: Message) -> None:
    """Take in what other programs moved into the drop folder."""
    await drops.sweep()
