"""What the server-side call for orders is told."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from app.core.ids import OrderId, SellerId


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What orders_create is told of one order; its fields are those of the type order_wish."""

    key: str | None
    request: str
    lease: datetime
    status: int
    answer: Sequence[str]
    id: OrderId
    reference: str
    currency: str
    total: int
    buyer_name: str
    buyer_email: str
    buyer_email_lc: str
    description: str
    details: Mapping[str, str]
    at: datetime
    expires: datetime | None
    sellers: Sequence[SellerId]
    descriptions: Sequence[str]
    quantities: Sequence[int]
    amounts: Sequence[int]
    message: UUID
    payload: Mapping[str, str]
    trail: UUID
    actor_kind: str
    actor_id: UUID | None
    actor_name: str
    address: str | None
    factor_at: datetime | None
    request_id: str
