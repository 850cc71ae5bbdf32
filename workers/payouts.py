"""Jobs of payouts."""

from app.core.ids import PspEventId
from app.payouts import flows
from workers.jobs import Message, job


@job
async def send_due(_message: Message) -> None:
    """Send payouts whose time has come."""
    await flows.send_due()


@job
async def run_schedules(_message: Message) -> None:
    """Pay out sellers whose day has come."""
    await flows.run_schedules()


@job
async def ask_due(_message: Message) -> None:
    """Ask banks about every order on which their last word is missing."""
    await flows.ask_due()


@job
async def expire_due(_message: Message) -> None:
    """Close payouts nobody decided about, and end holds whose time is over."""
    await flows.expire_due()


@job
async def apply_psp_event(message: Message) -> None:
    """Apply what a bank told us about an order."""
    if message.object_id is not None:
        await flows.apply_psp_event(merchant_id=message.merchant, event_id=PspEventId(message.object_id))
