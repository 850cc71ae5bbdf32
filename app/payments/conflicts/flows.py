"""Ending a conflict: the PSP is asked what it has now, and only what it says at that moment is accepted, given back or closed."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import queries as approvals
from app.approvals import service as approval_service
from app.approvals.domain import Act
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.failpoints import failpoint
from app.core.ids import PaymentId
from app.core.money import Money
from app.payments import flows
from app.payments.calls import service as calls
from app.payments.conflicts import queries, service
from app.payments.instructions.domain import give_back_instruction
from app.payments.reported.domain import PaymentNotConflicted, Report, Way
from app.payments.service import Asked
from app.psp.service import connections


async def look(actor: Actor, *, payment_id: PaymentId) -> Report:
    """Ask the PSP what it has of a payment in conflict; nothing changes."""
    async with unit_of_work(actor.merchant) as session:
        payment = await queries.conflicted(session, merchant_id=actor.merchant, payment_id=payment_id)
        call = calls.prepare(payment, await queries.first_attempt(session, payment))
        adapter = await connections.adapter_for(session, merchant_id=actor.merchant, connection_id=call.connection_id)
        asked, booked = Money(payment.amount_minor, payment.currency), await queries.is_booked(session, payment)
    result = await adapter.lookup(call.instruction.reference)
    await failpoint("payments.conflict_looked_at")
    return Report(asked=asked, result=result, is_booked=booked)


async def accept(actor: Actor, *, payment_id: PaymentId, amount: Money, reason: str) -> None:
    """Accept what the PSP took, if it is still the amount that the person saw."""
    report = await look(actor, payment_id=payment_id)
    async with unit_of_work(actor.merchant) as session:
        await service.accept(session, actor, payment_id=payment_id, report=report, amount=amount, reason=reason)


async def close(actor: Actor, *, payment_id: PaymentId, reason: str) -> None:
    """Close a payment of which the PSP says that it holds nothing any more."""
    report = await look(actor, payment_id=payment_id)
    async with unit_of_work(actor.merchant) as session:
        await service.close(session, actor, payment_id=payment_id, report=report, reason=reason)


async def give_back(
    actor: Actor, *, payment_id: PaymentId, amount: Money, reason: str, approval_id: UUID | None = None, key: str, request: bytes
) -> flows.Answered:
    """Give back all that the PSP took, exactly once per key."""
    try:
        report: Report | None = await look(actor, payment_id=payment_id)
    except PaymentNotConflicted:
        report = None  # perhaps by this very key, whose answer is repeated

    async def begin(session: AsyncSession) -> Asked:
        if report is None:
            raise PaymentNotConflicted("The payment is decided already.")
        return await service.begin_give_back(
            session, actor, payment_id=payment_id, report=report, amount=amount, reason=reason, approval_id=approval_id
        )

    return await flows.do_once(actor, begin=begin, key=key, request=request)


async def ask_others(actor: Actor, *, payment_id: PaymentId, report: Report, amount: Money, reason: str) -> bool:
    """Ask others to agree to the giving back where the merchant's rules for refunds want that; says whether they were asked."""
    report.check(Way.GIVE_BACK, amount)
    told = give_back_instruction(payment_id=payment_id, amount=amount, reason=reason)
    async with unit_of_work(actor.merchant) as session:
        if not await approvals.approvers_needed(session, actor, act=Act.REFUND, amount=amount):
            return False
        await approval_service.request_approval(
            session, actor, act=Act.REFUND, object_id=payment_id, instruction=told, amount=amount, reason=reason
        )
    return True
