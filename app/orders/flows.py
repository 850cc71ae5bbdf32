"""Creating an order exactly once per key, and closing those of all merchants whose time has passed."""

import msgspec

from app.core import idempotency, rounds
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, OrderId
from app.orders import queries, service
from app.orders.domain import NewOrder
from app.orders.hot import service as hot

CREATED = 201


async def create_order(actor: Actor, *, order: NewOrder, key: str | None, request: bytes) -> hot.Answered:
    """Create an order; with a key the same request may be repeated, and gets the same answer byte for byte."""
    if key is not None:
        idempotency.check_key(key)
    return await hot.create_order(actor, order=order, key=key, request=request, status=CREATED) or await _create(actor, order, key, request)


async def _create(actor: Actor, order: NewOrder, key: str | None, request: bytes) -> hot.Answered:
    """The long way, which says precisely what is wrong with an order that cannot be created."""
    async with unit_of_work(actor.merchant) as session:
        if key is not None:
            claim = await idempotency.claim(session, merchant_id=actor.merchant, key=key, request=request)
            if claim.replay is not None:
                return hot.Answered(answer=claim.replay, replayed=True)
        made = await service.create_order(session, actor, **msgspec.structs.asdict(order))
        view = await queries.order_view(session, merchant_id=actor.merchant, order_id=OrderId(made.id))
        answer = idempotency.Answer(CREATED, msgspec.json.encode(view))
        if key is not None:
            await idempotency.finish(session, merchant_id=actor.merchant, key=key, answer=answer)
    return hot.Answered(answer=answer)


async def expire_due() -> int:
    """Close every open order whose time has passed; returns how many."""
    async with unit_of_work(None) as session:
        due = await service.due_to_expire(session)
    return await rounds.each(due, _expire)


async def _expire(which: tuple[MerchantId, OrderId]) -> int:
    merchant_id, order_id = which
    async with unit_of_work(merchant_id) as session:
        return await service.expire_order(session, merchant_id=merchant_id, order_id=order_id)
