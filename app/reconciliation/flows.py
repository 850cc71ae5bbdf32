"""Reconciliation by the clock: every merchant is compared and proven, one transaction each."""

import structlog

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import AttemptId, MerchantId
from app.payments import flows as payments
from app.reconciliation import service
from app.reconciliation.breaks import queries as breaks
from app.reconciliation.invariants import service as invariants
from app.reconciliation.runs import service as runs

log = structlog.get_logger()
NIGHTLY = "Nightly reconciliation"


async def compare_all() -> int:
    """Compare every merchant that has sources; returns how many there were."""
    async with unit_of_work(None) as session:
        due = await service.merchants_due(session, moment=now())
    for merchant_id in due:
        await compare_one(merchant_id)
    return len(due)


async def compare_one(merchant_id: MerchantId) -> None:
    """Compare one merchant, ask its providers about what only they know, then prove that its books hold."""
    actor = Actor.worker(merchant_id, NIGHTLY)
    async with unit_of_work(merchant_id) as session:
        await runs.compare(session, actor)
        undecided = await breaks.undecided_attempts(session, merchant_id=merchant_id)
    if await _ask(merchant_id, undecided):
        async with unit_of_work(merchant_id) as session:
            await runs.compare(session, actor)
    async with unit_of_work(merchant_id) as session:
        await invariants.check(session, actor)


async def _ask(merchant_id: MerchantId, attempts: list[AttemptId]) -> int:
    """Ask the provider about what its file has and the books are not sure of; returns how often it was asked."""
    for attempt_id in attempts:
        try:
            await payments.ask(merchant_id=merchant_id, attempt_id=attempt_id)
        except Exception:
            log.exception("asking about a break failed; it stays open", attempt=str(attempt_id))
    return len(attempts)
