"""Cancelling an order: what it takes, shown before it runs."""

from enum import StrEnum

import msgspec

from app.core.errors import Conflict
from app.core.ids import PaymentId, SellerId
from app.core.money import Money


class Step(StrEnum):
    """What has to happen for an order to be cancelled."""

    CLOSE = "close"
    RELEASE = "release"
    REFUND = "refund"


class SellerShare(msgspec.Struct, frozen=True, kw_only=True):
    """What a seller gives back, with the platform fee in it."""

    seller_id: SellerId
    amount: Money


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How an order would be cancelled: what is released on the buyer's card, what is refunded, and what each seller gives back."""

    steps: list[Step]
    payment_id: PaymentId | None
    released: Money
    refunded: Money
    shares: list[SellerShare]


class OrderNotCancellable(Conflict):
    """The order is cancelled, refunded or expired already, or a payment of it is undecided."""

    code = "order_not_cancellable"
    title = "This order cannot be cancelled now"
