"""Acts about what waits: each is rehearsed by really taking its step and taking it back, and done through the payment's own flows."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.idempotency import fingerprint
from app.core.ids import MerchantId, PaymentId, public_id
from app.core.money import Money
from app.ops import service as repairs
from app.ops.console.service import at, note_act
from app.ops.queue import service
from app.ops.queue.domain import Act, Item, Kind, Verdict
from app.payments import flows as payments
from app.payments import queries as payment_queries
from app.payments.refund_requests import flows as refund_requests
from app.payments.retries import flows as retries
from app.payments.retries.domain import PERMISSIONS
from app.payouts import flows as payouts
from app.payouts import queries as payout_queries
from app.payouts.domain import PayoutId

log = structlog.get_logger()

SIDE_BY_SIDE = 4
PATIENCE = 30.0
"""Seconds for one act; an adapter gives up earlier by itself."""


async def rehearse(actor: Actor, items: Sequence[Item], *, act: Act) -> list[Verdict]:
    """What would come of an act for each: its step is really taken and taken back, so that the answer is the one that doing it would give."""
    return [await _rehearse(actor, item, act) for item in items]


async def _rehearse(actor: Actor, item: Item, act: Act) -> Verdict:
    async with unit_of_work(item.merchant_id) as session:
        point = await session.begin_nested()
        try:
            step = service.set_aside if act is Act.SET_ASIDE else service.try_repair
            said, possible = await step(session, actor, item, reason="A rehearsal"), True
        except AppError as refused:
            said, possible = refused.detail, False
        await point.rollback()
        session.expunge_all()
    return Verdict(item=item, is_possible=possible, said=said)


async def run(actor: Actor, items: Sequence[Item], *, act: Act, reason: str) -> list[Verdict]:
    """Do it for each, a few side by side, and say for each what came of it; one that fails holds up no other."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(item: Item) -> Verdict:
        async with gate:
            return await _run(actor, item, act, reason)

    return list(await asyncio.gather(*map(one, items)))


async def _run(actor: Actor, item: Item, act: Act, reason: str) -> Verdict:
    try:
        async with asyncio.timeout(PATIENCE):
            said = await (_set_aside if act is Act.SET_ASIDE else _REPAIRS[item.kind])(actor, item, reason)
    except AppError as refused:
        return Verdict(item=item, is_possible=False, said=refused.detail)
    except Exception:
        log.exception("an operator's act failed", item=item.token)
        return Verdict(item=item, is_possible=False, said="It broke off. What was written down before goes on by itself; look again later.")
    return Verdict(item=item, is_possible=True, said=said)


async def _set_aside(actor: Actor, item: Item, reason: str) -> str:
    async with unit_of_work(item.merchant_id) as session:
        return await service.set_aside(session, actor, item, reason=reason)


async def _ask_payment(actor: Actor, item: Item, reason: str) -> str:
    """Ask about everything of a payment that is undecided."""
    await _note(actor, item, reason)
    await payments.refresh(merchant_id=item.merchant_id, payment_id=PaymentId(item.id))
    async with unit_of_work(item.merchant_id) as session:
        payment = await payment_queries.payment(session, merchant_id=item.merchant_id, payment_id=PaymentId(item.id))
        return f"Asked: the payment is {_words(payment.status)}"


async def _ask_attempt(actor: Actor, item: Item, reason: str) -> str:
    """Ask about one attempt."""
    async with unit_of_work(item.merchant_id) as session:
        attempt_id = await service.attempt_of(session, item)
    await _note(actor, item, reason)
    await payments.ask(merchant_id=item.merchant_id, attempt_id=attempt_id)
    async with unit_of_work(item.merchant_id) as session:
        outcome = await service.outcome_of(session, merchant_id=item.merchant_id, attempt_id=attempt_id)
        return f"Asked: {_words(outcome)}"


async def _release(actor: Actor, item: Item, reason: str) -> str:
    """Release a payment that the provider reports differently than it was asked for."""
    here, payment_id = at(actor, item.merchant_id, "payments.void"), PaymentId(item.id)
    key = f"operator-release:{item.id}"
    await _note(actor, item, reason)
    await payments.void(here, payment_id=payment_id, reason=reason, key=key, request=fingerprint("release", str(item.id)))
    async with unit_of_work(item.merchant_id) as session:
        payment = await payment_queries.payment(session, merchant_id=item.merchant_id, payment_id=payment_id)
        return f"Release asked for: the payment is {_words(payment.status)}"


async def _try_again(actor: Actor, item: Item, reason: str) -> str:
    """Ask once more for what certainly did not happen."""
    async with unit_of_work(item.merchant_id) as session:
        again = await service.to_try_again(session, item)
    here = at(actor, item.merchant_id, PERMISSIONS[again.kind])
    await _note(actor, item, reason)
    answered = await retries.try_again(here, operation_id=item.id, reason=reason)
    if answered is None:
        return f"The {again.kind} of {again.amount.format()} waits for the approval of others at the merchant"
    async with unit_of_work(item.merchant_id) as session:
        done = await payment_queries.operations(session, merchant_id=item.merchant_id, payment_id=again.payment_id)
        last = [operation for operation in done if operation.kind == again.kind][-1]
        return f"Tried again: the {again.kind} of {again.amount.format()} is {_words(last.status)}"


async def _nothing(actor: Actor, item: Item, reason: str) -> str:
    """Money that these books never had is given back by a person at the provider."""
    async with unit_of_work(item.merchant_id) as session:
        return await service.try_repair(session, actor, item, reason=reason)


async def _apply_again(actor: Actor, item: Item, reason: str) -> str:
    """Give the job of a webhook new tries."""
    async with unit_of_work(item.merchant_id) as session:
        await repairs.requeue_jobs(session, at(actor, item.merchant_id, "jobs.repair"), event=item.id, job=service.JOB, reason=reason)
    return "It is being applied again"


async def _ask_payout(actor: Actor, item: Item, reason: str) -> str:
    """Ask the bank about a payout."""
    payout_id = PayoutId(item.id)
    await _note(actor, item, reason)
    await payouts.refresh(merchant_id=item.merchant_id, payout_id=payout_id)
    async with unit_of_work(item.merchant_id) as session:
        payout = await payout_queries.payout(session, merchant_id=item.merchant_id, payout_id=payout_id)
        return f"Asked: the payout is {_words(payout.status)}"


async def _note(actor: Actor, item: Item, reason: str) -> None:
    """Before anybody outside is called, it is written down that an operator does it."""
    what = {Kind.CONFLICTED: "released", Kind.FAILED: "tried_again"}.get(item.kind, "asked_psp")
    async with unit_of_work(item.merchant_id) as session:
        await service.note(session, at(actor, item.merchant_id, "payments.read"), item, what=what, reason=reason)


def _words(state: str) -> str:
    return state.replace("_", " ")


_REPAIRS: dict[Kind, Callable[[Actor, Item, str], Awaitable[str]]] = {
    Kind.UNKNOWN: _ask_payment,
    Kind.UNANSWERED: _ask_attempt,
    Kind.OPERATION: _ask_attempt,
    Kind.CONFLICTED: _release,
    Kind.LATE: _nothing,
    Kind.FAILED: _try_again,
    Kind.WEBHOOK: _apply_again,
    Kind.PAYOUT: _ask_payout,
}


async def refund(
    actor: Actor,
    *,
    merchant_id: MerchantId,
    payment_id: PaymentId,
    amount: Money,
    reason: str,
    keep_fee: bool,
    key: str,
) -> str:
    """Give a buyer back what was captured, by the merchant's rules: where others have to agree, they are asked and nothing moves before."""
    here = at(actor, merchant_id, "payments.refund")
    async with unit_of_work(merchant_id) as session:
        await note_act(session, here, object_type="payment", object_id=payment_id, what="refunds", reason=reason)
    if await refund_requests.others_needed(here, amount):
        await refund_requests.ask(here, payment_id=payment_id, amount=amount, split=None, reason=reason, keep_fee=keep_fee)
        return f"The refund of {amount.format()} waits for the approval of others at the merchant"
    request = fingerprint("operator-refund", public_id("pay", payment_id), msgspec.json.encode((amount, keep_fee)))
    await payments.refund(here, payment_id=payment_id, amount=amount, reason=reason, keep_fee=keep_fee, key=f"page:{key}", request=request)
    return f"The refund of {amount.format()} is on its way"
