"""Cancelling an order: what it takes, shown before it runs."""

from collections.abc import Sequence
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


class CancellationDeclined(Conflict):
    """The provider did not give the buyer's money back, or did not release it: the order stays as it is, and the detail says what to do. Under the same
    key the answer stays the same; another key asks the provider again."""

    code = "cancellation_declined"
    title = "The order is not cancelled"


class Declined(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a cancellation that the provider did not take."""

    step: Step
    amount: Money
    said: str

    @property
    def sentence(self) -> str:
        """What happened, and what to do about it."""
        because = f": {self.said.rstrip('.')}" if self.said else ""
        if self.step is Step.REFUND:
            return (
                f"The provider did not give back {self.amount.format()}{because}. The buyer has not been refunded."
                " Ask for the refund again on the page of the payment, or pay the buyer back another way."
            )
        return (
            f"The provider did not release {self.amount.format()}{because}."
            " Release it again on the page of the payment; otherwise it stays authorised until it expires."
        )


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the steps of a cancellation so far."""

    declined: Sequence[Declined] = ()
    waits: bool = False
