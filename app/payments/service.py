"""Writes about payments: starting one, asking for a capture, refund or void, and letting one expire. One transaction each, no network."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import Invalid
from app.core.ids import ConnectionId, MerchantId, OrderId, PaymentId, RefundId, SellerId, new_id
from app.core.money import Money
from app.orders import queries as orders
from app.orders.domain import OrderNotPayable, OrderStatus
from app.orders.models import Order
from app.payments import queries
from app.payments.attempts import service as attempts
from app.payments.domain import (
    IN_FLIGHT,
    PAYMENT,
    AmountNotPositive,
    CaptureMode,
    NothingToCapture,
    Operation,
    OperationStatus,
    OperationUnderWay,
    OrderHasPayment,
    Part,
    PaymentCreated,
    PaymentExpired,
    PaymentStatus,
    RefundExceedsCaptured,
    Share,
    capture_shares,
    money_event,
    refund_shares,
)
from app.payments.history import service as history
from app.payments.models import Payment, PaymentAttempt, PaymentOperation, PaymentPart
from app.payments.postings import service as postings
from app.sellers import queries as sellers
from app.sellers.domain import FeeTerms

AUTHORISATION_LASTS = timedelta(days=7)
ACTION_LASTS = timedelta(hours=24)
_EXPIRED = text("select merchant_id, id from payments_expired(:moment, :most)")


class Asked(msgspec.Struct, frozen=True):
    """An attempt that is committed and may now be sent, with the payment it belongs to."""

    payment: Payment
    attempt: PaymentAttempt


async def begin_payment(
    session: AsyncSession,
    actor: Actor,
    *,
    payment_id: PaymentId,
    order_id: OrderId,
    connection_id: ConnectionId,
    capture_mode: CaptureMode,
    return_url: str | None,
) -> Asked:
    """Start to collect an order through a connection. The buyer pays once, however many sellers there are; the plan for the split is fixed here."""
    order = await orders.order(session, merchant_id=actor.merchant, order_id=order_id, lock=True)
    if order.status != OrderStatus.OPEN or (order.expires_at is not None and order.expires_at <= now()):
        raise OrderNotPayable(f"The order is {order.status.replace('_', ' ')}; only an open order can be paid.", status=order.status)
    payment = _new_payment(actor, order, payment_id, connection_id, capture_mode, return_url)
    try:
        async with session.begin_nested():
            session.add(payment)
    except IntegrityError as error:
        if "uq_payment_one_live_per_order" not in str(error.orig):
            raise
        raise OrderHasPayment("Another payment of this order is under way or done. Void or wait for it before trying again.") from error
    await session.execute(insert(PaymentPart), await _plan(session, payment))
    attempt = await attempts.begin_attempt(
        session, actor, payment=payment, operation=Operation.AUTHORISE, amount_minor=payment.amount_minor
    )
    await history.note(
        session, actor, payment=payment, kind="payment.created", before=None, attempt_id=attempt.id, amount_minor=payment.amount_minor
    )
    await history.tell(session, payment, PaymentCreated)
    return Asked(payment, attempt)


def _new_payment(
    actor: Actor, order: Order, payment_id: PaymentId, connection_id: ConnectionId, mode: CaptureMode, return_url: str | None
) -> Payment:
    moment = now()
    return Payment(
        merchant_id=actor.merchant,
        id=payment_id,
        order_id=order.id,
        order_reference=order.reference,
        connection_id=connection_id,
        status=PAYMENT.next(PaymentStatus.REQUIRES_METHOD, "submit"),
        capture_mode=mode,
        currency=order.currency,
        amount_minor=order.total_minor,
        authorised_minor=0,
        capture_reserved_minor=0,
        captured_minor=0,
        refund_reserved_minor=0,
        refunded_minor=0,
        psp_fee_minor=0,
        platform_fee_minor=0,
        rest_released=False,
        return_url=return_url,
        buyer_name=order.buyer_name,
        buyer_name_lc=order.buyer_name.lower(),
        buyer_email=order.buyer_email,
        buyer_email_lc=order.buyer_email_lc,
        created_by=actor.name,
        created_at=moment,
        updated_at=moment,
        expires_at=moment + ACTION_LASTS,
    )


async def _plan(session: AsyncSession, payment: Payment) -> list[dict[str, object]]:
    merchant_id = MerchantId(payment.merchant_id)
    amounts = await orders.amounts_by_seller(session, merchant_id=merchant_id, order_id=OrderId(payment.order_id))
    terms = await sellers.fee_terms(session, merchant_id=merchant_id, ids=amounts.keys(), currency=payment.currency)
    return [_part(payment, seller_id, minor, terms[seller_id]) for seller_id, minor in amounts.items()]


def _part(payment: Payment, seller_id: SellerId, minor: int, terms: FeeTerms) -> dict[str, object]:
    fee = terms.of(Money(minor, payment.currency))
    return {
        "merchant_id": payment.merchant_id,
        "payment_id": payment.id,
        "seller_id": seller_id,
        "amount_minor": minor,
        "fee_minor": fee.minor,
    }


async def parts_of(session: AsyncSession, payment: Payment) -> list[Part]:
    """The parts of a payment, locked with it."""
    statement = (
        select(PaymentPart)
        .where(PaymentPart.merchant_id == payment.merchant_id, PaymentPart.payment_id == payment.id)
        .order_by(PaymentPart.seller_id)
    )
    rows = (await session.execute(statement.execution_options(populate_existing=True))).scalars()
    return [
        Part(
            seller_id=SellerId(row.seller_id),
            amount_minor=row.amount_minor,
            fee_minor=row.fee_minor,
            captured_minor=row.captured_minor,
            fee_captured_minor=row.fee_captured_minor,
            refunded_minor=row.refunded_minor,
            fee_returned_minor=row.fee_returned_minor,
        )
        for row in rows
    ]


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
    return await _begin(session, actor, payment, Operation.CAPTURE, amount=wanted, shares=shares, is_final=final)


async def begin_refund(
    session: AsyncSession,
    actor: Actor,
    *,
    payment_id: PaymentId,
    amount: Money | None = None,
    split: Mapping[SellerId, int] | None = None,
    reason: str = "",
    keep_fee: bool = False,
) -> Asked:
    """Ask to give a captured amount back, or a part of it. The sellers' money is set aside in the ledger before the PSP is asked."""
    payment = await queries.payment(session, merchant_id=actor.merchant, payment_id=payment_id, lock=True)
    left = payment.captured_minor - payment.refund_reserved_minor
    wanted = _amount(payment, amount, left)
    if not 0 < wanted.minor <= left:
        raise RefundExceedsCaptured(
            f"At most {Money(left, payment.currency).format()} can still be refunded.", fields={"amount.minor": f"At most {left}."}
        )
    await _refuse_undecided(session, payment, Operation.REFUND, states=(OperationStatus.UNKNOWN,))
    shares = refund_shares(await parts_of(session, payment), wanted, wanted=split, keep_fee=keep_fee)
    payment.refund_reserved_minor += wanted.minor
    await move_parts(session, payment, shares, "refunded_minor", "fee_returned_minor")
    refund_id = RefundId(new_id())
    kept = await postings.request_refund(session, actor, payment=payment, refund_id=refund_id, shares=shares)
    before = {"refunded_minor": payment.refunded_minor}
    after = {"refund_minor": wanted.minor, "currency": payment.currency}
    await audit.record(
        session,
        actor,
        action="payment.refund_requested",
        object_type="payment",
        object_id=payment.id,
        before=before,
        after=after,
        reason=reason or None,
    )
    return await _begin(
        session, actor, payment, Operation.REFUND, amount=wanted, shares=shares, operation_id=refund_id, taken=kept, reason=reason
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
    return await _begin(session, actor, payment, Operation.VOID, amount=Money(left, payment.currency), shares=[], reason=reason)


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


async def move_parts(
    session: AsyncSession, payment: Payment, shares: list[Share], amount_column: str, fee_column: str, *, sign: int = 1
) -> None:
    """Move the counters of the sellers' parts, in one statement."""
    statement = text(
        f"update payment_part p set {amount_column} = p.{amount_column} + :sign * u.amount, {fee_column} = p.{fee_column} + :sign * u.fee"  # noqa: S608 - column names of our own
        " from unnest(cast(:sellers as uuid[]), cast(:amounts as bigint[]), cast(:fees as bigint[])) u(seller, amount, fee)"
        " where p.merchant_id = :merchant and p.payment_id = :payment and p.seller_id = u.seller"
    )
    values = {
        "sign": sign,
        "sellers": [share.seller_id for share in shares],
        "amounts": [share.amount_minor for share in shares],
        "fees": [share.fee_minor for share in shares],
        "merchant": payment.merchant_id,
        "payment": payment.id,
    }
    await session.execute(statement, values)


async def _begin(
    session: AsyncSession,
    actor: Actor,
    payment: Payment,
    kind: Operation,
    *,
    amount: Money,
    shares: list[Share],
    is_final: bool = False,
    operation_id: UUID | None = None,
    taken: Mapping[str, object] | None = None,
    reason: str = "",
) -> Asked:
    moment = now()
    payment.updated_at = moment
    attempt = await attempts.begin_attempt(session, actor, payment=payment, operation=kind, amount_minor=amount.minor)
    number = select(func.count() + 1).where(
        PaymentOperation.merchant_id == payment.merchant_id, PaymentOperation.payment_id == payment.id, PaymentOperation.kind == kind
    )
    session.add(
        PaymentOperation(
            merchant_id=payment.merchant_id,
            id=operation_id or new_id(),
            payment_id=payment.id,
            attempt_id=attempt.id,
            kind=kind,
            number=(await session.execute(number)).scalar_one(),
            status=OperationStatus.SENDING,
            amount_minor=amount.minor,
            split={"shares": msgspec.to_builtins(shares), "taken": taken or {}},
            is_final=is_final,
            reason=reason,
            created_by=actor.name,
            created_at=moment,
            updated_at=moment,
        )
    )
    await session.flush()
    details = {"reason": reason} if reason else {}
    await history.note(
        session,
        actor,
        payment=payment,
        kind=f"{kind}.requested",
        before=payment.status,
        attempt_id=attempt.id,
        amount_minor=amount.minor,
        details=details,
    )
    return Asked(payment, attempt)


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
