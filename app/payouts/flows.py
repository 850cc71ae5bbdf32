"""Payouts and the network: claim → call → record.

The claim (attempt, end-to-end id, journal) is committed before the bank hears anything; the record commits state and ledger together. Dying
anywhere in between leaves an attempt that is due, and the bank is asked about it by its one name.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import structlog

from app.core import idempotency, rounds
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.failpoints import failpoint
from app.core.ids import MerchantId, PspEventId, SellerId
from app.core.money import Money
from app.payouts import queries
from app.payouts.domain import PayoutAttemptId, PayoutEventNotConfirmed, PayoutHoldId, PayoutId, PayoutScheduleId, Verdict
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.queries import details
from app.payouts.service import approvals, decisions, holds, records, requests, schedules, sending
from app.psp import queries as psp
from app.psp.domain import EventKind
from app.psp.service import inbox

log = structlog.get_logger()
T = TypeVar("T")
RUN_SECONDS, SCHEDULES_SECONDS = 5.0, 30.0
"""About as long as the clock takes to come again."""
MOST_DUE, IN_ONE_TRANSACTION = 1000, 200
LANES = 2
"""While one set is with the bank, another one is with the database."""
CALLS_AT_ONCE = 16
"""Connections to one bank a lane uses."""


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
    """Agree to several payouts, some in each transaction; says for each why it was not possible, if it was not."""
    results: list[tuple[PayoutId, str | None]] = []
    chosen = list(dict(chosen).items())
    for start in range(0, len(chosen), IN_ONE_TRANSACTION):
        some = [approvals.Choice(payout_id=payout_id, digest=digest) for payout_id, digest in chosen[start : start + IN_ONE_TRANSACTION]]
        async with unit_of_work(actor.merchant) as session:
            decided = await approvals.approve_all(session, actor, choices=some, reason="Approved with others")
        problems = [found.detail if isinstance(found, AppError) else None for found in decided]
        results += [(choice.payout_id, problem) for choice, problem in zip(some, problems, strict=True)]
    return results


async def send_due() -> int:
    """Batch what is due, of all merchants, and send every order whose way to the bank is a call; returns how many the bank answered.

    It ends about when the clock comes again, so that a long run holds up nobody: what is left is due still.
    """
    until, sent = time.monotonic() + RUN_SECONDS, 0
    while True:
        async with unit_of_work(None) as session:
            due = await sending.due_merchants(session)
        done = await rounds.each(due, lambda merchant_id: _send_for(merchant_id, until))
        sent += done
        if not done or time.monotonic() > until:
            return sent


async def _send_for(merchant_id: MerchantId, until: float) -> int:
    """Send what a merchant has due, in sets: a lane claims one, calls for it and records it before it takes the next."""
    async with unit_of_work(merchant_id) as session:
        await sending.form_batches(session, merchant_id=merchant_id)
    await failpoint("payouts.batched")

    async def lane() -> int:
        sent = 0
        while time.monotonic() < until and (claimed := await _claim(merchant_id)):
            heard = sum(answer.word is not BankWord.UNKNOWN for answer in await _send_all(merchant_id, claimed))
            if not heard:
                break  # the bank is away: what it was not asked for yet is safer here
            sent += heard
        return sent

    ended = await asyncio.gather(*(lane() for _ in range(LANES)), return_exceptions=True)
    async with unit_of_work(merchant_id) as session:
        await sending.close_batches(session, merchant_id=merchant_id)
    for problem in ended:
        if isinstance(problem, BaseException):
            raise problem
    return sum(sent for sent in ended if isinstance(sent, int))


async def _claim(merchant_id: MerchantId) -> list[sending.Claimed]:
    """The next set that is due; what cannot be claimed, and keeps the rest of its set from it, is looked at again later."""
    actor = Actor.worker(merchant_id, "Payout run")
    try:
        async with unit_of_work(merchant_id) as session:
            return await sending.claim(session, actor, merchant_id=merchant_id)
    except AppError as refused:
        log.warning("payouts_claimed_one_by_one", merchant=str(merchant_id), error=refused.detail)
    async with unit_of_work(merchant_id) as session:
        payout_ids = await sending.next_in_line(session, merchant_id=merchant_id)
    claimed: list[sending.Claimed] = []
    for payout_id in payout_ids:
        try:
            async with unit_of_work(merchant_id) as session:
                claimed += await sending.claim(session, actor, merchant_id=merchant_id, payout_ids=[payout_id])
        except AppError:
            log.exception("payout_not_claimed", payout=str(payout_id))
            async with unit_of_work(merchant_id) as session:
                await sending.put_off(session, merchant_id=merchant_id, payout_ids=[payout_id])
    return claimed


async def _send_all(merchant_id: MerchantId, claimed: Sequence[sending.Claimed]) -> list[BankAnswer]:
    await failpoint("payouts.claimed")
    answers = await _each_answer([(each.rail.send, each.order) for each in claimed])
    await failpoint("payouts.called")
    await _record(Actor.worker(merchant_id, "Payout run"), _words(claimed, answers))
    await failpoint("payouts.recorded")
    return answers


async def _each_answer(questions: Sequence[tuple[Callable[[T], Awaitable[BankAnswer]], T]]) -> list[BankAnswer]:
    """Ask a bank many things, some at a time; a call that fails in a way nobody foresaw leaves open what happened."""
    gate = asyncio.Semaphore(CALLS_AT_ONCE)

    async def one(ask: Callable[[T], Awaitable[BankAnswer]], about: T) -> BankAnswer:
        async with gate:
            try:
                return await ask(about)
            except Exception as problem:
                log.exception("bank_call_failed")
                return BankAnswer(word=BankWord.UNKNOWN, code=type(problem).__name__)

    return list(await asyncio.gather(*(one(*question) for question in questions)))


async def _record(actor: Actor, words: Sequence[records.Word]) -> None:
    """Record what a bank said of many orders in one transaction; where one word is refused, each in its own."""

    async def record(some: Sequence[records.Word]) -> int:
        async with unit_of_work(actor.merchant) as session:
            return len(await records.record_all(session, actor, merchant_id=actor.merchant, words=some))

    await rounds.at_once(words, record)


def _words(asked: Sequence[sending.Asked], answers: Sequence[BankAnswer]) -> list[records.Word]:
    return [
        records.Word(payout_id=each.payout_id, attempt_id=each.attempt_id, answer=answer)
        for each, answer in zip(asked, answers, strict=True)
    ]


async def ask(*, merchant_id: MerchantId, attempt_ids: Sequence[PayoutAttemptId]) -> int:
    """Ask the bank what became of some orders, each by its end-to-end id; returns how many were asked about."""
    async with unit_of_work(merchant_id) as session:
        questions = await sending.count_questions(session, merchant_id=merchant_id, attempt_ids=attempt_ids)
    if not questions:
        return 0
    answers = await _each_answer([(each.rail.lookup, each.end_to_end_id) for each in questions])
    await failpoint("payouts.asked")
    await _record(Actor.worker(merchant_id, "Payout follow-up"), _words(questions, answers))
    return len(questions)


async def ask_due() -> int:
    """Ask about every order on which the bank's last word is missing and which is due, of all merchants; returns how many."""
    until, asked = time.monotonic() + RUN_SECONDS, 0
    while True:
        async with unit_of_work(None) as session:
            due = await sending.attempts_to_ask(session)
        done = await rounds.each(rounds.together(due, sending.CLAIMED_AT_ONCE), lambda some: ask(merchant_id=some[0], attempt_ids=some[1]))
        asked += done
        if not done or time.monotonic() > until:
            return asked


async def refresh(*, merchant_id: MerchantId, payout_id: PayoutId) -> None:
    """Ask the bank about one payout now."""
    async with unit_of_work(merchant_id) as session:
        await queries.payout(session, merchant_id=merchant_id, payout_id=payout_id)
        attempt = await sending.open_attempt(session, merchant_id=merchant_id, payout_id=payout_id)
    if attempt is not None:
        await ask(merchant_id=merchant_id, attempt_ids=[PayoutAttemptId(attempt.id)])


async def decide(actor: Actor, *, payout_id: PayoutId, verdict: Verdict, reference: str, reason: str) -> str:
    """Record what a person found out, unless the bank gives its word at the last question; returns where the payout stands."""
    async with unit_of_work(actor.merchant) as session:
        await decisions.to_decide(session, actor, payout_id=payout_id)
    await refresh(merchant_id=actor.merchant, payout_id=payout_id)
    await failpoint("payouts.decision_asked")
    async with unit_of_work(actor.merchant) as session:
        payout = await decisions.decide(session, actor, payout_id=payout_id, verdict=verdict, reference=reference, reason=reason)
        return payout.status


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
    """Pay out every seller whose day has come, of all merchants, some in each transaction; returns how many payouts were requested."""
    until, paid = time.monotonic() + SCHEDULES_SECONDS, 0
    while True:
        async with unit_of_work(None) as session:
            due = await schedules.due_schedules(session, most=MOST_DUE)
        paid += await rounds.each(rounds.together(due, IN_ONE_TRANSACTION), _run_schedules)
        if len(due) < MOST_DUE or time.monotonic() > until:
            return paid


async def _run_schedules(some: tuple[MerchantId, list[PayoutScheduleId]]) -> int:
    merchant_id, due = some

    async def run(schedule_ids: Sequence[PayoutScheduleId]) -> int:
        async with unit_of_work(merchant_id) as session:
            return await schedules.run_schedules(session, merchant_id=merchant_id, schedule_ids=schedule_ids)

    return await rounds.at_once(due, run)


async def expire_due() -> int:
    """Close payouts for which nobody decided in time, and let those go on whose hold is over; returns how many things changed."""
    async with unit_of_work(None) as session:
        over = await holds.expiring_holds(session)
        waiting = await requests.expiring_payouts(session)
    return await rounds.each(over, _end_hold) + await rounds.each(waiting, _expire)


async def _end_hold(which: tuple[MerchantId, PayoutHoldId]) -> int:
    merchant_id, hold_id = which
    async with unit_of_work(merchant_id) as session:
        await holds.release_hold(session, Actor.system(merchant_id, "the clock"), hold_id=hold_id, reason="Its time is over")
    return 1


async def _expire(which: tuple[MerchantId, PayoutId]) -> int:
    merchant_id, payout_id = which
    async with unit_of_work(merchant_id) as session:
        return await requests.expire_payout(session, merchant_id=merchant_id, payout_id=payout_id)
