"""The dialogs that move money: what is typed into them, and what will happen before it happens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from app.core.errors import AppError, Invalid
from app.core.ids import SellerId, parse_id, public_id
from app.core.money import Money
from app.payments.domain import Operation, Part, Share, capture_shares, refund_shares
from app.payments.models import Payment, PaymentPart
from app.payments.schemas import capturable, refundable

REASONS = ("Returned goods", "Damaged item", "Order cancelled", "Duplicate payment", "Fraud", "Goodwill", "Other")
Key = Annotated[str, msgspec.Meta(max_length=200)]


class CaptureForm(msgspec.Struct, kw_only=True):
    """What the capture dialog sends."""

    amount: Money
    is_final: bool = False
    idempotency_key: Key = ""


class RefundForm(msgspec.Struct, kw_only=True):
    """What the refund dialog sends."""

    amount: Money
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    keep_fee: bool = False
    idempotency_key: Key = ""


class VoidForm(msgspec.Struct, kw_only=True):
    """What the release dialog sends."""

    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""
    idempotency_key: Key = ""


class PreviewForm(msgspec.Struct, kw_only=True):
    """What is typed so far into a dialog."""

    amount: Money
    keep_fee: bool = False
    is_final: bool = False


class SellerRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What one seller still has of the payment for this operation."""

    seller: str
    name: str
    left: Money

    @property
    def field(self) -> str:
        """The name of the seller's field."""
        return f"part_{self.seller}"


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What will happen: from where, to where, and what is left after."""

    rows: list[tuple[str, str]]
    total: tuple[str, str]
    button: str
    problem: str | None = None


class OperationPage(msgspec.Struct, frozen=True, kw_only=True):
    """One of the dialogs, for one payment."""

    id: str
    kind: Operation
    who: str
    left: Money
    before: Money
    captured: Money
    amount: Money
    expires_at: datetime | None
    sellers: list[SellerRoom]
    parts: list[Part]
    preview: Preview

    @property
    def path(self) -> str:
        """The payment's page."""
        return f"/payments/{self.id}"

    @property
    def action(self) -> str:
        """Where the dialog is and where it posts to."""
        return f"{self.path}/{self.kind}"

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """The reasons to choose from."""
        return [(reason, reason) for reason in REASONS]


def operation_page(
    payment: Payment, parts: Sequence[PaymentPart], names: Mapping[SellerId, str], kind: Operation, kept: Mapping[SellerId, int]
) -> OperationPage:
    """The dialog for all that is left of a payment; ``kept`` is what refunds kept of the sellers' fees."""
    plan = [_plan(part, kept) for part in parts]
    left = room(payment, kind)
    page = OperationPage(
        id=public_id("pay", payment.id),
        kind=kind,
        who=payment.buyer_name or payment.buyer_email or "the buyer",
        left=left,
        before=Money(payment.refunded_minor if kind is Operation.REFUND else payment.captured_minor, payment.currency),
        captured=Money(payment.captured_minor, payment.currency),
        amount=Money(payment.amount_minor, payment.currency),
        expires_at=payment.expires_at,
        sellers=[_room(part, names, payment.currency, kind) for part in plan],
        parts=plan,
        preview=Preview(rows=[], total=("", ""), button=""),
    )
    return with_preview(page, left)


def room(payment: Payment, kind: Operation) -> Money:
    """How much the operation may move at most."""
    if kind is Operation.REFUND:
        return refundable(payment)
    return (
        capturable(payment) if kind is Operation.CAPTURE else Money(payment.amount_minor - payment.capture_reserved_minor, payment.currency)
    )


def _plan(part: PaymentPart, kept: Mapping[SellerId, int]) -> Part:
    return Part(
        seller_id=SellerId(part.seller_id),
        amount_minor=part.amount_minor,
        fee_minor=part.fee_minor,
        captured_minor=part.captured_minor,
        fee_captured_minor=part.fee_captured_minor,
        refunded_minor=part.refunded_minor,
        fee_returned_minor=part.fee_returned_minor,
        fee_kept_minor=kept.get(SellerId(part.seller_id), 0),
    )


def _room(part: Part, names: Mapping[SellerId, str], currency: str, kind: Operation) -> SellerRoom:
    left = part.captured_minor - part.refunded_minor if kind is Operation.REFUND else part.amount_minor - part.captured_minor
    return SellerRoom(seller=public_id("sel", part.seller_id), name=names.get(part.seller_id, "–"), left=Money(left, currency))


def with_preview(
    page: OperationPage, amount: Money, *, split: Mapping[SellerId, int] | None = None, keep_fee: bool = False, is_final: bool = False
) -> OperationPage:
    """The dialog with what would happen for this amount; what cannot happen is said instead."""
    try:
        preview = _preview(page, amount, split, keep_fee=keep_fee, is_final=is_final)
    except AppError as wrong:
        preview = Preview(rows=[], total=("", ""), button=_VERBS[page.kind], problem=wrong.detail)
    return msgspec.structs.replace(page, preview=preview)


_VERBS = {Operation.CAPTURE: "Capture", Operation.REFUND: "Refund", Operation.VOID: "Release", Operation.AUTHORISE: "Authorise"}


def check_amount(page: OperationPage, amount: Money) -> None:
    """Refuse an amount that cannot be moved, at its field."""
    said = None
    if amount.currency != page.left.currency:
        said = f"The payment is in {page.left.currency}."
    elif not amount.is_positive:
        said = "Enter an amount of more than zero."
    elif amount > page.left:
        said = f"At most {page.left.format()} can be {'refunded' if page.kind is Operation.REFUND else 'captured'}."
    if said:
        raise Invalid(said, fields={"amount": said})


def _preview(page: OperationPage, amount: Money, split: Mapping[SellerId, int] | None, *, keep_fee: bool, is_final: bool) -> Preview:
    button = f"{_VERBS[page.kind]} {amount.format()}"
    if page.kind is Operation.VOID:
        rows = [("Authorised", page.amount.format()), ("Captured", page.captured.format())]
        return Preview(rows=rows, total=("Released to the buyer", amount.format()), button=button)
    check_amount(page, amount)
    if page.kind is Operation.REFUND:
        shares = refund_shares(page.parts, amount, wanted=split, keep_fee=keep_fee)
        rows = [("Captured", page.captured.format()), ("Refunded before", (-page.before).format()), *_taken(page, shares)]
        return Preview(rows=rows, total=("Can still be refunded", (page.left - amount).format()), button=button)
    shares = capture_shares(page.parts, amount, wanted=split)
    rows = [("Authorised", page.amount.format()), ("Captured before", page.before.format()), *_given(page, shares)]
    rest = page.left - amount
    return Preview(rows=rows, total=("Released to the buyer" if is_final else "Left to capture", rest.format()), button=button)


def _taken(page: OperationPage, shares: Sequence[Share]) -> list[tuple[str, str]]:
    currency, names = page.left.currency, {parse_id("sel", seller.seller): seller.name for seller in page.sellers}
    fees = sum(share.fee_minor for share in shares)
    wallets = [(f"From the wallet of {names[share.seller_id]}", Money(-share.net_minor, currency).format()) for share in shares]
    return [*wallets, ("From our platform fee", Money(-fees, currency).format())] if fees else wallets


def _given(page: OperationPage, shares: Sequence[Share]) -> list[tuple[str, str]]:
    currency, names = page.left.currency, {parse_id("sel", seller.seller): seller.name for seller in page.sellers}
    fees = sum(share.fee_minor for share in shares)
    wallets = [(f"To the wallet of {names[share.seller_id]}", Money(share.net_minor, currency).format()) for share in shares]
    return [*wallets, ("Our platform fee", Money(fees, currency).format())] if fees else wallets


def split_from(page: OperationPage, values: Mapping[str, Sequence[str]]) -> dict[SellerId, int] | None:
    """The parts per seller that were typed; nothing typed means: divide it by rule."""
    wanted, wrong = {}, {}
    for seller in page.sellers:
        text = (values.get(seller.field) or [""])[-1].strip()
        if not text:
            continue
        try:
            wanted[SellerId(parse_id("sel", seller.seller))] = Money.parse(text, page.left.currency).minor
        except AppError as problem:
            wrong[seller.field] = problem.detail
    if wrong:
        raise Invalid("A part cannot be read.", fields=wrong)
    return {seller: minor for seller, minor in wanted.items() if minor} or None
