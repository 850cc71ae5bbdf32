"""What the server-side calls for operations are told and say."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from app.core.ids import AttemptId, PaymentId
from app.payments.domain import Operation
from app.wallets.domain import PendingFunds


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What payments_ask is told of one operation; its fields are those of the type payment_ask."""

    key: str
    request: str
    lease: datetime
    payment: PaymentId
    seen: datetime
    standing: str
    connection: UUID
    attempt: AttemptId
    operation: UUID
    kind: Operation
    number: int
    amount: int
    split: Mapping[str, object]
    is_final: bool
    reason: str
    at: datetime
    ask: datetime | None
    event: UUID
    details: Mapping[str, str]
    trail: UUID
    before: Mapping[str, object]
    after: Mapping[str, object]
    actor_kind: str
    actor_id: UUID | None
    actor_name: str
    address: str | None
    factor_at: datetime | None
    request_id: str
    sellers: Sequence[UUID] = ()
    amounts: Sequence[int] = ()
    fees: Sequence[int] = ()
    funds: Sequence[UUID] = ()
    takes: Sequence[int] = ()


class ConnectionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The connection of a payment, with its sealed credentials."""

    id: UUID
    psp: str
    config: dict[str, str]
    credentials: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What payments_look says of one payment: rows as JSON."""

    payment: msgspec.Raw
    parts: list[msgspec.Raw]
    operations: list[msgspec.Raw]
    connection: ConnectionSeen
    funds: list[PendingFunds]
    approval_from: int | None
