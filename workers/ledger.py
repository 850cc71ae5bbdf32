"""Jobs of the ledger."""

from app.ledger import flows
from workers.jobs import Message, job


@job
async def roll_up(_message: Message) -> None:
    """Add what was posted to busy accounts to their balances."""
    await flows.roll_up_due()


@job
async def ensure_partitions(_message: Message) -> None:
    """Make room for the entries to come."""
    await flows.ensure_partitions()


@job
async def seal(_message: Message) -> None:
    """Seal what was posted, so that nobody can change it unseen."""
    await flows.seal_due()
