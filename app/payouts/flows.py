"""Payouts and the network: claim → call → record.

The claim (attempt, end-to-end id, journal) is committed before the bank hears anything; the record commits state and ledger together. Dying
anywhere in between leaves an attempt that is due, and the bank is asked about it by its one name.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import structlog

from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.failpoints import failpoint
from app.core.ids import MerchantId, PspEventId, SellerId
from app.core.money import Money
from app.payouts import queries
from app.payouts.domain import PayoutAttemptId, PayoutEventNotConfirmed, PayoutId
from app.payouts.domain.port import BankWord
from app.payouts.queries import details
from app.payouts.service import approvals, holds, records, requests, schedules, sending
from app.psp import queries as psp
from app.psp.domain import EventKind
from app.psp.service import inbox

log = structlog.get_logger()
AT_ONCE = 8


class Requested(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request, kept byte for byte under its key."""

    status: int
    body: bytes
    payout_id: PayoutId
    replayed: bool = False


async def request(actor: Actor, *, seller_id: SellerId, amount: Money, statement_text: str = "", key: str, request: bytes) -> Requested:
    """Request a payout exactly once per key: the claim, the payout and the answer are one transaction."""
    merchant_id = actor.merchant
    async with unit_of_work(merchant_id) as session:
        claim = await idempotency.claim(session, merchant_id=merchant_id, key=key, request=request)
        if claim.replay is not None and claim.resource_id is not None:
            return Requested(status=claim.replay.status, body=claim.replay.body, payout_id=PayoutId(claim.resource_id), replayed=True)
        payout = await requests.request_payout(session, actor, seller_id=seller_id, amount=amount, statement_text=statement_text)
        payout_id = PayoutId(payout.id)
        view = await details.payout_view(session, merchant_id=merchant_id, payout_id=payout_id)
        answer = idempotency.Answer(201, msgspec.json.encode(view))
        await idempotency.name_resource(session, merchant_id=merchant_id, key=key, resource_id=payout_id)
        await idempotency.finish(session, merchant_id=merchant_id, key=key, answer=answer)
    return Requested(status=answer.status, body=answer.body, payout_id=payout_id)


async def approve_each(actor: Actor, chosen: Sequence[tuple[PayoutId, str]]) -> list[tuple[PayoutId, str | None]]:
    """Agree to several payouts, each in a transaction of its own; says for each why it was not possible, if it was not."""
    results: list[tuple[PayoutId, str | None]] = []
    for payout_id, digest in chosen:
        problem = None
        try:
            async with unit_of_work(actor.merchant) as session:
                await approvals.approve_payout(session, actor, payout_id=payout_id, digest=digest, reason="Approved with others")
        except AppError as refused:
            problem = refused.detail
        results.append((payout_id, problem))
    return results


async def send_due() -> int:
    """Batch what is due, of all merchants, and send every order whose way to the bank is a call; returns how many were sent."""
    async with unit_of_work(None) as session:
        due = await sending.due_payouts(session)
    by_merchant: defaultdict[MerchantId, list[PayoutId]] = defaultdict(list)
    for merchant_id, payout_id in due:
        by_merchant[merchant_id].append(payout_id)
    sent = 0
    for merchant_id, payout_ids in by_merchant.items():
        async with unit_of_work(merchant_id) as session:
            await sending.form_batches(session, merchant_id=merchant_id, payout_ids=payout_ids)
        await failpoint("payouts.batched")
        sent += await _send_all(merchant_id, payout_ids)
        async with unit_of_work(merchant_id) as session:
            await sending.close_batches(session, merchant_id=merchant_id)
    return sent


async def _send_all(merchant_id: MerchantId, payout_ids: list[PayoutId]) -> int:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(payout_id: PayoutId) -> bool:
        async with gate:
            try:
                return await send(merchant_id=merchant_id, payout_id=payout_id)
            except Exception:
                log.exception("sending a payout failed; it stays due", payout=str(payout_id))
                return False

    return sum(await asyncio.gather(*(one(payout_id) for payout_id in payout_ids)))


async def send(*, merchant_id: MerchantId, payout_id: PayoutId) -> bool:
    """Send one order; whoever comes second finds nothing to do."""
    actor = Actor.worker(merchant_id, "Payout run")
    async with unit_of_work(merchant_id) as session:
        claimed = await sending.claim(session, actor, merchant_id=merchant_id, payout_id=payout_id)
    if claimed is None:
        return False
    await failpoint("payouts.claimed")
    answer = await claimed.rail.send(claimed.order)
    await failpoint("payouts.called")
    async with unit_of_work(merchant_id) as session:
        await records.record(session, actor, merchant_id=merchant_id, payout_id=payout_id, attempt_id=claimed.attempt_id, answer=answer)
    await failpoint("payouts.recorded")
    return True


async def ask(*, merchant_id: MerchantId, attempt_id: PayoutAttemptId) -> None:
    """Ask the bank what became of an order, by its end-to-end id."""
    async with unit_of_work(merchant_id) as session:
        question = await sending.count_question(session, merchant_id=merchant_id, attempt_id=attempt_id)
    if question is None:
        return
    answer = await question.rail.lookup(question.end_to_end_id)
    await failpoint("payouts.asked")
    async with unit_of_work(merchant_id) as session:
        actor = Actor.worker(merchant_id, "Payout follow-up")
        await records.record(session, actor, merchant_id=merchant_id, payout_id=question.payout_id, attempt_id=attempt_id, answer=answer)


async def ask_due() -> int:
    """Ask about every order on which the bank's last word is missing and which is due, of all merchants; returns how many."""
    async with unit_of_work(None) as session:
        due = await sending.attempts_to_ask(session)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(merchant_id: MerchantId, attempt_id: PayoutAttemptId) -> None:
        async with gate:
            try:
                await ask(merchant_id=merchant_id, attempt_id=attempt_id)
            except Exception:
                log.exception("asking about a payout failed; it stays due", attempt=str(attempt_id))

    await asyncio.gather(*(one(*each) for each in due))
    return len(due)


async def refresh(*, merchant_id: MerchantId, payout_id: PayoutId) -> None:
    """Ask the bank about one payout now."""
    async with unit_of_work(merchant_id) as session:
        await queries.payout(session, merchant_id=merchant_id, payout_id=payout_id)
        attempt = await sending.open_attempt(session, merchant_id=merchant_id, payout_id=payout_id)
    if attempt is not None:
        await ask(merchant_id=merchant_id, attempt_id=PayoutAttemptId(attempt.id))


async def apply_psp_event(*, merchant_id: MerchantId, event_id: PspEventId) -> None:
    """Apply what a bank told us: find the payout by its end-to-end id, fetch the bank's present word on it, and record that, whatever the order of arrival."""
    async with unit_of_work(merchant_id) as session:
        event = await psp.psp_event(session, merchant_id=merchant_id, event_id=event_id)
        if event.kind != EventKind.PAYOUT:
            return
        payout = await queries.payout_of_order(session, merchant_id=merchant_id, end_to_end_id=event.our_reference or "")
        attempt = None if payout is None else await sending.open_attempt(session, merchant_id=merchant_id, payout_id=PayoutId(payout.id))
        if payout is None or attempt is None:
            await inbox.mark_ignored(session, merchant_id=merchant_id, event_id=event_id, reason="It is about no payout of ours.")
            return
        payout_id, attempt_id = PayoutId(payout.id), PayoutAttemptId(attempt.id)
        rail = await sending.rail_of_payout(session, merchant_id=merchant_id, payout=payout)
    answer = await rail.lookup(event.our_reference or "")
    await failpoint("payouts.event_fetched")
    if answer.word in (BankWord.UNKNOWN, BankWord.NOT_FOUND):
        raise PayoutEventNotConfirmed("The bank could not be asked about its own message; it is tried again.")
    async with unit_of_work(merchant_id) as session:
        actor = Actor.psp(merchant_id, "the bank")
        await records.record(session, actor, merchant_id=merchant_id, payout_id=payout_id, attempt_id=attempt_id, answer=answer)
        await inbox.mark_applied(session, merchant_id=merchant_id, event_id=event_id)


async def run_schedules() -> int:
    """Pay out every seller whose day has come, of all merchants, one transaction each; returns how many payouts were requested."""
    async with unit_of_work(None) as session:
        due = await schedules.due_schedules(session)
    paid = 0
    for merchant_id, schedule_id in due:
        try:
            async with unit_of_work(merchant_id) as session:
                paid += await schedules.run_schedule(session, merchant_id=merchant_id, schedule_id=schedule_id) is not None
        except Exception:
            log.exception("a payout schedule failed; it stays due", schedule=str(schedule_id))
    return paid


async def expire_due() -> int:
    """Close payouts for which nobody decided in time, and let those go on whose hold is over; returns how many things changed."""
    async with unit_of_work(None) as session:
        over = await holds.expiring_holds(session)
        waiting = await requests.expiring_payouts(session)
    for merchant_id, hold_id in over:
        async with unit_of_work(merchant_id) as session:
            await holds.release_hold(session, Actor.system(merchant_id, "the clock"), hold_id=hold_id, reason="Its time is over")
    closed = 0
    for merchant_id, payout_id in waiting:
        async with unit_of_work(merchant_id) as session:
            closed += await requests.expire_payout(session, merchant_id=merchant_id, payout_id=payout_id)
    return len(over) + closed
