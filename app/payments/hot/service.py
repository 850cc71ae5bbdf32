"""The two hot writes of payments, each one server-side call: starting payments, and recording what was collected.

Python decides (shares, journals, next states), the database guards and writes. What several requests ask for at the same moment travels
together (app.core.gathering); recording can also happen inside the caller's transaction. Source: migrations/sql/payments_begin.sql and
payments_take.sql.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg import errors as postgres
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import db, idempotency
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import changed, known
from app.core.errors import AppError
from app.core.gathering import Gathering
from app.core.ids import AttemptId, CaptureId, ConnectionId, MerchantId, OrderId, PaymentId, new_id, public_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import Posting
from app.orders.domain import OrderNotFound, OrderNotPayable
from app.payments.domain import (
    ACTION_LASTS,
    PAYMENT,
    CaptureMode,
    NoConnection,
    NoRoute,
    Operation,
    OperationStatus,
    OrderHasPayment,
    PaymentStatus,
    Share,
    money_event,
    next_ask_at,
)
from app.payments.hot.domain import Wish
from app.payments.models import Payment, PaymentAttempt, PaymentOperation, PaymentPart
from app.payments.postings import service as postings
from app.psp.domain import ConnectionNotActive, ConnectionNotFound, Result
from app.psp.models import Connection
from app.wallets.domain import DEFAULT_AVAILABILITY_DAYS

MOVED = "payment_moved"

_BEGIN = text("select * from payments_begin(:merchant, cast(:wishes as json))")
_TAKE = text("select payments_take(:merchant, cast(:takings as json), cast(:journal as json), :default_days)")


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
    moment = now()
    wish = Wish(
        key=key,
        request=request.hex(),
        lease=moment + idempotency.LEASE,
        payment=payment_id,
        attempt=AttemptId(new_id()),
        order_id=order_id,
        connection=connection_id,
        mode=capture_mode,
        return_url=return_url,
        actor_kind=actor.kind.value,
        actor_name=actor.name,
        at=moment,
        expires=moment + ACTION_LASTS,
        ask=next_ask_at(0, moment),
        event=new_id(),
        message=new_id(),
        named={"payment_id": public_id("pay", payment_id), "order_id": public_id("ord", order_id)},
        actor_id=actor.id,
        address=actor.address,
        factor_at=actor.factor_at,
        request_id=actor.request_id,
    )
    try:
        row = await _begin(actor.merchant, wish)
    except postgres.Error as error:
        raise _refusal(error) from error
    if row.claim != "new":
        return idempotency.held(key=key, claim=row.claim, status=row.status, body=row.body, resource_id=row.resource_id)
    return _begun(actor, row, wish)


async def _send_wishes(merchant_id: MerchantId, wishes: Sequence[Wish]) -> list[db.Record]:
    rows = await db.call_all(_BEGIN, {"merchant": merchant_id, "wishes": _json(wishes)})
    found = {row.attempt: row for row in rows}
    return [found[wish.attempt] for wish in wishes]


_begin = Gathering(_send_wishes)


def _refusal(error: postgres.Error) -> Exception:
    refusals: dict[str, AppError] = {
        "payment_order": OrderNotFound("There is no order with this id for this merchant."),
        "payment_order_open": OrderNotPayable(f"The order is {error.diag.message_detail or 'not open'}; only an open order can be paid."),
        "payment_no_connection": NoConnection("Connect a PSP and enable it first, under Connections."),
        "payment_no_route": NoRoute(
            f"No connection that the rule “{error.diag.message_detail}” names takes payments. Enable one under Connections, or change the rules."
        ),
        "payment_connection": ConnectionNotFound("There is no connection with this id for this merchant."),
        "payment_connection_active": ConnectionNotActive("Enable the connection first, or choose another one."),
        "uq_payment_one_live_per_order": OrderHasPayment(
            "Another payment of this order is under way or done. Void it or wait for it before trying again."
        ),
    }
    return refusals.get(error.diag.constraint_name or "", error)


def _begun(actor: Actor, row: db.Record, wish: Wish) -> Begun:
    merchant_id = actor.merchant
    payment = known(
        Payment,
        merchant_id=merchant_id,
        id=wish.payment,
        order_id=wish.order_id,
        order_reference=row.order_reference,
        connection_id=row.connection_id,
        status=PaymentStatus.PROCESSING,
        capture_mode=wish.mode,
        currency=row.currency,
        amount_minor=row.amount_minor,
        **_NOTHING_YET,
        return_url=wish.return_url,
        buyer_name=row.buyer_name,
        buyer_email=row.buyer_email,
        created_by=actor.name,
        created_at=wish.at,
        updated_at=wish.at,
        expires_at=wish.expires,
    )
    attempt = known(
        PaymentAttempt,
        merchant_id=merchant_id,
        id=wish.attempt,
        payment_id=wish.payment,
        connection_id=row.connection_id,
        operation="authorise",
        outcome=None,
        provider_reference=None,
        created_at=wish.at,
        amount_minor=row.amount_minor,
    )
    parts = [_part(payment, *part) for part in zip(row.sellers, row.amounts, row.fees, strict=True)]
    connection = known(
        Connection, merchant_id=merchant_id, id=row.connection_id, psp=row.psp, config=row.config, credentials=row.credentials
    )
    return Begun(payment=payment, attempt=attempt, parts=parts, connection=connection)


_NOTHING_YET: dict[str, object] = {
    **dict.fromkeys(("authorised_minor", "capture_reserved_minor", "captured_minor", "refund_reserved_minor", "refunded_minor"), 0),
    **dict.fromkeys(("psp_fee_minor", "platform_fee_minor"), 0),
    **dict.fromkeys(("provider_reference", "failure_code", "failure_message", "redirect_url"), None),
    **dict.fromkeys(("method_kind", "method_brand", "last4", "method_expiry", "method_fingerprint"), None),
    "rest_released": False,
}


def _part(payment: Payment, seller_id: UUID, amount: int, fee: int) -> PaymentPart:
    counters = dict.fromkeys(("captured_minor", "fee_captured_minor", "refunded_minor", "fee_returned_minor"), 0)
    return known(
        PaymentPart,
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        seller_id=seller_id,
        amount_minor=amount,
        fee_minor=fee,
        **counters,
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


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What payments_take is told of one payment: the fields of the type payment_taking, and its journals."""

    values: Mapping[str, object]
    entries: Sequence[Posting]


async def take(actor: Actor, taking: Taking, *, finish: Finish | None = None) -> bool:
    """Record what was collected, with everything that follows from it. False when the payment is no longer as the caller saw it; nothing is written then."""
    try:
        await _take(actor.merchant, sent_of(actor, taking, finish))
    except postgres.Error as error:
        return moved(error)
    return True


async def take_within(session: AsyncSession, actor: Actor, taking: Taking) -> bool:
    """As ``take``, inside a transaction that is open already."""
    try:
        await session.execute(_TAKE, parameters(actor.merchant, [sent_of(actor, taking, None)]))
    except DBAPIError as error:
        if isinstance(error.orig, postgres.Error):
            return moved(error.orig)
        raise
    return True


async def _send_takings(merchant_id: MerchantId, sent: Sequence[Sent]) -> Sequence[None]:
    await db.call(_TAKE, parameters(merchant_id, sent))
    return [None] * len(sent)


_take = Gathering(_send_takings, beside=_begin)


def parameters(merchant_id: MerchantId, sent: Sequence[Sent]) -> dict[str, object]:
    """What payments_take is told of takings."""
    journal = ledger.columns([entry for one in sent for entry in one.entries])
    return {
        "merchant": merchant_id,
        "takings": _json([one.values for one in sent]),
        "journal": _json(journal),
        "default_days": DEFAULT_AVAILABILITY_DAYS,
    }


def moved(error: postgres.Error) -> bool:
    """Say that the payment moved, if that is what the database refused; anything else is raised."""
    if error.diag.constraint_name == MOVED:
        return False
    raise ledger.refusal_of(error) or error from error


def sent_of(actor: Actor, taking: Taking, finish: Finish | None) -> Sent:
    """One taking as payments_take is told of it."""
    entries = postings.capture_entries(
        actor,
        payment=taking.payment,
        capture_id=taking.operation_id,
        shares=taking.shares,
        released=taking.released,
        psp_fee=taking.result.fee,
    )
    return Sent(values=_values(actor, taking) | finish_values(finish), entries=entries)


def _values(actor: Actor, taking: Taking) -> dict[str, object]:
    payment, result, status = taking.payment, taking.result, taking.status
    method = result.method
    return {
        "payment": payment.id,
        "currency": payment.currency,
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
        "platform_fee": sum(share.fee_minor for share in taking.shares),
        "psp_fee": result.fee.minor if result.fee else 0,
        "provider_reference": result.provider_reference,
        "method": None if method is None else [method.kind, method.brand, method.last4, method.expiry, method.fingerprint],
        "message": result.message,
        "evidence": result.evidence,
        "latency": result.latency_ms,
        "actor_kind": actor.kind.value,
        "actor_name": actor.name,
        "event": new_id(),
        "outbox": new_id(),
        "payload": payload_of(payment, status),
    }


def payload_of(payment: Payment, status: PaymentStatus) -> dict[str, object]:
    """The payment as an event tells of it."""
    return {
        "payment_id": public_id("pay", payment.id),
        "order_id": public_id("ord", payment.order_id),
        "status": status.value,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }


def finish_values(finish: Finish | None) -> dict[str, object]:
    """The request that is answered, as the server-side calls are told of it."""
    if finish is None:
        return {}
    return {"finish_key": finish.key, "finish_status": finish.answer.status, "finish_body": finish.answer.body.decode()}


def after(begun: Begun, taking: Taking) -> tuple[Payment, list[PaymentPart], list[PaymentOperation]]:
    """The rows as they stand after a taking at once, without reading them back; the given ones stay as they are."""
    result = taking.result
    changes: dict[str, object] = {
        "status": taking.status,
        "updated_at": taking.moment,
        "expires_at": None,
        "rest_released": True,
        "provider_reference": result.provider_reference,
        "platform_fee_minor": sum(share.fee_minor for share in taking.shares),
        "psp_fee_minor": result.fee.minor if result.fee else 0,
        **dict.fromkeys(("authorised_minor", "capture_reserved_minor", "captured_minor"), taking.amount.minor),
    }
    if result.method is not None:
        changes |= {"method_kind": result.method.kind, "method_brand": result.method.brand, "last4": result.method.last4}
        changes |= {"method_expiry": result.method.expiry, "method_fingerprint": result.method.fingerprint}
    parts = [changed(part, captured_minor=part.amount_minor, fee_captured_minor=part.fee_minor) for part in begun.parts]
    return changed(begun.payment, **changes), parts, [_operation(begun, taking)]


def _operation(begun: Begun, taking: Taking) -> PaymentOperation:
    return known(
        PaymentOperation,
        merchant_id=begun.payment.merchant_id,
        id=taking.operation_id,
        payment_id=begun.payment.id,
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


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
