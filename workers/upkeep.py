"""Jobs that keep the house tidy."""

from datetime import timedelta

from app.core import jobs
from app.core.clock import now
from app.core.db import unit_of_work
from workers.jobs import Message, job

KEPT = timedelta(days=14)
"""Longer than a message can come late, so that a repeated one is still recognised."""


@job
async def forget_jobs(_message: Message) -> None:
    """Forget jobs that ended well long ago."""
    async with unit_of_work(None) as session:
        await jobs.forget_done(session, before=now() - KEPT)
