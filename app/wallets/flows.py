"""Wallets across merchants: making funds available when their day has come."""

from app.core.clock import now
from app.core.db import unit_of_work
from app.wallets import service


async def release_due() -> int:
    """Make all funds available whose day has come, of every merchant, one transaction each; returns how many."""
    async with unit_of_work(None) as session:
        due = await service.due_releases(session, moment=now())
    released = 0
    for merchant_id, release_id in due:
        async with unit_of_work(merchant_id) as session:
            released += await service.release_funds(session, merchant_id=merchant_id, release_id=release_id)
    return released
