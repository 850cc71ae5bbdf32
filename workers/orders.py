"""Jobs of orders."""

from app.orders import flows
from workers.jobs import Message, job


@job
async def expire_due(_message: Message) -> None:
    """Close open orders whose time has passed."""
    await flows.expire_due()
