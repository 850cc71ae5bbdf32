"""The chain by the clock: every merchant in a transaction of its own."""

from datetime import timedelta

from app.core import rounds
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.tenancy.audit import service
from app.tenancy.audit.domain import EVER, LOOK_BACK

NIGHTLY = "Nightly audit check"


async def seal_due(*, back: timedelta = LOOK_BACK) -> int:
    """Chain what was written since the last round; returns how many blocks were made."""
    async with unit_of_work(None) as session:
        due = await service.merchants_to_seal(session, back=back)
    return await rounds.each(due, lambda merchant_id: _seal(merchant_id, back))


async def _seal(merchant_id: MerchantId, back: timedelta) -> int:
    made = 0
    while True:
        async with unit_of_work(merchant_id) as session:
            block = await service.seal(session, merchant_id=merchant_id, back=back)
        if block is None:
            return made
        made += 1


async def check_all() -> int:
    """Chain whatever is left, however old, and compare every trail with its chain; returns how many were compared."""
    await seal_due(back=EVER)
    async with unit_of_work(None) as session:
        due = await service.merchants_with_chains(session)
    return await rounds.each(due, check_one)


async def check_one(merchant_id: MerchantId, *, asked_by: str = NIGHTLY) -> int:
    """Chain what is new at one merchant and compare its whole trail with the chain."""
    await _seal(merchant_id, LOOK_BACK)
    async with unit_of_work(merchant_id) as session:
        await service.check(session, Actor.worker(merchant_id, asked_by))
    return 1
