"""Approvals across merchants: ending the requests whose time has passed."""

from uuid import UUID

from app.approvals import service
from app.core import rounds
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId


async def expire_due() -> int:
    """End every request that nobody decided about in time; returns how many."""
    async with unit_of_work(None) as session:
        due = await service.due_to_expire(session)
    return await rounds.each(due, _expire)


async def _expire(which: tuple[MerchantId, UUID]) -> int:
    merchant_id, approval_id = which
    async with unit_of_work(merchant_id) as session:
        return await service.expire(session, Actor.worker(merchant_id, "Clock"), approval_id=approval_id)
