"""The two hot writes of payments, each one server-side call: starting a payment, and recording what was collected.

Python decides (shares, journal, next state), the database guards and writes. Both run either as a transaction of their own in one
round trip, or inside the caller's. Source: migrations/sql/payments_begin.sql and payments_take.sql.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from psycopg import errors as postgres
from sqlalchemy import TextClause, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import db, idempotency
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import AppError
from app.core.ids import AttemptId, CaptureId, ConnectionId, OrderId, PaymentId, new_id, public_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import Posting
from app.orders.domain import OrderNotFound, OrderNotPayable
from app.payments.domain import (
    ACTION_LASTS,
    PAYMENT,
    CaptureMode,
    NoConnection,
    Operation,
    OperationStatus,
    OrderHasPayment,
    PaymentStatus,
    Share,
    money_event,
    next_ask_at,
)
from app.payments.models import Payment, PaymentAttempt, PaymentOperation, PaymentPart
from app.payments.postings import service as postings
from app.psp.domain import ConnectionNotActive, ConnectionNotFound, Result
from app.psp.models import Connection
from app.wallets.domain import DEFAULT_AVAILABILITY_DAYS

Call = Callable[[TextClause, Mapping[str, object]], Awaitable[db.Record]]
"""Something that runs one statement and gives its row: ``core.db.call``, or a session's own."""

MOVED = "payment_moved"

_BEGIN = text(
    "select * from payment_begin(:merchant, :key, :request, :lease, :payment, :attempt, :order, :connection, :mode, :return_url, :actor_kind,"
    " :actor_name, :at, :expires, :ask, :event, :message, cast(:named as jsonb))"
)
_TAKE = text(
    "select payment_take(:merchant, :payment, :attempt, :operation, :at, :at_once, :from_status, :to_status, :captured_before, :amount, :is_final,"
    " cast(:sellers as uuid[]), cast(:amounts as bigint[]), cast(:fees as bigint[]), :psp_fee, :default_days, :provider_reference,"
    " cast(:method as text[]), :psp_message, cast(:evidence as jsonb), :latency, :actor_kind, :actor_name, :actor_id, :request_id, :event, :outbox,"
    " cast(:payload as jsonb), cast(:effective_on as date), cast(:kinds as text[]), cast(:event_keys as text[]), cast(:lines_of as int[]),"
    " cast(:codes as text[]), cast(:owner_types as text[]), cast(:owners as uuid[]), cast(:sides as smallint[]), cast(:line_amounts as bigint[]),"
    " cast(:clear_keys as text[]), :finish_key, cast(:finish_status as bigint), cast(:finish_body as bytea))"
)


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that was started: its rows as they stand in the database, and the connection to call."""

    payment: Payment
    attempt: PaymentAttempt
    parts: list[PaymentPart]
    connection: Connection


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The request that a result answers: its key, and the answer to keep."""

    key: str
    answer: idempotency.Answer


async def begin_payment(
    run: Call,
    actor: Actor,
    *,
    payment_id: PaymentId,
    order_id: OrderId,
    connection_id: ConnectionId | None,
    capture_mode: CaptureMode,
    return_url: str | None,
    key: str,
    request: bytes,
) -> Begun | idempotency.Claim:
    """Claim the key and start to collect the order. The buyer pays once, however many sellers there are; the plan for the split is fixed here."""
    idempotency.check_key(key)
    moment, attempt_id = now(), AttemptId(new_id())
    values = {
        "merchant": actor.merchant,
        "key": key,
        "request": request,
        "lease": moment + idempotency.LEASE,
        "payment": payment_id,
        "attempt": attempt_id,
        "order": order_id,
        "connection": connection_id,
        "mode": capture_mode.value,
        "return_url": return_url,
        "actor_kind": actor.kind.value,
        "actor_name": actor.name,
        "at": moment,
        "expires": moment + ACTION_LASTS,
        "ask": next_ask_at(0, moment),
        "event": new_id(),
        "message": new_id(),
        "named": _json({"payment_id": public_id("pay", payment_id), "order_id": public_id("ord", order_id)}),
    }
    try:
        row = await run(_BEGIN, values)
    except postgres.Error as error:
        raise _refusal(error) from error
    if row.claim != "new":
        return idempotency.held(key=key, claim=row.claim, status=row.status, body=row.body, resource_id=row.resource_id)
    return _begun(actor, row, values, return_url)


def _refusal(error: postgres.Error) -> Exception:
    refusals: dict[str, AppError] = {
        "payment_order": OrderNotFound("There is no order with this id for this merchant."),
        "payment_order_open": OrderNotPayable(f"The order is {error.diag.message_detail or 'not open'}; only an open order can be paid."),
        "payment_no_connection": NoConnection("Connect a PSP and enable it first, under Connections."),
        "payment_connection": ConnectionNotFound("There is no connection with this id for this merchant."),
        "payment_connection_active": ConnectionNotActive("Enable the connection first, or choose another one."),
        "uq_payment_one_live_per_order": OrderHasPayment(
            "Another payment of this order is under way or done. Void it or wait for it before trying again."
        ),
    }
    return refusals.get(error.diag.constraint_name or "", error)


def _begun(actor: Actor, row: db.Record, values: Mapping[str, object], return_url: str | None) -> Begun:
    merchant_id, moment = actor.merchant, values["at"]
    payment = Payment(
        merchant_id=merchant_id,
        id=values["payment"],
        order_id=values["order"],
        order_reference=row.order_reference,
        connection_id=row.connection_id,
        status=PaymentStatus.PROCESSING,
        capture_mode=values["mode"],
        currency=row.currency,
        amount_minor=row.amount_minor,
        **dict.fromkeys(_COUNTERS, 0),
        rest_released=False,
        return_url=return_url,
        buyer_name=row.buyer_name,
        buyer_email=row.buyer_email,
        created_by=actor.name,
        created_at=moment,
        updated_at=moment,
        expires_at=values["expires"],
    )
    attempt = PaymentAttempt(
        merchant_id=merchant_id,
        id=values["attempt"],
        payment_id=payment.id,
        connection_id=row.connection_id,
        operation="authorise",
        created_at=moment,
        amount_minor=row.amount_minor,
    )
    parts = [_part(payment, *part) for part in zip(row.sellers, row.amounts, row.fees, strict=True)]
    connection = Connection(merchant_id=merchant_id, id=row.connection_id, psp=row.psp, config=row.config, credentials=row.credentials)
    return Begun(payment=payment, attempt=attempt, parts=parts, connection=connection)


_COUNTERS = (
    "authorised_minor",
    "capture_reserved_minor",
    "captured_minor",
    "refund_reserved_minor",
    "refunded_minor",
    "psp_fee_minor",
    "platform_fee_minor",
)


def _part(payment: Payment, seller_id: UUID, amount: int, fee: int) -> PaymentPart:
    return PaymentPart(
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        seller_id=seller_id,
        amount_minor=amount,
        fee_minor=fee,
        captured_minor=0,
        fee_captured_minor=0,
        refunded_minor=0,
        fee_returned_minor=0,
    )


class Taking(msgspec.Struct, frozen=True, kw_only=True):
    """What a PSP collected: of which payment as the caller sees it, for whom, and what the answer said. ``at_once``: authorised and captured in one step."""

    payment: Payment
    attempt: PaymentAttempt
    operation_id: CaptureId
    amount: Money
    shares: Sequence[Share]
    released: Money
    is_final: bool
    at_once: bool
    result: Result
    moment: datetime

    @property
    def status(self) -> PaymentStatus:
        """The payment's state afterwards, by the table of states."""
        event = money_event(
            amount_minor=self.payment.amount_minor,
            captured_minor=self.payment.captured_minor + self.amount.minor,
            refunded_minor=self.payment.refunded_minor,
            rest_released=self.payment.rest_released or self.is_final,
        )
        return PAYMENT.next(PaymentStatus(self.payment.status), event)


async def take(run: Call, actor: Actor, taking: Taking, *, finish: Finish | None = None) -> bool:
    """Record what was collected, with everything that follows from it. False when the payment is no longer as the caller saw it; nothing is written then."""
    entries = postings.capture_entries(
        actor,
        payment=taking.payment,
        capture_id=taking.operation_id,
        shares=taking.shares,
        released=taking.released,
        psp_fee=taking.result.fee,
    )
    try:
        await run(_TAKE, {**_payment_values(actor, taking), **_ledger_values(entries), **_finish_values(finish)})
    except postgres.Error as error:
        if error.diag.constraint_name == MOVED:
            return False
        raise ledger.refusal_of(error) or error from error
    return True


def _payment_values(actor: Actor, taking: Taking) -> dict[str, object]:
    payment, result, status = taking.payment, taking.result, taking.status
    method = result.method
    return {
        "merchant": payment.merchant_id,
        "payment": payment.id,
        "attempt": taking.attempt.id,
        "operation": taking.operation_id,
        "at": taking.moment,
        "at_once": taking.at_once,
        "from_status": str(payment.status),
        "to_status": status.value,
        "captured_before": payment.captured_minor,
        "amount": taking.amount.minor,
        "is_final": taking.is_final,
        "sellers": [share.seller_id for share in taking.shares],
        "amounts": [share.amount_minor for share in taking.shares],
        "fees": [share.fee_minor for share in taking.shares],
        "psp_fee": result.fee.minor if result.fee else 0,
        "default_days": DEFAULT_AVAILABILITY_DAYS,
        "provider_reference": result.provider_reference,
        "method": None if method is None else [method.kind, method.brand, method.last4, method.expiry, method.fingerprint],
        "psp_message": result.message,
        "evidence": _json(result.evidence),
        "latency": result.latency_ms,
        "actor_kind": actor.kind.value,
        "actor_name": actor.name,
        "actor_id": actor.id,
        "request_id": actor.request_id or None,
        "event": new_id(),
        "outbox": new_id(),
        "payload": _json(_payload(payment, status)),
    }


def _payload(payment: Payment, status: PaymentStatus) -> dict[str, object]:
    return {
        "payment_id": public_id("pay", payment.id),
        "order_id": public_id("ord", payment.order_id),
        "status": status.value,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }


def _ledger_values(entries: Sequence[Posting]) -> dict[str, object]:
    columns = ledger.columns(entries)
    columns["line_amounts"] = columns.pop("amounts")
    columns.pop("currencies")
    return columns | {
        "effective_on": entries[0].effective_on,
        "kinds": [str(entry.kind) for entry in entries],
        "event_keys": [entry.event_key for entry in entries],
    }


def _finish_values(finish: Finish | None) -> dict[str, object]:
    if finish is None:
        return {"finish_key": None, "finish_status": None, "finish_body": None}
    return {"finish_key": finish.key, "finish_status": finish.answer.status, "finish_body": finish.answer.body}


def after(begun: Begun, taking: Taking) -> tuple[Payment, list[PaymentPart], list[PaymentOperation]]:
    """The rows as they stand after a taking at once, without reading them back; the given ones stay as they are."""
    payment, result = _copy(begun.payment), taking.result
    payment.status, payment.updated_at, payment.expires_at = taking.status, taking.moment, None
    payment.authorised_minor = payment.capture_reserved_minor = payment.captured_minor = taking.amount.minor
    payment.platform_fee_minor = sum(share.fee_minor for share in taking.shares)
    payment.psp_fee_minor = result.fee.minor if result.fee else 0
    payment.provider_reference, payment.rest_released = result.provider_reference, True
    if result.method is not None:
        payment.method_kind, payment.method_brand, payment.last4 = result.method.kind, result.method.brand, result.method.last4
        payment.method_expiry, payment.method_fingerprint = result.method.expiry, result.method.fingerprint
    parts = [_copy(part) for part in begun.parts]
    for part in parts:
        part.captured_minor, part.fee_captured_minor = part.amount_minor, part.fee_minor
    operation = PaymentOperation(
        merchant_id=payment.merchant_id,
        id=taking.operation_id,
        payment_id=payment.id,
        attempt_id=taking.attempt.id,
        kind=Operation.CAPTURE,
        number=1,
        status=OperationStatus.SUCCEEDED,
        amount_minor=taking.amount.minor,
        split={},
        is_final=True,
        reason="",
        created_by=begun.payment.created_by,
        created_at=taking.moment,
        updated_at=taking.moment,
    )
    return payment, parts, [operation]


Row = TypeVar("Row", Payment, PaymentPart)


def _copy(row: Row) -> Row:
    return type(row)(**{column.key: getattr(row, column.key) for column in inspect(type(row)).columns})


def in_session(session: AsyncSession) -> Call:
    """Run a hot write inside a transaction that is open already."""

    async def run(statement: TextClause, values: Mapping[str, object]) -> db.Record:
        try:
            return (await session.execute(statement, values)).first()
        except DBAPIError as error:
            if isinstance(error.orig, postgres.Error):
                raise error.orig from error
            raise

    return run


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
