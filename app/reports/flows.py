"""Counting figures across merchants."""

from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.reports import service

MOST_STRETCHES = 40


async def count_all() -> int:
    """Count what is new of every merchant, one stretch per transaction; returns how many stretches."""
    async with unit_of_work(None) as session:
        due = await service.merchants_to_count(session)
    return sum([await count_merchant(merchant_id) for merchant_id in due])


async def count_merchant(merchant_id: MerchantId) -> int:
    """Count what is new of one merchant; a very long history is continued at the next call."""
    for done in range(MOST_STRETCHES):
        async with unit_of_work(merchant_id) as session:
            more = await service.count_events(session, merchant_id=merchant_id)
        if not more:
            return done
    return MOST_STRETCHES


async def count_again(merchant_id: MerchantId) -> int:
    """Throw a merchant's figures away and count them from the first event."""
    async with unit_of_work(merchant_id) as session:
        await service.forget_figures(session, merchant_id=merchant_id)
    return await count_merchant(merchant_id)
