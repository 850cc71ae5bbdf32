"""One payment as its page shows it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from app.core.ids import public_id
from app.core.money import Money, total
from app.ledger.schemas import EntryRow, TransactionView
from app.payments.domain import IN_FLIGHT, UNDECIDED, Operation, OperationStatus, PaymentStatus
from app.payments.models import Payment, PaymentAttempt, PaymentEvent, PaymentOperation, PaymentPart
from app.payments.schemas import MethodView, capturable, method_view, refundable
from app.payments.schemas.reasons import Reason, reasons
from app.payments.schemas.timeline import Step, steps
from app.routing.domain import Decision

Names = Mapping[UUID, str]


class SellerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One seller's part: the plan, what was taken and given back of it, and what the wallet gained."""

    seller: str
    name: str
    amount: Money
    captured: Money
    refunded: Money
    fee: Money
    net: Money


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was asked of the PSP."""

    number: int
    id: str
    operation: str
    connection: str
    outcome: str
    code: str
    reference: str | None
    took: str
    evidence: list[tuple[str, str]]
    at: datetime


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a transaction, with the owner's name."""

    account: str
    note: str
    href: str
    debit: Money | None
    credit: Money | None


class LedgerGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction that the payment caused."""

    at: datetime
    kind: str
    href: str
    lines: list[LedgerLine]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Where the money of the payment is."""

    amount: Money
    authorised: Money
    captured: Money
    refunded: Money
    kept: Money
    left: Money
    capturable: Money
    refundable: Money
    platform_fee: Money
    psp_fee: Money
    net: Money


class PaymentDetailPage(msgspec.Struct, frozen=True, kw_only=True):
    """One payment."""

    id: str
    order: str
    order_reference: str
    status: PaymentStatus
    figures: Figures
    can_void: bool
    is_moving: bool
    buyer: str
    email: str
    method: MethodView | None
    fingerprint: str | None
    connection: str
    connection_id: str
    provider_reference: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    steps: list[Step]
    reasons: list[Reason]
    sellers: list[SellerLine]
    attempts: list[AttemptRow]
    ledger: list[LedgerGroup] | None
    operations: list[tuple[str, str]]
    routing: Decision | None

    @property
    def path(self) -> str:
        """The page's address."""
        return f"/payments/{self.id}"

    @property
    def who(self) -> str:
        """Whose payment it is."""
        return self.buyer or self.email or "a buyer without a name"

    @property
    def initials(self) -> str:
        """The buyer's initials."""
        return "".join(word[:1] for word in self.who.split()[:2]).upper()

    @property
    def bar(self) -> list[tuple[float, str]]:
        """The money bar: kept, given back, still to be taken."""
        parts = [(self.figures.kept.minor, "c-f1"), (self.figures.refunded.minor, "c-f4"), (self.figures.left.minor, "c-mut")]
        return [(minor * 100 / self.figures.amount.minor, shade) for minor, shade in parts if minor > 0]

    @property
    def bar_text(self) -> str:
        """The money bar for those who do not see it."""
        return f"Captured and kept {self.figures.kept.format()}, refunded {self.figures.refunded.format()}, left to capture {self.figures.left.format()} of {self.figures.amount.format()}"

    @property
    def ledger_total(self) -> Money | None:
        """The sum of the debits, which is the sum of the credits; only where there is one currency."""
        debits = [line.debit for group in self.ledger or [] for line in group.lines if line.debit is not None]
        return (
            total(debits, self.figures.amount.currency)
            if debits and {debit.currency for debit in debits} == {self.figures.amount.currency}
            else None
        )

    @property
    def events_href(self) -> str:
        """What the PSP told us about this payment, word for word."""
        return "/psp-events?" + urlencode([("reference", attempt.id) for attempt in self.attempts][:50])


def figures(payment: Payment, parts: Sequence[PaymentPart]) -> Figures:
    """Add up where the money of the payment is."""
    currency = payment.currency
    fee = sum(part.fee_captured_minor - part.fee_returned_minor for part in parts)
    return Figures(
        amount=Money(payment.amount_minor, currency),
        authorised=Money(payment.authorised_minor, currency),
        captured=Money(payment.captured_minor, currency),
        refunded=Money(payment.refunded_minor, currency),
        kept=Money(payment.captured_minor - payment.refunded_minor, currency),
        left=_left(payment),
        capturable=capturable(payment),
        refundable=refundable(payment),
        platform_fee=Money(fee, currency),
        psp_fee=Money(payment.psp_fee_minor, currency),
        net=Money(sum(_net(part) for part in parts), currency),
    )


def detail_page(
    payment: Payment,
    *,
    parts: Sequence[PaymentPart],
    operations: Sequence[PaymentOperation],
    attempts: Sequence[PaymentAttempt],
    events: Sequence[PaymentEvent],
    ledger: Sequence[TransactionView] | None,
    sellers: Names,
    connections: Names,
    routing: Decision | None,
) -> PaymentDetailPage:
    """Put the page of a payment together from its rows."""
    currency = payment.currency
    names = {**sellers, **connections}
    return PaymentDetailPage(
        id=public_id("pay", payment.id),
        order=public_id("ord", payment.order_id),
        order_reference=payment.order_reference,
        status=PaymentStatus(payment.status),
        figures=figures(payment, parts),
        can_void=can_void(payment),
        is_moving=payment.status in UNDECIDED or any(operation.status in IN_FLIGHT for operation in operations),
        buyer=payment.buyer_name,
        email=payment.buyer_email,
        method=method_view(payment),
        fingerprint=payment.method_fingerprint,
        connection=connections.get(payment.connection_id, "–"),
        connection_id=public_id("con", payment.connection_id),
        provider_reference=payment.provider_reference,
        created_by=payment.created_by,
        created_at=payment.created_at,
        expires_at=payment.expires_at,
        steps=steps(payment, events, attempts, operations),
        reasons=reasons(payment, attempts, operations, routing),
        routing=routing,
        sellers=[_seller(part, sellers, currency) for part in parts],
        attempts=[_attempt(number, attempt, connections) for number, attempt in reversed(list(enumerate(attempts, 1)))],
        ledger=None if ledger is None else [_group(transaction, names) for transaction in ledger],
        operations=[_identifier(operation) for operation in operations],
    )


VOIDABLE = (PaymentStatus.AUTHORISED, PaymentStatus.CONFLICTED, PaymentStatus.PARTIALLY_CAPTURED, PaymentStatus.PARTIALLY_REFUNDED)


def can_void(payment: Payment) -> bool:
    """Whether something is promised that could be released."""
    return payment.status in VOIDABLE and not payment.rest_released and payment.capture_reserved_minor < payment.amount_minor


def _left(payment: Payment) -> Money:
    """What is authorised and not captured, as long as it is not released."""
    is_open = not payment.rest_released and payment.status not in (PaymentStatus.FAILED, PaymentStatus.EXPIRED, PaymentStatus.VOIDED)
    return Money(payment.amount_minor - payment.capture_reserved_minor if is_open and payment.authorised_minor else 0, payment.currency)


def _net(part: PaymentPart) -> int:
    return part.captured_minor - part.refunded_minor - (part.fee_captured_minor - part.fee_returned_minor)


def _seller(part: PaymentPart, names: Names, currency: str) -> SellerLine:
    return SellerLine(
        seller=public_id("sel", part.seller_id),
        name=names.get(part.seller_id, "–"),
        amount=Money(part.amount_minor, currency),
        captured=Money(part.captured_minor, currency),
        refunded=Money(part.refunded_minor, currency),
        fee=Money(part.fee_captured_minor - part.fee_returned_minor, currency),
        net=Money(_net(part), currency),
    )


def _attempt(number: int, attempt: PaymentAttempt, connections: Names) -> AttemptRow:
    code = " ".join(word for word in (attempt.network_code, (attempt.code or "").replace("_", " ")) if word)
    return AttemptRow(
        number=number,
        id=public_id("att", attempt.id),
        operation=attempt.operation.capitalize(),
        connection=connections.get(attempt.connection_id, "–"),
        outcome=attempt.outcome or OperationStatus.SENDING,
        code=code,
        reference=attempt.provider_reference,
        took="–" if attempt.latency_ms is None else f"{attempt.latency_ms / 1000:.2f} s",
        evidence=sorted((key.replace("_", " "), value) for key, value in attempt.evidence.items()),
        at=attempt.created_at,
    )


def _group(transaction: TransactionView, names: Names) -> LedgerGroup:
    return LedgerGroup(
        at=transaction.at, kind=transaction.kind, href=transaction.href, lines=[_ledger_line(entry, names) for entry in transaction.lines]
    )


def _ledger_line(entry: EntryRow, names: Names) -> LedgerLine:
    note = names.get(entry.owner.id, entry.note) if entry.owner else ""
    return LedgerLine(account=entry.account, note=note, href=entry.href, debit=entry.debit, credit=entry.credit)


def _identifier(operation: PaymentOperation) -> tuple[str, str]:
    prefix = {Operation.CAPTURE: "cap", Operation.REFUND: "ref"}.get(Operation(operation.kind), "att")
    return f"{operation.kind.capitalize()} {operation.number}", public_id(prefix, operation.id if prefix != "att" else operation.attempt_id)
