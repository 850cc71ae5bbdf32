"""Wallets across merchants: making funds available when their day has come."""

from uuid import UUID

from app.core import rounds
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.errors import AppError
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
    merchant_id, ids = some
    try:
        async with unit_of_work(merchant_id) as session:
            return await service.release_funds(session, merchant_id=merchant_id, release_ids=ids)
    except AppError:
        # the ledger refuses one of them (a frozen wallet, say), and with it all of this transaction: each by itself, then
        if len(ids) == 1:
            raise
        return await rounds.each([(merchant_id, [one]) for one in ids], _release)
