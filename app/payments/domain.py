"""Payments: collecting one order through a PSP. States, what leads from one to the next, and the arithmetic of captures and refunds."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

import msgspec

from app.core import secrets
from app.core.errors import Conflict, Invalid, NotFound, UpstreamFailed
from app.core.events import Event
from app.core.ids import MerchantId, PaymentId, SellerId, parse_id, public_id
from app.core.money import Money
from app.core.state import Machine


class PaymentStatus(StrEnum):
    REQUIRES_METHOD = "requires_method"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    IN_REVIEW = "in_review"
    UNKNOWN = "unknown"
    AUTHORISED = "authorised"
    PARTIALLY_CAPTURED = "partially_captured"
    CAPTURED = "captured"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    VOIDED = "voided"
    EXPIRED = "expired"
    FAILED = "failed"
    CONFLICTED = "conflicted"


P = PaymentStatus
UNDECIDED = (P.PROCESSING, P.REQUIRES_ACTION, P.IN_REVIEW, P.UNKNOWN)
"""The PSP has not said yes or no."""
HOLDING = (P.AUTHORISED, P.PARTIALLY_CAPTURED, P.PARTIALLY_REFUNDED)
TAKEN = (P.PARTIALLY_CAPTURED, P.CAPTURED, P.PARTIALLY_REFUNDED, P.REFUNDED)
OVER = (P.FAILED, P.VOIDED, P.EXPIRED)
"""The order may be paid by another payment."""
LATE_SUCCESS = "late_success"
"""The failure code of a given-up payment that the PSP took after all, while another one paid the order: a person has to give one back."""

PAYMENT = Machine(
    "payment",
    states=PaymentStatus,
    initial=P.REQUIRES_METHOD,
    transitions={
        "submit": ((P.REQUIRES_METHOD,), P.PROCESSING),
        "require_action": (UNDECIDED, P.REQUIRES_ACTION),
        "process": (UNDECIDED, P.PROCESSING),
        "review": (UNDECIDED, P.IN_REVIEW),
        "lose": (UNDECIDED, P.UNKNOWN),
        "fail": (UNDECIDED, P.FAILED),
        "authorise": (UNDECIDED, P.AUTHORISED),
        "conflict": ((*UNDECIDED, P.AUTHORISED), P.CONFLICTED),
        "capture_part": ((*UNDECIDED, *HOLDING), P.PARTIALLY_CAPTURED),
        "capture_all": ((*UNDECIDED, *HOLDING), P.CAPTURED),
        "refund_part": (TAKEN, P.PARTIALLY_REFUNDED),
        "refund_all": (TAKEN, P.REFUNDED),
        "void": ((*UNDECIDED, P.AUTHORISED, P.CONFLICTED), P.VOIDED),
        "revive": ((P.FAILED, P.EXPIRED), P.PROCESSING),
        "accept": ((P.CONFLICTED,), P.PROCESSING),
        "expire": ((P.REQUIRES_METHOD, P.REQUIRES_ACTION, P.AUTHORISED), P.EXPIRED),
    },
)


class Operation(StrEnum):
    """What one attempt asks of the PSP."""

    AUTHORISE = "authorise"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class OperationStatus(StrEnum):
    """Where one capture, void or refund stands."""

    SENDING = "sending"
    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


O = OperationStatus  # noqa: E741 - reads as a table below
IN_FLIGHT = (O.SENDING, O.PENDING, O.UNKNOWN)

OPERATION = Machine(
    "operation",
    states=OperationStatus,
    initial=O.SENDING,
    transitions={
        "wait": (IN_FLIGHT, O.PENDING),
        "lose": (IN_FLIGHT, O.UNKNOWN),
        "succeed": (IN_FLIGHT, O.SUCCEEDED),
        "fail": ((*IN_FLIGHT, O.SUCCEEDED), O.FAILED),
    },
)


class CaptureMode(StrEnum):
    """Whether the money is taken at once, or authorised now and captured when the goods leave."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class PaymentNotFound(NotFound):
    """The payment does not exist, or belongs to another merchant."""

    code = "payment_not_found"
    title = "There is no such payment"


class AttemptNotFound(NotFound):
    """The attempt does not exist, or belongs to another merchant."""

    code = "attempt_not_found"
    title = "There is no such attempt"


class OrderHasPayment(Conflict):
    """A buyer pays once: another payment of the order is under way or done."""

    code = "order_has_payment"
    title = "This order has a payment already"


class NothingToCapture(Conflict):
    """More would be captured than is authorised and not yet captured."""

    code = "capture_exceeds_authorised"
    title = "This is more than can be captured"


class RefundExceedsCaptured(Conflict):
    """More would be refunded than was captured and not yet refunded."""

    code = "refund_exceeds_captured"
    title = "This is more than can be refunded"


class AmountNotPositive(Invalid):
    """The amount of an operation is more than zero."""

    code = "amount_not_positive"
    title = "The amount must be more than zero"


class SplitInvalid(Invalid):
    """The parts per seller do not make the amount, or exceed what the seller has of this payment."""

    code = "split_invalid"
    title = "The split between the sellers is not valid"


class OperationUnderWay(Conflict):
    """Something about this payment is still undecided at the PSP; asking it comes first."""

    code = "operation_under_way"
    title = "The PSP has not answered an earlier operation yet"


class CaptureNotSupported(Conflict):
    """The PSP of this payment cannot do this."""

    code = "operation_not_supported"
    title = "The PSP of this payment cannot do this"


class PaymentMoved(Conflict):
    """The payment changed between being read and being written; nothing was written, look again."""

    code = "payment_moved"
    title = "The payment changed meanwhile"


class NoRoute(Conflict):
    """The rule that takes this payment names no connection that takes payments now."""

    code = "no_route"
    title = "No connection of the rule is on"


class NoConnection(Conflict):
    """No connection of this merchant takes payments."""

    code = "no_connection"
    title = "No PSP is connected"


class EventNotConfirmed(UpstreamFailed):
    """A PSP told us something and could not be asked whether it is so."""

    code = "psp_event_not_confirmed"
    title = "The PSP could not be asked about its own event"


class PaymentChanged(Event, frozen=True):
    """Something about a payment changed; the event's topic says what."""

    payment_id: str
    order_id: str
    status: str
    amount_minor: int
    currency: str


class PaymentCreated(PaymentChanged, frozen=True):
    """A payment was started."""

    topic: ClassVar[str] = "payment.created"


class PaymentRequiresAction(PaymentChanged, frozen=True):
    """The buyer has to do something, as a rule on the PSP's page."""

    topic: ClassVar[str] = "payment.requires_action"


class PaymentAuthorised(PaymentChanged, frozen=True):
    """The amount is reserved on the buyer's means of payment."""

    topic: ClassVar[str] = "payment.authorised"


class PaymentCaptured(PaymentChanged, frozen=True):
    """Money was taken, wholly or in part."""

    topic: ClassVar[str] = "payment.captured"


class PaymentFailed(PaymentChanged, frozen=True):
    """The PSP or the issuer said no."""

    topic: ClassVar[str] = "payment.failed"


class PaymentUnknown(PaymentChanged, frozen=True):
    """The PSP's answer was lost; the payment may have happened and is being asked about."""

    topic: ClassVar[str] = "payment.unknown"


class PaymentConflicted(PaymentChanged, frozen=True):
    """The PSP reports another amount or currency than was asked for."""

    topic: ClassVar[str] = "payment.conflicted"


class PaymentVoided(PaymentChanged, frozen=True):
    """The authorisation was released."""

    topic: ClassVar[str] = "payment.voided"


class PaymentExpired(PaymentChanged, frozen=True):
    """Nobody finished the payment in time."""

    topic: ClassVar[str] = "payment.expired"


class PaymentRefunded(PaymentChanged, frozen=True):
    """Money was given back, wholly or in part."""

    topic: ClassVar[str] = "payment.refunded"


class RefundFailed(PaymentChanged, frozen=True):
    """A refund did not reach the buyer; the money is back in the wallets."""

    topic: ClassVar[str] = "payment.refund_failed"


ASK_AFTER = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(hours=1),
    *(timedelta(days=1),) * 5,
)
"""When an unknown outcome is asked about, counted from the last time; then a person decides."""


def next_ask_at(asked_times: int, moment: datetime) -> datetime | None:
    """When to ask the PSP again about an operation whose outcome is not known; nothing means a person decides."""
    return moment + ASK_AFTER[asked_times] if asked_times < len(ASK_AFTER) else None


AUTHORISATION_LASTS = timedelta(days=7)
ACTION_LASTS = timedelta(hours=24)
"""How long a promise stands, and how long a buyer may take, unless the PSP says otherwise."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One seller's part of a payment: the plan, and what was captured and refunded of it. All amounts in minor units."""

    seller_id: SellerId
    amount_minor: int
    fee_minor: int
    captured_minor: int = 0
    fee_captured_minor: int = 0
    refunded_minor: int = 0
    fee_returned_minor: int = 0
    fee_kept_minor: int = 0


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one capture or refund moves for one seller: the gross amount and the platform fee inside it; ``kept_minor`` a refund could have given back."""

    seller_id: SellerId
    amount_minor: int
    fee_minor: int
    kept_minor: int = 0

    @property
    def net_minor(self) -> int:
        """What the seller's wallet gains (capture) or loses (refund)."""
        return self.amount_minor - self.fee_minor


def _split(amount: Money, room: Mapping[SellerId, int], wanted: Mapping[SellerId, int] | None) -> dict[SellerId, int]:
    """Divide over what is left per seller. Weighting by what is left, not by the plan, never gives a seller more than its part, however often it is done."""
    if wanted is None:
        parts = amount.allocate(list(room.values()))
        return {seller: part.minor for seller, part in zip(room, parts, strict=True) if part.minor}
    if sum(wanted.values()) != amount.minor:
        raise SplitInvalid(
            "The parts of the sellers do not add up to the amount.", fields={"split": "The parts do not add up to the amount."}
        )
    for seller, minor in wanted.items():
        if minor <= 0 or minor > room.get(seller, 0):
            raise SplitInvalid(
                "A seller's part is more than is left of it in this payment.", fields={"split": "A part is more than is left."}
            )
    return dict(wanted)


def _proportion(whole: int, part: int, of: int) -> int:
    """``whole × part / of``, rounded half up in whole numbers; reaches ``whole`` exactly when ``part`` reaches ``of``."""
    return (2 * whole * part + of) // (2 * of)


def capture_shares(parts: Sequence[Part], amount: Money, *, wanted: Mapping[SellerId, int] | None = None) -> list[Share]:
    """How a capture is divided between the sellers, with the platform fee that belongs to it."""
    by_seller = {part.seller_id: part for part in parts}
    split = _split(amount, {part.seller_id: part.amount_minor - part.captured_minor for part in parts}, wanted)
    shares = []
    for seller, minor in split.items():
        part = by_seller[seller]
        fee = _proportion(part.fee_minor, part.captured_minor + minor, part.amount_minor) - part.fee_captured_minor
        shares.append(Share(seller_id=seller, amount_minor=minor, fee_minor=fee))
    return shares


def refund_shares(
    parts: Sequence[Part], amount: Money, *, wanted: Mapping[SellerId, int] | None = None, keep_fee: bool = False
) -> list[Share]:
    """How a refund is divided between the sellers, with the platform fee that is given back. Partial refunds sum up to the whole fee exactly, less what
    earlier ones kept: a fee that was kept once stays kept."""
    by_seller = {part.seller_id: part for part in parts}
    split = _split(amount, {part.seller_id: part.captured_minor - part.refunded_minor for part in parts}, wanted)
    shares = []
    for seller, minor in split.items():
        part = by_seller[seller]
        owed = _proportion(part.fee_captured_minor, part.refunded_minor + minor, part.captured_minor)
        fee = min(minor, max(0, owed - part.fee_returned_minor - part.fee_kept_minor))
        given, kept = (0, fee) if keep_fee else (fee, 0)
        shares.append(Share(seller_id=seller, amount_minor=minor, fee_minor=given, kept_minor=kept))
    return shares


def money_event(*, amount_minor: int, captured_minor: int, refunded_minor: int, rest_released: bool) -> str:
    """Which event brings a payment to where its money stands after a capture, a refund or the end of one."""
    open_rest = captured_minor < amount_minor and not rest_released
    if refunded_minor >= captured_minor > 0 and not open_rest:
        return "refund_all"
    if refunded_minor > 0:
        return "refund_part"
    return "capture_part" if open_rest else "capture_all"


def return_path(merchant_id: MerchantId, payment_id: PaymentId) -> str:
    """Where the PSP sends the buyer back to: a path nobody can guess, for a page that shows the amount and how it went, nothing else."""
    payment, merchant = public_id("pay", payment_id), public_id("mer", merchant_id)
    return f"/payments/{payment}/return?key={merchant}.{secrets.mac(f'{merchant}/{payment}', purpose='return')}"


def returning_payment(payment: str, key: str) -> tuple[MerchantId, PaymentId]:
    """Read a return path back; one we did not write leads nowhere."""
    merchant, _, proof = key.partition(".")
    if not secrets.mac_matches(proof, f"{merchant}/{payment}", purpose="return"):
        raise PaymentNotFound("This address is not valid. Go back to the shop and look at your order there.")
    return MerchantId(parse_id("mer", merchant)), PaymentId(parse_id("pay", payment))
