"""A payment beside its order, on the buyer's way back, and among what a search finds."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from app.core.ids import public_id
from app.core.money import Money
from app.payments.domain import TAKEN, UNDECIDED, PaymentStatus
from app.payments.models import Payment, PaymentEvent
from app.payments.schemas.timeline import Step, steps


class OrderPayment(msgspec.Struct, frozen=True, kw_only=True):
    """One payment of an order."""

    id: str
    status: str
    amount: Money
    captured: Money
    refunded: Money
    method: str | None
    last4: str | None
    created_at: datetime


class OrderPaymentsPage(msgspec.Struct, frozen=True, kw_only=True):
    """The payments of one order, and what happened to them."""

    order: str
    rows: list[OrderPayment]
    steps: list[Step]


def order_payments(order: str, payments: Sequence[Payment], events: Sequence[PaymentEvent]) -> OrderPaymentsPage:
    """Show the payments of an order, newest first, with one timeline for all of them."""
    happened = [step for payment in payments for step in steps(payment, [e for e in events if e.payment_id == payment.id], [], [])]
    return OrderPaymentsPage(
        order=order, rows=[_row(payment) for payment in payments], steps=sorted(happened, key=lambda step: step.at, reverse=True)
    )


def _row(payment: Payment) -> OrderPayment:
    currency = payment.currency
    return OrderPayment(
        id=public_id("pay", payment.id),
        status=payment.status,
        amount=Money(payment.amount_minor, currency),
        captured=Money(payment.captured_minor, currency),
        refunded=Money(payment.refunded_minor, currency),
        method=payment.method_brand or payment.method_kind,
        last4=payment.last4,
        created_at=payment.created_at,
    )


class ReturnPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a buyer sees who comes back from the PSP: how it went, nothing of the merchant's."""

    path: str
    amount: Money
    icon: str
    tone: str
    title: str
    text: str
    waits: bool


def return_page(payment: Payment, path: str) -> ReturnPage:
    """The payment in the buyer's words."""
    status = PaymentStatus(payment.status)
    icon, tone, title, text = _for_buyer(status)
    amount = Money(payment.amount_minor, payment.currency)
    return ReturnPage(path=path, amount=amount, icon=icon, tone=tone, title=title, text=text, waits=status in UNDECIDED)


def _for_buyer(status: PaymentStatus) -> tuple[str, str, str, str]:
    if status in TAKEN or status is PaymentStatus.AUTHORISED:
        return "check", "ok", "Thank you, your payment was received", "You can close this page."
    if status is PaymentStatus.FAILED:
        return "x", "bad", "The payment did not go through", "Nothing was taken. Go back to the shop and try again, or pay another way."
    if status is PaymentStatus.REQUIRES_ACTION:
        return "clock", "info", "The payment is not finished", "Go back to the payment page to finish it. Nothing was taken so far."
    if status in UNDECIDED:
        return "clock", "info", "We are waiting for your bank", "This page looks again by itself. Please do not pay a second time."
    return "ban", "mut", "This payment is closed", "Nothing more will be taken. The shop can tell you how it stands."


class GoPage(msgspec.Struct, frozen=True, kw_only=True):
    """The way to the PSP's page, for browsers that do not follow by themselves."""

    payment: str
    url: str
    amount: Money


class CancelForm(msgspec.Struct, kw_only=True):
    """Why an order is cancelled."""

    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""
    idempotency_key: Annotated[str, msgspec.Meta(max_length=200)] = ""


class CancelPage(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to cancel an order, before it happens."""

    order: str
    reference: str
    rows: list[tuple[str, str]]
    total: tuple[str, str] | None
    text: str
    button: str

    @property
    def path(self) -> str:
        """The order's page."""
        return f"/orders/{self.order}"


def cancel_page(order: str, reference: str, *, released: Money, refunded: Money, shares: Sequence[tuple[str, Money]]) -> CancelPage:
    """What cancelling means, in words: what is released, what is refunded and who gives it back."""
    rows = [("Released on the buyer’s card", released.format())] if released.is_positive else []
    rows += [(f"From {name}", (-share).format()) for name, share in shares]
    refunds = refunded.is_positive
    text = (
        "The sellers give back what they received, with our fee in it."
        if refunds
        else "It can then no longer be paid. Nothing was taken from the buyer."
    )
    return CancelPage(
        order=order,
        reference=reference,
        rows=rows,
        total=("Back to the buyer", refunded.format()) if refunds else None,
        text=text,
        button=f"Cancel and refund {refunded.format()}" if refunds else "Cancel the order",
    )


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a search found."""

    icon: str
    label: str
    detail: str
    href: str


class SearchPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found."""

    query: str
    found: list[Found]
