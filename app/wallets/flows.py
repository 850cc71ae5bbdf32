"""Wallets across merchants: making funds available when their day has come."""

from collections.abc import Sequence
from uuid import UUID

from app.core import rounds
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.wallets import service

MOST, AT_ONCE = 1000, 100
Some = tuple[MerchantId, list[UUID]]


async def release_due() -> int:
    """Make all funds available whose day has come, of every merchant, some in each transaction; returns how many."""
    moment, released = now(), 0
    while True:
        async with unit_of_work(None) as session:
            due = await service.due_releases(session, moment=moment, most=MOST)
        done = await rounds.each(rounds.together(sorted(due), AT_ONCE), _release)
        released += done
        if len(due) < MOST or not done:
            return released


async def _release(some: Some) -> int:
    merchant_id, due = some

    async def release(ids: Sequence[UUID]) -> int:
        async with unit_of_work(merchant_id) as session:
            return await service.release_funds(session, merchant_id=merchant_id, release_ids=ids)

    return await rounds.at_once(due, release)
