"""Jobs of reports."""

from app.reports import flows
from workers.jobs import Message, job


@job
async def count_events(_message: Message) -> None:
    """Count what happened to payments into the figures of the start page and the reports."""
    await flows.count_all()
