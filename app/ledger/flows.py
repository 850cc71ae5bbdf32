"""The ledger across merchants: the upkeep that nobody waits for."""

from app.core import rounds
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.ledger import service
from app.ledger.seals import service as seals


async def roll_up_due() -> int:
    """Add the outstanding amounts of busy accounts to their balances, one transaction a merchant; returns how many were added."""
    async with unit_of_work(None) as session:
        merchants = await service.books_to_roll_up(session)
    return await rounds.each(merchants, _roll_up)


async def _roll_up(merchant_id: MerchantId) -> int:
    async with unit_of_work(merchant_id) as session:
        return await service.roll_up(session, merchant_id=merchant_id)


async def ensure_partitions() -> int:
    """Make the partitions that entries will need; returns how many were made."""
    async with unit_of_work(None) as session:
        return await service.ensure_partitions(session)


async def seal_due() -> int:
    """Seal what is old enough in every book, one transaction a merchant; returns how many blocks were made."""
    async with unit_of_work(None) as session:
        merchants = await seals.books_to_seal(session, before=now() - seals.QUIET)
    made = 0
    for merchant_id in merchants:
        async with unit_of_work(merchant_id) as session:
            made += await seals.seal(session, merchant_id=merchant_id) is not None
    return made
