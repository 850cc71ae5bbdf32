"""Reads about attempts."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Invalid
from app.core.ids import AttemptId, ConnectionId, MerchantId, PaymentId, PspEventId, parse_id
from app.core.money import Money
from app.payments.domain import AttemptNotFound, NoConnection, Operation
from app.payments.models import PaymentAttempt, PaymentOperation
from app.psp import queries as psp
from app.psp.domain import EventKind, Outcome, PspEvent


async def attempt(session: AsyncSession, *, merchant_id: MerchantId, attempt_id: AttemptId) -> PaymentAttempt:
    """One attempt."""
    found = await session.get(PaymentAttempt, (merchant_id, attempt_id))
    if found is None:
        raise AttemptNotFound("There is no attempt with this id for this merchant.")
    return found


async def is_final(session: AsyncSession, attempt: PaymentAttempt) -> bool:
    """Whether the attempt is a capture after which nothing is captured any more: a call that is made again must say the same again."""
    if attempt.operation != Operation.CAPTURE:
        return False
    of_attempt = (PaymentOperation.merchant_id == attempt.merchant_id, PaymentOperation.attempt_id == attempt.id)
    return bool((await session.execute(select(PaymentOperation.is_final).where(*of_attempt))).scalar_one())


async def undecided_attempts(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> list[AttemptId]:
    """The attempts of a payment on which the PSP's final word is missing."""
    statement = select(PaymentAttempt.id).where(
        PaymentAttempt.merchant_id == merchant_id,
        PaymentAttempt.payment_id == payment_id,
        or_(PaymentAttempt.outcome.is_(None), PaymentAttempt.outcome.in_((Outcome.PENDING, Outcome.UNKNOWN))),
    )
    return [AttemptId(found) for found in (await session.execute(statement.order_by(PaymentAttempt.id))).scalars()]


async def attempt_of_event(
    session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId, event: PspEvent
) -> PaymentAttempt | None:
    """The attempt a PSP's event is about: by our reference, else by the PSP's own; never one of another connection."""
    where = [PaymentAttempt.merchant_id == merchant_id, PaymentAttempt.connection_id == connection_id]
    try:
        where.append(PaymentAttempt.id == parse_id("att", event.our_reference or ""))
    except Invalid:
        where.append(PaymentAttempt.provider_reference == event.provider_reference)
    return (await session.execute(select(PaymentAttempt).where(*where).order_by(PaymentAttempt.id).limit(1))).scalar_one_or_none()


async def default_connection(session: AsyncSession, *, merchant_id: MerchantId) -> ConnectionId:
    """The connection that takes a payment when the caller names none: the oldest active one."""
    active = await psp.active_connections(session, merchant_id=merchant_id)
    if not active:
        raise NoConnection("Connect a PSP and enable it first, under Connections.")
    return ConnectionId(active[0].id)


async def received_event(session: AsyncSession, *, merchant_id: MerchantId, event_id: PspEventId) -> tuple[PspEvent, ConnectionId]:
    """A webhook from the inbox in the words of the port, with the connection it came through."""
    row = await psp.psp_event(session, merchant_id=merchant_id, event_id=event_id)
    amount = Money(row.amount_minor, row.currency) if row.amount_minor is not None and row.currency else None
    event = PspEvent(
        provider_event_id=row.provider_event_id,
        kind=EventKind(row.kind),
        provider_reference=row.provider_reference,
        our_reference=row.our_reference,
        amount=amount,
        occurred_at=row.occurred_at,
        payload=row.payload,
    )
    return event, ConnectionId(row.connection_id)
