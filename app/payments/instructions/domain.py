"""A refund as others are asked to agree to it: everything that decides what happens, and nothing else. Pure."""

from collections.abc import Mapping
from uuid import UUID

from app.core.ids import PaymentId, SellerId
from app.core.money import Money

GIVEN_BACK = "conflict"
"""What is kept with a refund that gives back what was never a seller's: it touches no wallet."""


def refund_instruction(
    *, payment_id: PaymentId, amount: Money, split: Mapping[SellerId, int] | None, reason: str, keep_fee: bool
) -> dict[str, object]:
    """The refund as a document, the same for the same refund."""
    return {
        "payment": str(payment_id),
        "amount_minor": amount.minor,
        "currency": amount.currency,
        "split": {str(seller): minor for seller, minor in split.items()} if split else None,
        "reason": reason,
        "keep_fee": keep_fee,
    }


def split_of(instruction: Mapping[str, object]) -> dict[SellerId, int] | None:
    """The parts per seller of a refund that was asked for."""
    split = instruction["split"]
    return {SellerId(UUID(str(seller))): int(minor) for seller, minor in split.items()} if isinstance(split, dict) else None


def is_given_back(split: Mapping[str, object]) -> bool:
    """Whether a refund gives back what was never a seller's."""
    return GIVEN_BACK in split


def give_back_instruction(*, payment_id: PaymentId, amount: Money, reason: str) -> dict[str, object]:
    """The giving back as others are asked to agree to it."""
    told = refund_instruction(payment_id=payment_id, amount=amount, split=None, reason=reason, keep_fee=False)
    return told | {GIVEN_BACK: True}
