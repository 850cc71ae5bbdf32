"""Writes about payments: starting one, asking for a capture, refund or void, and letting one expire. One transaction each, no network."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import Invalid
from app.core.ids import MerchantId, PaymentId, RefundId, SellerId, new_id, public_id
from app.core.money import Money
from app.payments import queries
from app.payments.attempts import service as attempts
from app.payments.domain import (
    IN_FLIGHT,
    PAYMENT,
    AmountNotPositive,
    NothingToCapture,
    Operation,
    OperationStatus,
    OperationUnderWay,
    Part,
    PaymentExpired,
    PaymentStatus,
    RefundExceedsCaptured,
    Share,
    capture_shares,
    money_event,
    refund_shares,
)
from app.payments.history import service as history
from app.payments.instructions.domain import refund_instruction
from app.payments.models import Payment, PaymentAttempt, PaymentOperation, PaymentPart
from app.payments.postings import service as postings

_MOVE_PARTS = text(
    "update payment_part p set refunded_minor = p.refunded_minor + :sign * u.amount, fee_returned_minor = p.fee_returned_minor + :sign * u.fee"
    " from unnest(cast(:sellers as uuid[]), cast(:amounts as bigint[]), cast(:fees as bigint[])) u(seller, amount, fee)"
    " where p.merchant_id = :merchant and p.payment_id = :payment and p.seller_id = u.seller"
)
_EXPIRED = text("select merchant_id, id from payments_expired(:moment, :most)")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An operation about to be asked for: how much, what it moves for each seller, and from where a refund took it."""

    kind: Operation
    operation_id: UUID
    amount: Money
    shares: list[Share] = []
    taken: dict[str, dict[str, object]] = {}
    is_final: bool = False
    reason: str = ""


class Asked(msgspec.Struct, frozen=True):
    """An attempt that is committed and may now be sent, with the payment it belongs to."""

    payment: Payment
    attempt: PaymentAttempt


async def parts_of(session: AsyncSession, payment: Payment) -> list[Part]:
    """The parts of a payment, locked with it."""
    statement = (
        select(PaymentPart)
        .where(PaymentPart.merchant_id == payment.merchant_id, PaymentPart.payment_id == payment.id)
        .order_by(PaymentPart.seller_id)
    )
    rows = (await session.execute(statement.execution_options(populate_existing=True))).scalars()
    return [part_of(row) for row in rows]


def part_of(row: PaymentPart) -> Part:
    """A part in the words of the domain."""
    return Part(
        seller_id=SellerId(row.seller_id),
        amount_minor=row.amount_minor,
        fee_minor=row.fee_minor,
        captured_minor=row.captured_minor,
        fee_captured_minor=row.fee_captured_minor,
        refunded_minor=row.refunded_minor,
        fee_returned_minor=row.fee_returned_minor,
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


async def begin_capture(
    session: AsyncSession,
    actor: Actor,
    *,
    payment_id: PaymentId,
    amount: Money | None = None,
    is_final: bool = False,
    split: Mapping[SellerId, int] | None = None,
) -> Asked:
    """Ask to take an authorised amount, or a part of it; ``is_final`` releases what is left."""
    payment = await queries.payment(session, merchant_id=actor.merchant, payment_id=payment_id, lock=True)
    if (
        payment.authorised_minor == 0
        or payment.rest_released
        or PaymentStatus(payment.status) in (PaymentStatus.CONFLICTED, PaymentStatus.VOIDED, PaymentStatus.EXPIRED)
    ):
        PAYMENT.next(PaymentStatus(payment.status), "capture_part")
        raise NothingToCapture("Nothing is authorised that could be captured.")
    left = payment.amount_minor - payment.capture_reserved_minor
    wanted = _amount(payment, amount, left)
    if not 0 < wanted.minor <= left:
        raise NothingToCapture(
            f"At most {Money(left, payment.currency).format()} can still be captured.", fields={"amount.minor": f"At most {left}."}
        )
    await _refuse_undecided(session, payment, Operation.CAPTURE, Operation.VOID)
    shares = capture_shares(await parts_of(session, payment), wanted, wanted=split)
    payment.capture_reserved_minor += wanted.minor
    final = is_final or wanted.minor == left
    return await _begin(
        session, actor, payment, Wanted(kind=Operation.CAPTURE, operation_id=new_id(), amount=wanted, shares=shares, is_final=final)
    )


async def begin_refund(
    session: AsyncSession,
    actor: Actor,
    *,
    payment_id: PaymentId,
    amount: Money | None = None,
    split: Mapping[SellerId, int] | None = None,
    reason: str = "",
    keep_fee: bool = False,
    approval_id: UUID | None = None,
) -> Asked:
    """Ask to give a captured amount back, or a part of it. The sellers' money is set aside in the ledger before the PSP is asked.

    What needs the agreement of others happens only with an approval of exactly this refund, which it uses up.
    """
    payment = await queries.payment(session, merchant_id=actor.merchant, payment_id=payment_id, lock=True)
    left = payment.captured_minor - payment.refund_reserved_minor
    wanted = _amount(payment, amount, left)
    if not 0 < wanted.minor <= left:
        raise RefundExceedsCaptured(
            f"At most {Money(left, payment.currency).format()} can still be refunded.", fields={"amount.minor": f"At most {left}."}
        )
    if approval_id is None:
        await approvals.refuse_unapproved(session, actor, act=Act.REFUND, amount=wanted)
    else:
        told = refund_instruction(payment_id=payment_id, amount=wanted, split=split, reason=reason, keep_fee=keep_fee)
        await approvals.use(session, actor, approval_id=approval_id, act=Act.REFUND, object_id=payment_id, instruction=told)
    await _refuse_undecided(session, payment, Operation.REFUND, states=(OperationStatus.UNKNOWN,))
    shares = refund_shares(await parts_of(session, payment), wanted, wanted=split, keep_fee=keep_fee)
    payment.refund_reserved_minor += wanted.minor
    await move_parts(session, payment, shares)
    refund_id = RefundId(new_id())
    kept = await postings.request_refund(session, actor, payment=payment, refund_id=refund_id, shares=shares)
    return await _begin(
        session,
        actor,
        payment,
        Wanted(kind=Operation.REFUND, operation_id=refund_id, amount=wanted, shares=shares, taken=kept, reason=reason),
    )


async def begin_void(session: AsyncSession, actor: Actor, *, payment_id: PaymentId, reason: str = "") -> Asked:
    """Ask to release what is authorised and not captured."""
    payment = await queries.payment(session, merchant_id=actor.merchant, payment_id=payment_id, lock=True)
    status = PaymentStatus(payment.status)
    left = payment.amount_minor - payment.capture_reserved_minor
    if (
        status
        not in (PaymentStatus.AUTHORISED, PaymentStatus.CONFLICTED, PaymentStatus.PARTIALLY_CAPTURED, PaymentStatus.PARTIALLY_REFUNDED)
        or left == 0
    ):
        PAYMENT.next(status, "void")
    if payment.rest_released or left <= 0:
        raise NothingToCapture("Nothing is authorised any more that could be released.")
    await _refuse_undecided(session, payment, Operation.CAPTURE, Operation.VOID)
    wanted = Wanted(kind=Operation.VOID, operation_id=new_id(), amount=Money(left, payment.currency), reason=reason)
    return await _begin(session, actor, payment, wanted)


async def _refuse_undecided(
    session: AsyncSession, payment: Payment, *kinds: Operation, states: Sequence[OperationStatus] = IN_FLIGHT
) -> None:
    undecided = select(func.count()).where(
        PaymentOperation.merchant_id == payment.merchant_id,
        PaymentOperation.payment_id == payment.id,
        PaymentOperation.kind.in_(kinds),
        PaymentOperation.status.in_(states),
    )
    if (await session.execute(undecided)).scalar_one():
        raise OperationUnderWay("The PSP has not answered an earlier operation on this payment. Ask it first, then try again.")


async def move_parts(session: AsyncSession, payment: Payment, shares: list[Share], *, sign: int = 1) -> None:
    """Move what is refunded of the sellers' parts, or back, in one statement."""
    values = {
        "sign": sign,
        "sellers": [share.seller_id for share in shares],
        "amounts": [share.amount_minor for share in shares],
        "fees": [share.fee_minor for share in shares],
        "merchant": payment.merchant_id,
        "payment": payment.id,
    }
    await session.execute(_MOVE_PARTS, values)


async def _begin(session: AsyncSession, actor: Actor, payment: Payment, wanted: Wanted) -> Asked:
    """Commit to the operation: the attempt that will be sent, the operation it is for, the audit entry and the history."""
    payment.updated_at = now()
    attempt = await attempts.begin_attempt(session, actor, payment=payment, operation=wanted.kind, amount_minor=wanted.amount.minor)
    await _add_operation(session, actor, attempt, wanted)
    await audit.record(
        session,
        actor,
        action=f"payment.{wanted.kind}_requested",
        object_type="payment",
        object_id=payment.id,
        before={"status": payment.status, "captured_minor": payment.captured_minor, "refunded_minor": payment.refunded_minor},
        after={"amount_minor": wanted.amount.minor, "currency": payment.currency, "attempt": public_id("att", attempt.id)},
        reason=wanted.reason or None,
    )
    await history.note(
        session,
        actor,
        payment=payment,
        kind=f"{wanted.kind}.requested",
        before=payment.status,
        attempt_id=attempt.id,
        amount_minor=wanted.amount.minor,
        details={"reason": wanted.reason} if wanted.reason else {},
    )
    return Asked(payment, attempt)


async def _add_operation(session: AsyncSession, actor: Actor, attempt: PaymentAttempt, wanted: Wanted) -> None:
    same_kind = (PaymentOperation.merchant_id == attempt.merchant_id, PaymentOperation.payment_id == attempt.payment_id)
    number = select(func.count() + 1).where(*same_kind, PaymentOperation.kind == wanted.kind)
    session.add(
        PaymentOperation(
            merchant_id=attempt.merchant_id,
            id=wanted.operation_id,
            payment_id=attempt.payment_id,
            attempt_id=attempt.id,
            kind=wanted.kind,
            number=(await session.execute(number)).scalar_one(),
            status=OperationStatus.SENDING,
            amount_minor=wanted.amount.minor,
            split={"shares": msgspec.to_builtins(wanted.shares), "taken": wanted.taken},
            is_final=wanted.is_final,
            reason=wanted.reason,
            created_by=actor.name,
            created_at=attempt.created_at,
            updated_at=attempt.created_at,
        )
    )
    await session.flush()


async def expire_payment(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> bool:
    """Close a payment nobody finished in time. One that may have happened stays open: it is asked about, never guessed at."""
    payment = await queries.payment(session, merchant_id=merchant_id, payment_id=payment_id, lock=True)
    status, actor = PaymentStatus(payment.status), Actor.system(merchant_id)
    if payment.expires_at is None or payment.expires_at > now() or payment.capture_reserved_minor > payment.captured_minor:
        return False
    if payment.captured_minor == 0 and not PAYMENT.can(status, "expire"):
        return False
    rest = Money(payment.amount_minor - payment.captured_minor, payment.currency)
    payment.expires_at, payment.rest_released = None, True
    if payment.authorised_minor and rest.is_positive:
        await postings.release_authorisation(session, actor, payment=payment, amount=rest, how="expired")
    if payment.captured_minor == 0:
        await history.move(session, actor, payment=payment, event="expire", kind="payment.expired", tells=PaymentExpired)
    else:
        event = money_event(
            amount_minor=payment.amount_minor,
            captured_minor=payment.captured_minor,
            refunded_minor=payment.refunded_minor,
            rest_released=True,
        )
        await history.move(session, actor, payment=payment, event=event, kind="payment.rest_expired", amount_minor=rest.minor)
    return True


async def due_to_expire(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, PaymentId]]:
    """Payments of all merchants whose time has passed."""
    rows = await session.execute(_EXPIRED, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), PaymentId(row.id)) for row in rows]
