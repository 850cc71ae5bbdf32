"""Recording a PSP's answer to the request at hand in one server-side call, with the answer that the request gets.

The plain case only: the payment is as the request left it when it asked the PSP. If a webhook, another operation or the clock was faster, nothing is
written, and the caller takes the long way (app.payments.records). Both record what app.payments.steps says. What several requests record at the same
moment travels together (app.core.gathering). Source: migrations/sql/payments_operate.sql.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from psycopg import errors as postgres
from sqlalchemy import text

from app.core import db
from app.core.actors import Actor
from app.core.db import changed
from app.core.gathering import Gathering
from app.core.ids import MerchantId, SellerId, new_id
from app.ledger import service as ledger
from app.ledger.domain import Posting
from app.payments.attempts import service as attempts
from app.payments.domain import PAYMENT, OperationStatus, PaymentStatus, Share
from app.payments.hot import service as hot
from app.payments.models import Payment, PaymentAttempt, PaymentOperation, PaymentPart
from app.payments.operations.service import Held
from app.payments.postings import service as postings
from app.payments.steps import service as steps
from app.payments.steps.service import Step
from app.psp.domain import Result

_STEP = text("select payments_step(:merchant, cast(:steps as json), cast(:journal as json))")
_TAKE = text("select payments_take_asked(:merchant, cast(:seen as json), cast(:takings as json), cast(:journal as json), :default_days)")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What the PSP was asked about: the payment as the request left it, the attempt and, unless it is the payment itself, the operation."""

    held: Held
    attempt: PaymentAttempt
    operation: PaymentOperation | None = None

    def others(self) -> list[PaymentOperation]:
        """The payment's other operations."""
        return [each for each in self.held.operations if each is not self.operation]


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer makes of a payment, about to be recorded: the rows as they will stand, and what the database is told."""

    held: Held
    values: Mapping[str, object]
    entries: Sequence[Posting]


def stepped(actor: Actor, case: Case, step: Step, result: Result, moment: datetime) -> Recorded:
    """What follows from an answer that is not a taking."""
    before, operation = case.held.payment, case.operation
    status = before.status if step.event is None else PAYMENT.next(PaymentStatus(before.status), step.event)
    payment = changed(before, **step.changes, status=status, updated_at=moment)
    done = case.others()
    if operation is not None:
        operation = changed(operation, status=steps.status_of(operation, result), updated_at=moment)
        done.append(operation)
    values = (
        _payment_values(before, payment)
        | _attempt_values(case.attempt, result, moment)
        | _said(actor, case, payment, step, result)
        | {"operation": operation.id if operation else None, "operation_status": operation.status if operation else None}
    )
    held = Held(payment=payment, parts=case.held.parts, operations=done)
    return Recorded(held=held, values=values, entries=postings.postings_of(actor, payment, step.entries))


def _payment_values(before: Payment, payment: Payment) -> dict[str, object]:
    return {
        "payment": payment.id,
        "seen": before.updated_at,
        "at": payment.updated_at,
        "from_status": before.status,
        "to_status": payment.status,
        "authorised": payment.authorised_minor,
        "capture_reserved": payment.capture_reserved_minor,
        "refunded": payment.refunded_minor,
        "rest_released": payment.rest_released,
        "expires": payment.expires_at,
        "provider_reference": payment.provider_reference,
        "method": [payment.method_kind, payment.method_brand, payment.last4, payment.method_expiry, payment.method_fingerprint],
        "failure_code": payment.failure_code,
        "failure_message": payment.failure_message,
        "redirect_url": payment.redirect_url,
    }


def _attempt_values(attempt: PaymentAttempt, result: Result, moment: datetime) -> dict[str, object]:
    values = attempts.answered(attempt, result, moment)
    return {
        "attempt": attempt.id,
        "outcome": values["outcome"],
        "reference": values["provider_reference"],
        "code": values["code"],
        "network_code": values["network_code"],
        "message": values["message"],
        "evidence": values["evidence"],
        "latency": values["latency_ms"],
        "ask": values["next_ask_at"],
        "finished": values["finished_at"],
    }


def _said(actor: Actor, case: Case, payment: Payment, step: Step, result: Result) -> dict[str, object]:
    order = {"order_id": payment.order_id, "captured": payment.captured_minor} if step.moves_order else {}
    return order | {
        "event": new_id(),
        "kind": step.kind,
        "amount": case.attempt.amount_minor,
        "details": steps.details_of(result),
        "actor_kind": actor.kind.value,
        "actor_name": actor.name,
        "outbox": new_id(),
        "topic": step.tells.topic if step.tells else None,
        "payload": hot.payload_of(payment, PaymentStatus(payment.status)),
    }


def taken(case: Case, taking: hot.Taking) -> Held:
    """The rows as they will stand after a capture that was asked for."""
    payment, operation, result = case.held.payment, case.operation, taking.result
    changes: dict[str, object] = {
        "status": taking.status,
        "updated_at": taking.moment,
        "captured_minor": payment.captured_minor + taking.amount.minor,
        "rest_released": payment.rest_released or taking.is_final,
        "expires_at": None if taking.is_final else payment.expires_at,
        "failure_code": None,
        "failure_message": None,
    }
    if result.method is not None:
        changes |= {"method_kind": result.method.kind, "method_brand": result.method.brand or payment.method_brand}
        changes |= {"last4": result.method.last4 or payment.last4, "method_expiry": result.method.expiry or payment.method_expiry}
    shares = {share.seller_id: share for share in taking.shares}
    done = case.others()
    if operation is not None:
        done.append(changed(operation, status=OperationStatus.SUCCEEDED, updated_at=taking.moment))
    return Held(
        payment=changed(payment, **changes),
        parts=[_paid(part, shares.get(SellerId(part.seller_id))) for part in case.held.parts],
        operations=done,
    )


def _paid(part: PaymentPart, share: Share | None) -> PaymentPart:
    if share is None:
        return part
    return changed(
        part, captured_minor=part.captured_minor + share.amount_minor, fee_captured_minor=part.fee_captured_minor + share.fee_minor
    )


async def record_step(actor: Actor, recorded: Recorded, *, finish: hot.Finish) -> bool:
    """Record what follows from an answer. False when the payment is no longer as the caller saw it; nothing is written then."""
    try:
        await _step(actor.merchant, hot.Sent(values={**recorded.values, **hot.finish_values(finish)}, entries=recorded.entries))
    except postgres.Error as error:
        return hot.moved(error)
    return True


async def record_taking(actor: Actor, taking: hot.Taking, *, finish: hot.Finish) -> bool:
    """Record what a capture brought. False when the payment is no longer as the caller saw it; nothing is written then."""
    seen = {"payment": taking.payment.id, "seen": taking.payment.updated_at}
    try:
        await _take(actor.merchant, (seen, hot.sent_of(actor, taking, finish)))
    except postgres.Error as error:
        return hot.moved(error)
    return True


async def _send_steps(merchant_id: MerchantId, sent: Sequence[hot.Sent]) -> Sequence[None]:
    journal = ledger.columns([entry for one in sent for entry in one.entries])
    await db.call(_STEP, {"merchant": merchant_id, "steps": _json([one.values for one in sent]), "journal": _json(journal)})
    return [None] * len(sent)


async def _send_takings(merchant_id: MerchantId, sent: Sequence[tuple[Mapping[str, object], hot.Sent]]) -> Sequence[None]:
    values = hot.parameters(merchant_id, [taking for _, taking in sent])
    await db.call(_TAKE, {**values, "seen": _json([seen for seen, _ in sent])})
    return [None] * len(sent)


_step = Gathering(_send_steps)
_take = Gathering(_send_takings)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
