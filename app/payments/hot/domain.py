"""What the server-side calls for payments are told."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from app.core.ids import AttemptId, ConnectionId, OrderId, PaymentId
from app.payments.domain import CaptureMode


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What payments_begin is told of one payment; its fields are those of the type payment_wish."""

    key: str
    request: str
    lease: datetime
    payment: PaymentId
    attempt: AttemptId
    order_id: OrderId
    connection: ConnectionId | None
    mode: CaptureMode
    return_url: str | None
    actor_kind: str
    actor_name: str
    at: datetime
    expires: datetime
    ask: datetime | None
    event: UUID
    message: UUID
    named: Mapping[str, str]
    actor_id: UUID | None
    address: str | None
    factor_at: datetime | None
    request_id: str
