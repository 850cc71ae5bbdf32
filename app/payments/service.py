"""Writes about payments: starting one, asking for a capture, refund or void, and letting one expire. One transaction each, no network."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import AttemptId, MerchantId, PaymentId, RefundId, SellerId
from app.core.money import Money
from app.payments import queries
from app.payments.attempts import service as attempts
from app.payments.domain import PAYMENT, OperationStatus, Part, PaymentExpired, PaymentStatus, Share, money_event
from app.payments.history import service as history
from app.payments.instructions.domain import refund_instruction
from app.payments.models import Payment, PaymentAttempt, PaymentOperation, PaymentPart
from app.payments.operations import service as operations
from app.payments.operations.service import Held, Wanted, part_of
from app.payments.postings import service as postings

_MOVE_PARTS = text(
    "update payment_part p set refunded_minor = p.refunded_minor + :sign * u.amount, fee_returned_minor = p.fee_returned_minor + :sign * u.fee"
    " from unnest(cast(:sellers as uuid[]), cast(:amounts as bigint[]), cast(:fees as bigint[])) u(seller, amount, fee)"
    " where p.merchant_id = :merchant and p.payment_id = :payment and p.seller_id = u.seller"
)
_EXPIRED = text("select merchant_id, id from payments_expired(:moment, :most)")


class Asked(msgspec.Struct, frozen=True):
    """An attempt that is committed and may now be sent, with the payment it belongs to."""

    payment: Payment
    attempt: PaymentAttempt


async def parts_of(session: AsyncSession, payment: Payment) -> list[Part]:
    """The parts of a payment, locked with it."""
    return [part_of(row) for row in await _parts(session, payment)]


async def _parts(session: AsyncSession, payment: Payment) -> list[PaymentPart]:
    of_payment = (PaymentPart.merchant_id == payment.merchant_id, PaymentPart.payment_id == payment.id)
    statement = select(PaymentPart).where(*of_payment).order_by(PaymentPart.seller_id)
    return list((await session.execute(statement.execution_options(populate_existing=True))).scalars())


async def hold(session: AsyncSession, actor: Actor, payment_id: PaymentId) -> Held:
    """The payment with all that belongs to it, locked until the transaction ends."""
    payment = await queries.payment(session, merchant_id=actor.merchant, payment_id=payment_id, lock=True)
    of_payment = (PaymentOperation.merchant_id == payment.merchant_id, PaymentOperation.payment_id == payment.id)
    done = select(PaymentOperation).where(*of_payment).order_by(PaymentOperation.id).execution_options(populate_existing=True)
    return Held(payment=payment, parts=await _parts(session, payment), operations=list((await session.execute(done)).scalars()))


async def begin_capture(
    session: AsyncSession,
    actor: Actor,
    *,
    payment_id: PaymentId,
    amount: Money | None = None,
    is_final: bool = False,
    split: Mapping[SellerId, int] | None = None,
    reason: str = "",
) -> Asked:
    """Ask to take an authorised amount, or a part of it; ``is_final`` releases what is left."""
    held = await hold(session, actor, payment_id)
    wanted = operations.capture(held, amount=amount, is_final=is_final, split=split, reason=reason)
    held.payment.capture_reserved_minor += wanted.amount.minor
    return await begin(session, actor, held, wanted)


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
    held = await hold(session, actor, payment_id)
    payment, back = held.payment, operations.refundable(held.payment, amount)
    if approval_id is None:
        await approvals.refuse_unapproved(session, actor, act=Act.REFUND, amount=back)
    else:
        told = refund_instruction(payment_id=payment_id, amount=back, split=split, reason=reason, keep_fee=keep_fee)
        await approvals.use(session, actor, approval_id=approval_id, act=Act.REFUND, object_id=payment_id, instruction=told)
    wanted = operations.refund(held, amount=back, split=split, reason=reason, keep_fee=keep_fee)
    payment.refund_reserved_minor += back.minor
    await move_parts(session, payment, wanted.shares)
    refund_id = RefundId(wanted.operation_id)
    kept = await postings.request_refund(session, actor, payment=payment, refund_id=refund_id, shares=wanted.shares)
    return await begin(session, actor, held, msgspec.structs.replace(wanted, taken=kept))


async def begin_void(session: AsyncSession, actor: Actor, *, payment_id: PaymentId, reason: str = "") -> Asked:
    """Ask to release what is authorised and not captured."""
    held = await hold(session, actor, payment_id)
    return await begin(session, actor, held, operations.void(held, reason=reason))


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


async def begin(session: AsyncSession, actor: Actor, held: Held, wanted: Wanted) -> Asked:
    """Commit to the operation: the attempt that will be sent, the operation it is for, the audit entry and the history."""
    payment = held.payment
    payment.updated_at = now()
    attempt = await attempts.begin_attempt(session, actor, payment=payment, operation=wanted.kind, amount_minor=wanted.amount.minor)
    await _add_operation(session, actor, attempt, wanted, number=held.next_number(wanted.kind))
    await audit.record(
        session,
        actor,
        action=f"payment.{wanted.kind}_requested",
        object_type="payment",
        object_id=payment.id,
        before=operations.before(payment),
        after=operations.asked_for(wanted, AttemptId(attempt.id)),
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
        details=wanted.details,
    )
    return Asked(payment, attempt)


async def _add_operation(session: AsyncSession, actor: Actor, attempt: PaymentAttempt, wanted: Wanted, *, number: int) -> None:
    session.add(
        PaymentOperation(
            merchant_id=attempt.merchant_id,
            id=wanted.operation_id,
            payment_id=attempt.payment_id,
            attempt_id=attempt.id,
            kind=wanted.kind,
            number=number,
            status=OperationStatus.SENDING,
            amount_minor=wanted.amount.minor,
            split=wanted.split,
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
    rest, until = Money(payment.amount_minor - payment.captured_minor, payment.currency), payment.expires_at
    payment.expires_at, payment.rest_released = None, True
    if payment.authorised_minor and rest.is_positive:
        await postings.post(session, actor, payment, postings.released(payment, amount=rest, how=f"expired:{until.isoformat()}"))
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
