"""Creating an order is one server-side call, in which what several requests ask for at the same moment travels together (app.core.gathering).

The plain case only: what the call refuses, for whatever reason, leaves nothing behind, and is asked for again the long way, which says what is
wrong. Source: migrations/sql/orders_create.sql.
"""

from collections.abc import Sequence

import msgspec
from psycopg import errors as postgres
from sqlalchemy import text

from app.core import db, idempotency
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import known
from app.core.errors import Invalid
from app.core.gathering import Gathering
from app.core.ids import MerchantId, OrderId, new_id, public_id
from app.core.money import exponent
from app.orders import queries
from app.orders.domain import NewOrder, OrderCreated, OrderStatus, check_expiry, order_total
from app.orders.hot.domain import Wish
from app.orders.models import Order

_CREATE = text("select * from orders_create(:merchant, cast(:wishes as json))")


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request, kept byte for byte under its key."""

    answer: idempotency.Answer
    replayed: bool = False


async def create_order(actor: Actor, *, order: NewOrder, key: str | None, request: bytes, status: int) -> Answered | None:
    """Create an order and keep the answer, or repeat it. Nothing when there is anything to say against the order; nothing is written then."""
    try:
        row = await _create(actor.merchant, _wish(actor, order, key=key, request=request, status=status))
    except (Invalid, postgres.IntegrityError, postgres.DataError):
        return None
    if row.claim == "new":
        return Answered(answer=idempotency.Answer(row.status, bytes(row.body)))
    held = idempotency.held(key=key or "", claim=row.claim, status=row.status, body=row.body, resource_id=row.resource_id)
    return Answered(answer=held.replay, replayed=True) if held.replay is not None else None


async def _send(merchant_id: MerchantId, wishes: Sequence[Wish]) -> list[db.Record]:
    rows = await db.call_all(_CREATE, {"merchant": merchant_id, "wishes": msgspec.json.encode(wishes).decode()})
    found = {row.id: row for row in rows}
    return [found[wish.id] for wish in wishes]


_create = Gathering(_send)


def _wish(actor: Actor, order: NewOrder, *, key: str | None, request: bytes, status: int) -> Wish:
    row = _row(actor, order)
    event = OrderCreated(order_id=public_id("ord", row.id), reference=row.reference)
    return Wish(
        key=key,
        request=request.hex(),
        lease=row.created_at + idempotency.LEASE,
        status=status,
        answer=queries.answer_of(row, order.lines),
        id=OrderId(row.id),
        reference=row.reference,
        currency=row.currency,
        total=row.total_minor,
        buyer_name=row.buyer_name,
        buyer_email=row.buyer_email,
        buyer_email_lc=row.buyer_email_lc,
        description=row.description,
        details=row.details,
        at=row.created_at,
        expires=row.expires_at,
        sellers=[line.seller_id for line in order.lines],
        descriptions=[line.description for line in order.lines],
        quantities=[line.quantity for line in order.lines],
        amounts=[line.amount.minor for line in order.lines],
        message=new_id(),
        payload=msgspec.structs.asdict(event),
        trail=new_id(),
        actor_kind=actor.kind.value,
        actor_id=actor.id,
        actor_name=actor.name,
        address=actor.address,
        factor_at=actor.factor_at,
        request_id=actor.request_id,
    )


def _row(actor: Actor, order: NewOrder) -> Order:
    exponent(order.currency)
    total, moment = order_total(order.lines, order.currency), now()
    check_expiry(order.expires_at, moment)
    return known(
        Order,
        merchant_id=actor.merchant,
        id=new_id(),
        reference=order.reference,
        status=OrderStatus.OPEN,
        currency=order.currency,
        total_minor=total.minor,
        captured_minor=0,
        refunded_minor=0,
        buyer_name=order.buyer_name,
        buyer_email=order.buyer_email,
        buyer_email_lc=order.buyer_email.lower(),
        description=order.description,
        details=dict(order.details),
        created_at=moment,
        updated_at=moment,
        expires_at=order.expires_at,
    )
