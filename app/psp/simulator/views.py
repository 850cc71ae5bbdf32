"""How the provider shows its objects on the wire."""

from datetime import UTC, datetime
from typing import Protocol

from app.psp.simulator.domain import Operation, Payment, PaymentStatus, Refusal, Transfer
from app.psp.simulator.store import Store

Json = dict[str, object]


class Desk(Protocol):
    """What a view needs to know of the running provider."""

    @property
    def store(self) -> Store: ...
    @property
    def base_url(self) -> str: ...


def view(desk: Desk, subject: Payment | Operation | Transfer) -> Json:
    """A payment, an operation or an order to a bank as JSON."""
    if isinstance(subject, Transfer):
        return _transfer(subject)
    return _payment(desk, subject) if isinstance(subject, Payment) else _operation(desk, subject)


def error(refusal: Refusal) -> Json:
    """A refusal as JSON."""
    return {"error": {"code": refusal.code, "message": refusal.message}}


def _payment(desk: Desk, payment: Payment) -> Json:
    shown: Json = {
        "id": payment.id,
        "object": "payment",
        "status": payment.status,
        "reference": payment.reference,
        "amount": payment.amount,
        "currency": payment.currency,
        "amount_captured": payment.amount_captured,
        "amount_refunded": payment.amount_refunded,
        "fee": payment.fee,
        "created_at": _iso(payment.created_at),
    }
    if payment.card is not None:
        shown["card"] = payment.card
    if payment.decline is not None and payment.status in (PaymentStatus.DECLINED, PaymentStatus.EXPIRED):
        shown["decline"] = payment.decline
    if payment.status is PaymentStatus.REQUIRES_ACTION:
        page = "pay" if payment.card is None else "challenge"
        shown["next_action"] = {"type": "redirect", "url": f"{desk.base_url}/{page}/{payment.id}"}
    return shown


def _operation(desk: Desk, operation: Operation) -> Json:
    shown: Json = {
        "id": operation.id,
        "object": operation.kind,
        "status": operation.status,
        "reference": operation.reference,
        "amount": operation.amount,
        "currency": operation.currency,
        "fee": operation.fee,
        "created_at": _iso(operation.created_at),
        "payment": _payment(desk, desk.store.payments[operation.payment]),
    }
    if operation.fails_with is not None:
        shown["failure"] = {"code": operation.fails_with}
    return shown


def _transfer(transfer: Transfer) -> Json:
    shown: Json = {
        "id": transfer.id,
        "object": "payout",
        "status": transfer.status,
        "reference": transfer.reference,
        "amount": transfer.amount,
        "currency": transfer.currency,
        "creditor": transfer.creditor,
        "last4": transfer.number[-4:],
        "created_at": _iso(transfer.created_at),
    }
    if transfer.code is not None:
        shown["failure"] = {"code": transfer.code}
    return shown


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
