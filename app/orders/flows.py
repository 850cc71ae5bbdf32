"""Orders across merchants: closing those whose time has passed."""

from app.core import rounds
from app.core.db import unit_of_work
from app.core.ids import MerchantId, OrderId
from app.orders import service


async def expire_due() -> int:
    """Close every open order whose time has passed; returns how many."""
    async with unit_of_work(None) as session:
        due = await service.due_to_expire(session)
    return await rounds.each(due, _expire)


async def _expire(which: tuple[MerchantId, OrderId]) -> int:
    merchant_id, order_id = which
    async with unit_of_work(merchant_id) as session:
        return await service.expire_order(session, merchant_id=merchant_id, order_id=order_id)
