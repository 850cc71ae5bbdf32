"""Orders: what a buyer owes at one checkout, with a line for each thing a seller delivers."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

import msgspec

from app.core.errors import Conflict, Invalid, NotFound
from app.core.events import Event
from app.core.ids import SellerId
from app.core.money import MAX_MINOR, Money
from app.core.state import Machine

MAX_LINES = 200
MAX_OPEN = timedelta(days=400)


class OrderStatus(StrEnum):
    OPEN = "open"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


S = OrderStatus
OVER = (S.CANCELLED, S.EXPIRED)
COLLECTED = (S.PARTIALLY_PAID, S.PAID, S.PARTIALLY_REFUNDED, S.REFUNDED)

ORDER = Machine(
    "order",
    states=OrderStatus,
    initial=S.OPEN,
    transitions={
        # money that came in while the order was being cancelled, or after its time, came in all the same: a person gives it back
        "collect_part": ((S.OPEN, *OVER, *COLLECTED), S.PARTIALLY_PAID),
        "collect_all": ((S.OPEN, *OVER, *COLLECTED), S.PAID),
        "refund_part": (COLLECTED, S.PARTIALLY_REFUNDED),
        "refund_all": (COLLECTED, S.REFUNDED),
        "cancel": ((S.OPEN,), S.CANCELLED),
        "expire": ((S.OPEN,), S.EXPIRED),
    },
)


class OrderNotFound(NotFound):
    """The order does not exist, or belongs to another merchant."""

    code = "order_not_found"
    title = "There is no such order"


class OrderReferenceTaken(Conflict):
    """Your own reference names another order already."""

    code = "order_reference_taken"
    title = "Another order has this reference"


class OrderNotPayable(Conflict):
    """The order is paid, cancelled or expired."""

    code = "order_not_payable"
    title = "This order cannot be paid"


class OrderLinesInvalid(Invalid):
    """The lines of the order do not make an order."""

    code = "order_lines_invalid"
    title = "The lines of the order are not valid"


class OrderCreated(Event, frozen=True):
    """An order was created and waits for payment."""

    topic: ClassVar[str] = "order.created"
    order_id: str
    reference: str


class OrderCancelled(Event, frozen=True):
    """An order was cancelled before it was paid."""

    topic: ClassVar[str] = "order.cancelled"
    order_id: str


class NewLine(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a seller delivers, with the amount of the whole line."""

    seller_id: SellerId
    description: str
    amount: Money
    quantity: int = 1


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as somebody wants to create it."""

    reference: str
    currency: str
    lines: list[NewLine]
    buyer_name: str = ""
    buyer_email: str = ""
    description: str = ""
    details: Mapping[str, str] = {}
    expires_at: datetime | None = None


def check_expiry(expires_at: datetime | None, moment: datetime) -> None:
    """Refuse an order that would expire before it can be paid, or practically never."""
    if expires_at is not None and (expires_at.tzinfo is None or not moment < expires_at <= moment + MAX_OPEN):
        problem = f"Use a moment with its time zone, at most {MAX_OPEN.days} days from now."
        raise Invalid("The order would expire in the past, or practically never.", fields={"expires_at": problem})


def order_total(lines: list[NewLine], currency: str) -> Money:
    """What the buyer owes: the sum of the lines, all in the order's currency."""
    if not 1 <= len(lines) <= MAX_LINES:
        raise OrderLinesInvalid(f"An order has 1 to {MAX_LINES} lines.", fields={"lines": f"Send 1 to {MAX_LINES} lines."})
    for number, line in enumerate(lines):
        _check_line(line, f"lines[{number}]", currency)
    whole = sum(line.amount.minor for line in lines)
    if whole > MAX_MINOR:
        raise OrderLinesInvalid("The sum of the lines is too large.", fields={"lines": "The sum is too large."})
    return Money(whole, currency)


def _check_line(line: NewLine, where: str, currency: str) -> None:
    if line.amount.currency != currency:
        detail = f"The order is in {currency}, this line in {line.amount.currency}."
        raise OrderLinesInvalid(detail, fields={f"{where}.amount.currency": detail})
    if not line.amount.is_positive:
        detail = "The amount of a line is more than zero."
        raise OrderLinesInvalid(detail, fields={f"{where}.amount.minor": detail})
    if line.quantity < 1:
        detail = "The quantity is at least one."
        raise OrderLinesInvalid(detail, fields={f"{where}.quantity": detail})
