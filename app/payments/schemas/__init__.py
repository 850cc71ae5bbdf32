"""What crosses the edge about payments: requests of API clients, and a payment as they see it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from app.core.ids import ConnectionId, OrderId, SellerId, parse_id, public_id
from app.core.money import MAX_MINOR, Money
from app.payments.domain import HOLDING, CaptureMode, Operation, OperationStatus, PaymentStatus, SplitInvalid
from app.payments.models import Payment, PaymentOperation, PaymentPart
from app.routing.domain import Decision

MAX_PARTS = 200
WEB_ADDRESS = r"^https?://[A-Za-z0-9\[][A-Za-z0-9.\-:\[\]]*([/?#][!-~]*)?$"
"""Where a buyer may be sent back to: a web address with a host and without a name or password in it."""
Reason = Annotated[str, msgspec.Meta(max_length=200)]
ShortId = Annotated[str, msgspec.Meta(max_length=60)]


class PaymentRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Collect an order: with a token of the PSP, or (without one) on the PSP's hosted page."""

    order: ShortId
    connection: ShortId | None = None
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    capture: CaptureMode = CaptureMode.AUTOMATIC
    return_url: Annotated[str, msgspec.Meta(max_length=2000, pattern=WEB_ADDRESS)] | None = None

    def order_id(self) -> OrderId:
        """Which order."""
        return OrderId(parse_id("ord", self.order))

    def connection_id(self) -> ConnectionId | None:
        """Which connection, when the caller chose one."""
        return None if self.connection is None else ConnectionId(parse_id("con", self.connection))


class SellerAmount(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How much of an operation concerns one seller, in minor units of the payment's currency."""

    seller: ShortId
    minor: Annotated[int, msgspec.Meta(ge=1, le=MAX_MINOR)]


Split = Annotated[list[SellerAmount], msgspec.Meta(min_length=1, max_length=MAX_PARTS)]


def split_of(parts: Sequence[SellerAmount] | None) -> dict[SellerId, int] | None:
    """The split in the words of the domain; a seller named twice is refused."""
    if parts is None:
        return None
    wanted = {SellerId(parse_id("sel", part.seller)): part.minor for part in parts}
    if len(wanted) < len(parts):
        raise SplitInvalid("A seller is named twice in the split.", fields={"split": "Name each seller once."})
    return wanted


class CaptureRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Take what is authorised: all that is left, or a part of it; ``final`` releases the rest."""

    amount: Money | None = None
    final: bool = False
    split: Split | None = None
    reason: Reason = ""


class RefundRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Give back what was captured: all that is left, or a part of it."""

    amount: Money | None = None
    split: Split | None = None
    reason: Reason = ""
    keep_fee: bool = False


class VoidRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Release what is authorised and not captured."""

    reason: Reason = ""


class MethodView(msgspec.Struct, kw_only=True):
    """How the buyer paid; never a card number."""

    kind: str
    brand: str | None
    last4: str | None
    expiry: str | None


class FailureView(msgspec.Struct, kw_only=True):
    """Why the PSP or the issuer said no."""

    code: str
    message: str | None


class NextActionView(msgspec.Struct, kw_only=True):
    """What the buyer has to do now."""

    type: Literal["redirect"]
    url: str


class PartView(msgspec.Struct, kw_only=True):
    """One seller's part of the payment."""

    seller: str
    amount: Money
    fee: Money
    captured: Money
    refunded: Money


class OperationView(msgspec.Struct, kw_only=True):
    """One capture or refund."""

    id: str
    number: int
    status: OperationStatus
    amount: Money
    reason: str
    created_at: datetime


class PaymentRoutingView(msgspec.Struct, kw_only=True):
    """How the connection of a payment was chosen; without ``routing`` no rules were live, or it was asked for by name."""

    payment: str
    connection: str
    routing: Decision | None


class PaymentView(msgspec.Struct, kw_only=True):
    """A payment as the API shows it."""

    id: str
    order: str
    order_reference: str
    status: PaymentStatus
    amount: Money
    authorised: Money
    captured: Money
    refunded: Money
    capturable: Money
    refundable: Money
    capture_mode: CaptureMode
    connection: str
    method: MethodView | None
    failure: FailureView | None
    next_action: NextActionView | None
    split: list[PartView]
    captures: list[OperationView]
    refunds: list[OperationView]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, payment: Payment, parts: Sequence[PaymentPart], operations: Sequence[PaymentOperation]) -> "PaymentView":
        """Show the rows of one payment."""
        currency = payment.currency
        return cls(
            id=public_id("pay", payment.id),
            order=public_id("ord", payment.order_id),
            order_reference=payment.order_reference,
            status=PaymentStatus(payment.status),
            amount=Money(payment.amount_minor, currency),
            authorised=Money(payment.authorised_minor, currency),
            captured=Money(payment.captured_minor, currency),
            refunded=Money(payment.refunded_minor, currency),
            capturable=capturable(payment),
            refundable=refundable(payment),
            capture_mode=CaptureMode(payment.capture_mode),
            connection=public_id("con", payment.connection_id),
            method=method_view(payment),
            failure=_failure(payment),
            next_action=_next_action(payment),
            split=[_part(part, currency) for part in parts],
            captures=[_operation("cap", row, currency) for row in operations if row.kind == Operation.CAPTURE],
            refunds=[_operation("ref", row, currency) for row in operations if row.kind == Operation.REFUND],
            created_at=payment.created_at,
            updated_at=payment.updated_at,
            expires_at=payment.expires_at,
        )


def capturable(payment: Payment) -> Money:
    """What may still be captured: authorised, not captured, and not being captured just now."""
    is_open = payment.status in HOLDING and not payment.rest_released
    return Money(max(0, payment.authorised_minor - payment.capture_reserved_minor) if is_open else 0, payment.currency)


def refundable(payment: Payment) -> Money:
    """What may still be refunded: captured, not refunded, and not being refunded just now."""
    return Money(payment.captured_minor - payment.refund_reserved_minor, payment.currency)


def method_view(payment: Payment) -> MethodView | None:
    """How the buyer paid, once the PSP said so."""
    if payment.method_kind is None:
        return None
    return MethodView(kind=payment.method_kind, brand=payment.method_brand, last4=payment.last4, expiry=payment.method_expiry)


def _failure(payment: Payment) -> FailureView | None:
    return None if payment.failure_code is None else FailureView(code=payment.failure_code, message=payment.failure_message)


def _next_action(payment: Payment) -> NextActionView | None:
    if payment.status != PaymentStatus.REQUIRES_ACTION or payment.redirect_url is None:
        return None
    return NextActionView(type="redirect", url=payment.redirect_url)


def _part(part: PaymentPart, currency: str) -> PartView:
    return PartView(
        seller=public_id("sel", part.seller_id),
        amount=Money(part.amount_minor, currency),
        fee=Money(part.fee_minor, currency),
        captured=Money(part.captured_minor, currency),
        refunded=Money(part.refunded_minor, currency),
    )


def _operation(prefix: str, row: PaymentOperation, currency: str) -> OperationView:
    return OperationView(
        id=public_id(prefix, row.id),
        number=row.number,
        status=OperationStatus(row.status),
        amount=Money(row.amount_minor, currency),
        reason=row.reason,
        created_at=row.created_at,
    )
