"""Orders across merchants: closing those whose time has passed."""

from app.core.db import unit_of_work
from app.orders import service


async def expire_due() -> int:
    """Close every open order whose time has passed; returns how many."""
    async with unit_of_work(None) as session:
        due = await service.due_to_expire(session)
    closed = 0
    for merchant_id, order_id in due:
        async with unit_of_work(merchant_id) as session:
            closed += await service.expire_order(session, merchant_id=merchant_id, order_id=order_id)
    return closed
