"""Deciding about an attempt that the PSP never settled: the PSP is asked a last time, and its own word goes before any person's."""

from uuid import UUID

from app.approvals import queries as approvals
from app.approvals import service as approval_service
from app.approvals.domain import Act
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.failpoints import failpoint
from app.core.ids import PaymentId
from app.payments import flows
from app.payments.decisions import service
from app.payments.verdicts.domain import Decision


async def ask_others(actor: Actor, *, payment_id: PaymentId, decision: Decision) -> bool:
    """Ask others to agree to a decision where refunds of the amount need others; says whether they were asked."""
    decision.check()
    async with unit_of_work(actor.merchant) as session:
        _, _, amount = await service.to_decide(session, actor, payment_id=payment_id, attempt_id=decision.attempt_id)
        if not await approvals.approvers_needed(session, actor, act=Act.REFUND, amount=amount):
            return False
        told = decision.instruction(payment_id=payment_id, amount=amount)
        await approval_service.request_approval(
            session, actor, act=Act.REFUND, object_id=payment_id, instruction=told, amount=amount, reason=decision.reason
        )
    return True


async def decide(actor: Actor, *, payment_id: PaymentId, decision: Decision, approval_id: UUID | None = None) -> str:
    """Record what a person found out, unless the PSP gives its word at the last question; returns where the payment stands."""
    async with unit_of_work(actor.merchant) as session:
        await service.to_decide(session, actor, payment_id=payment_id, attempt_id=decision.attempt_id)
    await flows.ask(merchant_id=actor.merchant, attempt_id=decision.attempt_id)
    await failpoint("payments.decision_asked")
    async with unit_of_work(actor.merchant) as session:
        payment = await service.decide(session, actor, payment_id=payment_id, decision=decision, approval_id=approval_id)
        return payment.status
