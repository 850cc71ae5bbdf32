"""Jobs of payments."""

from app.core.ids import PspEventId
from app.payments import flows
from workers.jobs import Message, job


@job
async def apply_psp_event(message: Message) -> None:
    """Apply a webhook that was verified and stored."""
    if message.object_id is not None:
        await flows.apply_psp_event(merchant_id=message.merchant, event_id=PspEventId(message.object_id))


@job
async def ask_due(_message: Message) -> None:
    """Ask PSPs about everything whose outcome is not known."""
    await flows.ask_due()


@job
async def expire_due(_message: Message) -> None:
    """Close payments that nobody finished in time."""
    await flows.expire_due()
