"""Trying a capture, refund or release again that certainly did not happen. Pure."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from app.core.errors import Conflict, NotFound
from app.core.ids import PaymentId, SellerId
from app.core.money import Money
from app.payments.domain import Operation

PERMISSIONS = {Operation.CAPTURE: "payments.capture", Operation.REFUND: "payments.refund", Operation.VOID: "payments.void"}
"""What each kind of operation needs."""


class OperationNotFound(NotFound):
    """The capture, refund or release does not exist, or belongs to another merchant."""

    code = "operation_not_found"
    title = "There is no such operation"


class OperationNotRetryable(Conflict):
    """Only what certainly did not happen is tried again, and only as long as nobody tried it again already."""

    code = "operation_not_retryable"
    title = "This cannot be tried again"


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A capture, refund or release as it was asked for, to be asked for once more."""

    operation_id: UUID
    payment_id: PaymentId
    kind: Operation
    amount: Money
    split: Mapping[SellerId, int]
    is_final: bool
    keep_fee: bool

    @property
    def key(self) -> str:
        """The idempotency key of the new try. It follows from what failed: however often and by whomever it is tried again, once is all."""
        return f"retry:{self.operation_id}"
