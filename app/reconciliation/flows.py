"""Reconciliation by the clock: every merchant is compared and proven, one transaction each."""

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.reconciliation import service
from app.reconciliation.invariants import service as invariants
from app.reconciliation.runs import service as runs

NIGHTLY = "Nightly reconciliation"


async def compare_all() -> int:
    """Compare every merchant that has sources; returns how many there were."""
    async with unit_of_work(None) as session:
        due = await service.merchants_due(session, moment=now())
    for merchant_id in due:
        await compare_one(merchant_id)
    return len(due)


async def compare_one(merchant_id: MerchantId) -> None:
    """Compare one merchant, then prove that its books hold."""
    actor = Actor.worker(merchant_id, NIGHTLY)
    async with unit_of_work(merchant_id) as session:
        await runs.compare(session, actor)
    async with unit_of_work(merchant_id) as session:
        await invariants.check(session, actor)
