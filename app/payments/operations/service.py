"""What a capture, a void or a refund moves, decided by the payment as it stands. Nothing is read or written here: whoever asks has the payment locked,
or sees to it that it is still the same when the operation is written."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from app.approvals.domain import ApprovalRequired
from app.core.errors import Invalid
from app.core.ids import AttemptId, SellerId, new_id, public_id
from app.core.money import Money
from app.payments.domain import (
    IN_FLIGHT,
    PAYMENT,
    AmountNotPositive,
    NothingToCapture,
    Operation,
    OperationStatus,
    OperationUnderWay,
    Part,
    PaymentStatus,
    RefundExceedsCaptured,
    Share,
    capture_shares,
    refund_shares,
)
from app.payments.fees.domain import kept_fees
from app.payments.models import Payment, PaymentOperation, PaymentPart
from app.wallets.domain import PendingFunds, spread
from app.wallets.service import Taken

OVER = (PaymentStatus.CONFLICTED, PaymentStatus.VOIDED, PaymentStatus.EXPIRED)
RELEASABLE = (PaymentStatus.AUTHORISED, PaymentStatus.CONFLICTED, PaymentStatus.PARTIALLY_CAPTURED, PaymentStatus.PARTIALLY_REFUNDED)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A payment with its parts, in the order of their sellers, and its operations, oldest first; for a refund also the funds that are still pending,
    and the amount in minor units from which on others have to agree."""

    payment: Payment
    parts: Sequence[PaymentPart]
    operations: Sequence[PaymentOperation]
    funds: Sequence[PendingFunds] = ()
    approval_from: int | None = None

    def next_number(self, kind: Operation) -> int:
        """The number of the next operation of this kind."""
        return 1 + sum(operation.kind == kind for operation in self.operations)

    def refuse_undecided(self, *kinds: Operation, states: Sequence[OperationStatus] = IN_FLIGHT) -> None:
        """Refuse another operation while the PSP's word on an earlier one is missing."""
        if any(operation.kind in kinds and operation.status in states for operation in self.operations):
            raise OperationUnderWay("The PSP has not answered an earlier operation on this payment. Ask it first, then try again.")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An operation about to be asked for: how much, what it moves for each seller, from where a refund took it, and what marks it as no ordinary one."""

    kind: Operation
    operation_id: UUID
    amount: Money
    shares: list[Share] = []
    taken: dict[str, dict[str, object]] = {}
    marks: dict[str, bool] = {}
    is_final: bool = False
    reason: str = ""

    @property
    def split(self) -> dict[str, object]:
        """What is kept of it for whoever records the answer."""
        return {"shares": msgspec.to_builtins(self.shares), "taken": self.taken, **self.marks}

    @property
    def details(self) -> dict[str, str]:
        """What the history says of it."""
        return {"reason": self.reason} if self.reason else {}


def part_of(row: PaymentPart, kept: Mapping[SellerId, int] | None = None) -> Part:
    """A part in the words of the domain; a refund also has to know what earlier ones kept of the fee."""
    return Part(
        seller_id=SellerId(row.seller_id),
        amount_minor=row.amount_minor,
        fee_minor=row.fee_minor,
        captured_minor=row.captured_minor,
        fee_captured_minor=row.fee_captured_minor,
        refunded_minor=row.refunded_minor,
        fee_returned_minor=row.fee_returned_minor,
        fee_kept_minor=(kept or {}).get(SellerId(row.seller_id), 0),
    )


def _amount(payment: Payment, amount: Money | None, left: int) -> Money:
    if amount is None:
        amount = Money(left, payment.currency)
    if amount.currency != payment.currency:
        detail = f"The payment is in {payment.currency}, not in {amount.currency}."
        raise Invalid(detail, fields={"amount.currency": detail})
    if amount.minor <= 0 and left > 0:
        raise AmountNotPositive("Use an amount of more than zero.", fields={"amount.minor": "Use an amount of more than zero."})
    return amount


def capture(held: Held, *, amount: Money | None, is_final: bool, split: Mapping[SellerId, int] | None, reason: str = "") -> Wanted:
    """A capture of an authorised amount, or of a part of it; ``is_final`` releases what is left."""
    payment = held.payment
    if payment.authorised_minor == 0 or payment.rest_released or PaymentStatus(payment.status) in OVER:
        PAYMENT.next(PaymentStatus(payment.status), "capture_part")
        raise NothingToCapture("Nothing is authorised that could be captured.")
    left = payment.amount_minor - payment.capture_reserved_minor
    wanted = _amount(payment, amount, left)
    if not 0 < wanted.minor <= left:
        raise NothingToCapture(
            f"At most {Money(left, payment.currency).format()} can still be captured.", fields={"amount.minor": f"At most {left}."}
        )
    held.refuse_undecided(Operation.CAPTURE, Operation.VOID)
    shares = capture_shares([part_of(part) for part in held.parts], wanted, wanted=split)
    final = is_final or wanted.minor == left
    return Wanted(kind=Operation.CAPTURE, operation_id=new_id(), amount=wanted, shares=shares, is_final=final, reason=reason)


def void(held: Held, *, reason: str) -> Wanted:
    """The release of what is authorised and not captured."""
    payment, status = held.payment, PaymentStatus(held.payment.status)
    left = payment.amount_minor - payment.capture_reserved_minor
    if status not in RELEASABLE or left == 0:
        PAYMENT.next(status, "void")
    if payment.rest_released or left <= 0:
        raise NothingToCapture("Nothing is authorised any more that could be released.")
    held.refuse_undecided(Operation.CAPTURE, Operation.VOID)
    if status is PaymentStatus.CONFLICTED and any(operation.kind == Operation.REFUND for operation in held.operations):
        raise NothingToCapture("It was taken and is being given back: there is nothing to release.")
    return Wanted(kind=Operation.VOID, operation_id=new_id(), amount=Money(left, payment.currency), reason=reason)


def refundable(payment: Payment, amount: Money | None) -> Money:
    """How much a refund gives back: what is asked for, or all that is left of what was captured."""
    left = payment.captured_minor - payment.refund_reserved_minor
    wanted = _amount(payment, amount, left)
    if not 0 < wanted.minor <= left:
        raise RefundExceedsCaptured(
            f"At most {Money(left, payment.currency).format()} can still be refunded.", fields={"amount.minor": f"At most {left}."}
        )
    return wanted


def refund(held: Held, *, amount: Money, split: Mapping[SellerId, int] | None, reason: str, keep_fee: bool) -> Wanted:
    """A refund of so much; where it takes the sellers' money from is found out next."""
    held.refuse_undecided(Operation.REFUND, states=(OperationStatus.UNKNOWN,))
    kept = kept_fees((done.kind, done.status, done.split) for done in held.operations)
    shares = refund_shares([part_of(part, kept) for part in held.parts], amount, wanted=split, keep_fee=keep_fee)
    return Wanted(kind=Operation.REFUND, operation_id=new_id(), amount=amount, shares=shares, reason=reason)


def refund_at_once(held: Held, *, amount: Money | None, split: Mapping[SellerId, int] | None, reason: str, keep_fee: bool) -> Wanted:
    """A refund that needs nobody's agreement, with where it takes the sellers' money from: pending funds first, then available ones. Whether so much is
    available the ledger says when it is taken."""
    back = refundable(held.payment, amount)
    if held.approval_from is not None and back.minor >= held.approval_from:
        raise ApprovalRequired(f"{back.format()} needs the agreement of others.")
    wanted = refund(held, amount=back, split=split, reason=reason, keep_fee=keep_fee)
    taken = {str(share.seller_id): msgspec.to_builtins(_taken(held, share)) for share in wanted.shares}
    return msgspec.structs.replace(wanted, taken=taken)


def _taken(held: Held, share: Share) -> Taken:
    funds = [one for one in held.funds if one.seller_id == share.seller_id]
    parts = spread([one.left for one in funds], share.net_minor)
    pending = [(str(one.id), part) for one, part in zip(funds, parts, strict=True) if part]
    return Taken(pending=pending, available_minor=share.net_minor - sum(parts))


def before(payment: Payment) -> dict[str, object]:
    """The payment as the audit trail shows it before an operation is asked for."""
    return {"status": payment.status, "captured_minor": payment.captured_minor, "refunded_minor": payment.refunded_minor}


def asked_for(wanted: Wanted, attempt_id: AttemptId) -> dict[str, object]:
    """The operation as the audit trail shows it."""
    return {"amount_minor": wanted.amount.minor, "currency": wanted.amount.currency, "attempt": public_id("att", attempt_id)}
