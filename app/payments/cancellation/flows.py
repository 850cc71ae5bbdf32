"""Cancelling an order: release, refund and close, each step exactly once per key, so that a try that broke off is continued by the next."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.failpoints import failpoint
from app.core.ids import OrderId, public_id
from app.orders import queries as order_queries
from app.orders import service as orders
from app.orders.domain import OrderStatus
from app.payments import flows
from app.payments.cancellation import queries
from app.payments.cancellation.domain import CancellationDeclined, Plan, Step

PERMISSIONS = {Step.CLOSE: "orders.write", Step.RELEASE: "payments.void", Step.REFUND: "payments.refund"}
DONE, WAITS = 200, 202


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request, kept byte for byte under its key."""

    answer: idempotency.Answer
    replayed: bool = False


async def cancel_once(actor: Actor, *, order_id: OrderId, reason: str = "", key: str, request: bytes) -> Answered:
    """Cancel an order for a program: the same request may be repeated, and gets the same answer byte for byte."""
    async with unit_of_work(actor.merchant) as session:
        claim = await idempotency.claim(session, merchant_id=actor.merchant, key=key, request=request, resource_id=order_id)
        if claim.replay is not None:
            return Answered(answer=claim.replay, replayed=True)
        # what is refused here takes the claim back with it
        plan = await _plan(session, actor, order_id, is_continued=not claim.is_new)
    await failpoint("payments.cancellation_claimed")
    try:
        waits = plan is not None and await _carry_out(actor, plan, reason=reason, key=key)
    except AppError:
        async with unit_of_work(actor.merchant) as session:
            await idempotency.let_go(session, merchant_id=actor.merchant, key=key)
        raise
    await failpoint("payments.cancellation_carried_out")
    async with unit_of_work(actor.merchant) as session:
        await _close(session, actor, order_id=order_id, reason=reason)
        view = await order_queries.order_view(session, merchant_id=actor.merchant, order_id=order_id)
        answer = idempotency.Answer(WAITS if waits else DONE, msgspec.json.encode(view))
        await idempotency.finish(session, merchant_id=actor.merchant, key=key, answer=answer)
    return Answered(answer=answer)


async def cancel_order(actor: Actor, *, order_id: OrderId, reason: str = "", key: str) -> Plan:
    """Cancel an order: what is authorised is released, what was captured is refunded, and it can no longer be paid. Returns what was done."""
    async with unit_of_work(actor.merchant) as session:
        plan = await queries.cancellation_plan(session, merchant_id=actor.merchant, order_id=order_id)
    _check_permissions(actor, plan)
    await _carry_out(actor, plan, reason=reason, key=key)
    async with unit_of_work(actor.merchant) as session:
        await _close(session, actor, order_id=order_id, reason=reason)
    return plan


async def _plan(session: AsyncSession, actor: Actor, order_id: OrderId, *, is_continued: bool) -> Plan | None:
    """What there is to do; nothing when a try that died did it all but gave no answer."""
    if is_continued:
        order = await order_queries.order(session, merchant_id=actor.merchant, order_id=order_id)
        if order.status in queries.CLOSED:
            return None
    plan = await queries.cancellation_plan(session, merchant_id=actor.merchant, order_id=order_id)
    _check_permissions(actor, plan)
    return plan


def _check_permissions(actor: Actor, plan: Plan) -> None:
    for step in plan.steps:
        actor.require(PERMISSIONS[step])


async def _carry_out(actor: Actor, plan: Plan, *, reason: str, key: str) -> bool:
    """Ask the provider for what the plan wants, and say whether its word is still missing; what it declines is never taken for done."""
    if plan.payment_id is None:
        return False
    # the steps' keys follow from the caller's, are no longer than one may be, and are none that a caller would think of
    under = f"cancel:{idempotency.fingerprint(key).hex()}"
    request = idempotency.fingerprint("cancel", str(plan.payment_id))
    payment_id, asked = plan.payment_id, []
    if Step.RELEASE in plan.steps:
        asked.append(await flows.void(actor, payment_id=payment_id, reason=reason, key=f"{under}:release", request=request))
    if Step.REFUND in plan.steps:
        why = reason or "Order cancelled"
        asked.append(await flows.refund(actor, payment_id=payment_id, reason=why, key=f"{under}:refund", request=request))
    async with unit_of_work(actor.merchant) as session:
        became = await queries.outcome(session, merchant_id=actor.merchant, attempt_ids=[each.attempt_id for each in asked])
    if became.declined:
        raise CancellationDeclined(" ".join(step.sentence for step in became.declined), payment=public_id("pay", payment_id))
    return became.waits


async def _close(session: AsyncSession, actor: Actor, *, order_id: OrderId, reason: str) -> None:
    """Close what is still open; an order whose money was taken ends as refunded, by the refund itself."""
    order = await order_queries.order(session, merchant_id=actor.merchant, order_id=order_id, lock=True)
    if order.status == OrderStatus.OPEN:
        plan = await queries.cancellation_plan(session, merchant_id=actor.merchant, order_id=order_id)
        if plan.steps == [Step.CLOSE]:
            await orders.cancel_order(session, actor, order_id=order_id, reason=reason)
