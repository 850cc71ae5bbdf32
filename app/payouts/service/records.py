"""What a bank says of a payout, written down with what it means in the ledger. Words may come late, twice and in any order: a state never moves back."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId
from app.payouts import queries
from app.payouts.domain import (
    AGAIN_AFTER_PAID,
    CONTRADICTED,
    DECIDED_BY,
    NOT_FOUND_COUNTS_AFTER,
    OUT,
    PayoutAttemptId,
    PayoutFailed,
    PayoutId,
    PayoutInTransit,
    PayoutPaid,
    PayoutReturned,
    PayoutStatus,
    PayoutSubmitted,
    PayoutUnknown,
)
from app.payouts.domain.port import UNDECIDED, BankAnswer, BankWord
from app.payouts.models import Payout, PayoutAttempt
from app.payouts.service import history, postings, sheets, steps
from app.sellers.domain.bank_accounts import BankAccountId
from app.sellers.service import bank_accounts

P = PayoutStatus
MISMATCH = "amount_mismatch"


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What a bank said of one order."""

    payout_id: PayoutId
    attempt_id: PayoutAttemptId
    answer: BankAnswer


async def record(
    session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, payout_id: PayoutId, attempt_id: PayoutAttemptId, answer: BankAnswer
) -> Payout:
    """Record one word of the bank."""
    await queries.payout(session, merchant_id=merchant_id, payout_id=payout_id)
    word = Word(payout_id=payout_id, attempt_id=attempt_id, answer=answer)
    return (await record_all(session, actor, merchant_id=merchant_id, words=[word]))[0]


async def record_all(session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, words: Sequence[Word]) -> list[Payout]:
    """Record what a bank said of several orders, one word each, with one statement for each table."""
    payouts = await history.lock_all(session, merchant_id=merchant_id, payout_ids=[word.payout_id for word in words])
    statement = select(PayoutAttempt).where(
        PayoutAttempt.merchant_id == merchant_id, PayoutAttempt.id.in_([word.attempt_id for word in words])
    )
    attempts = {row.id: row for row in (await session.execute(statement.execution_options(populate_existing=True))).scalars()}
    async with sheets.together(session, merchant_id):
        for word in words:
            await _record(session, actor, payouts[word.payout_id], attempts[word.attempt_id], word.answer)
    return [payouts[word.payout_id] for word in words]


async def _record(session: AsyncSession, actor: Actor, payout: Payout, attempt: PayoutAttempt, answer: BankAnswer) -> None:
    """Another amount than was ordered is never taken for our order: it stays unknown until a person has looked."""
    if answer.amount is not None and answer.amount != postings.amount(payout):
        answer = BankAnswer(word=BankWord.UNKNOWN, code=MISMATCH, evidence=answer.evidence, latency_ms=answer.latency_ms)
    contradicts = payout.status == P.FAILED and answer.word is BankWord.PAID and attempt.word != BankWord.PAID
    found_out = dict(attempt.evidence) if DECIDED_BY in attempt.evidence else {}
    _keep(attempt, answer)
    if found_out:
        # what a person found out is kept beside whatever the bank says later
        contradicts = _is_otherwise(payout, answer) and found_out.get(CONTRADICTED) != _said(answer)
        attempt.evidence = {**attempt.evidence, **found_out} | ({CONTRADICTED: _said(answer)} if contradicts else {})
    if contradicts:
        await history.note(session, actor, payout=payout, kind="bank.contradicted", before=payout.status, details={"word": answer.word})
    if answer.provider_reference:
        payout.provider_reference = answer.provider_reference
    if payout.status in OUT or answer.word in (BankWord.REFUSED, BankWord.RETURNED):
        await _follow(session, actor, payout, attempt, answer)


def _is_otherwise(payout: Payout, answer: BankAnswer) -> bool:
    """Whether the bank says something else than a person found out; a refusal or a return of what was paid is a step of its own."""
    if payout.status == P.FAILED:
        return answer.word in (BankWord.ACCEPTED, BankWord.IN_TRANSIT, BankWord.PAID) or answer.code == MISMATCH
    return payout.status == P.PAID and (answer.word is BankWord.NOT_FOUND or answer.code == MISMATCH)


def _said(answer: BankAnswer) -> str:
    return answer.code if answer.code == MISMATCH else answer.word.value


async def record_by_order(
    session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, end_to_end_id: str, answer: BankAnswer
) -> Payout | None:
    """Record what somebody says of one order; None when it is none of ours, or was never sent."""
    return (await record_by_orders(session, actor, merchant_id=merchant_id, answers=[(end_to_end_id, answer)])).get(end_to_end_id)


async def record_by_orders(
    session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, answers: Sequence[tuple[str, BankAnswer]]
) -> dict[str, Payout]:
    """Record what a statement, a status file or a person says of orders, by their end-to-end ids, word after word.

    Gives the payouts that moved by their end-to-end ids; an order that is none of ours, or was never sent, is left out.
    """
    newest = (
        select(Payout.end_to_end_id, PayoutAttempt.payout_id, PayoutAttempt.id)
        .join(PayoutAttempt, and_(PayoutAttempt.merchant_id == Payout.merchant_id, PayoutAttempt.payout_id == Payout.id))
        .where(Payout.merchant_id == merchant_id, Payout.end_to_end_id.in_([name for name, _ in answers]))
        .order_by(PayoutAttempt.payout_id, PayoutAttempt.number)
    )
    orders = {name: (PayoutId(payout_id), PayoutAttemptId(attempt_id)) for name, payout_id, attempt_id in await session.execute(newest)}
    ours = [(name, answer) for name, answer in answers if name in orders]
    words = [Word(payout_id=orders[name][0], attempt_id=orders[name][1], answer=answer) for name, answer in ours]
    payouts = await record_all(session, actor, merchant_id=merchant_id, words=words)
    return {name: payout for (name, _), payout in zip(ours, payouts, strict=True)}


def _keep(attempt: PayoutAttempt, answer: BankAnswer) -> None:
    """What the bank said, unless it said more before."""
    if attempt.word not in UNDECIDED and answer.word in UNDECIDED:
        return
    if answer.word is BankWord.UNKNOWN and attempt.word is not None:
        attempt.code, attempt.evidence = answer.code, answer.evidence
        return
    attempt.word, attempt.code, attempt.message = answer.word, answer.code, answer.message
    attempt.provider_reference = answer.provider_reference or attempt.provider_reference
    attempt.evidence, attempt.latency_ms = answer.evidence, answer.latency_ms
    if answer.word not in UNDECIDED:
        attempt.finished_at = attempt.finished_at or now()
        attempt.next_ask_at = now() + AGAIN_AFTER_PAID if answer.word is BankWord.PAID else None


async def _follow(session: AsyncSession, actor: Actor, payout: Payout, attempt: PayoutAttempt, answer: BankAnswer) -> None:
    match answer.word:
        case BankWord.ACCEPTED:
            await _advance(session, actor, payout, P.SUBMITTED)
        case BankWord.IN_TRANSIT:
            await _advance(session, actor, payout, P.IN_TRANSIT)
        case BankWord.PAID:
            await _advance(session, actor, payout, P.PAID)
        case BankWord.REFUSED:
            await _refuse(session, actor, payout, answer)
        case BankWord.RETURNED:
            await _come_back(session, actor, payout, answer)
        case BankWord.UNKNOWN:
            await _lose(session, actor, payout, answer)
        case BankWord.NOT_FOUND:
            await _miss(session, actor, payout, attempt, answer)


async def _advance(session: AsyncSession, actor: Actor, payout: Payout, to: PayoutStatus) -> None:
    """Take every step up to a state, so that the history is whole even when a message was lost or overtaken."""
    if payout.status in (P.SENDING, P.UNKNOWN):
        await history.move(session, actor, payout=payout, event="acknowledge", tells=PayoutSubmitted)
    if to in (P.IN_TRANSIT, P.PAID) and payout.status == P.SUBMITTED:
        await history.move(session, actor, payout=payout, event="accept", tells=PayoutInTransit)
    if to == P.PAID and payout.status == P.IN_TRANSIT:
        payout.paid_at = now()
        await history.move(session, actor, payout=payout, event="pay", tells=PayoutPaid)
        await postings.post_paid(session, actor, payout=payout)


async def _refuse(session: AsyncSession, actor: Actor, payout: Payout, answer: BankAnswer) -> None:
    if payout.status in OUT:
        payout.failure_code, payout.failure_message = answer.code, answer.message
        details = {"code": answer.code or ""}
        await history.move(session, actor, payout=payout, event="fail", tells=PayoutFailed, reason=answer.message, details=details)
        await postings.post_failed(session, actor, payout=payout)
    elif payout.status == P.PAID:
        # some banks report an order as paid and take it back days later
        await _come_back(session, actor, payout, answer)


async def _come_back(session: AsyncSession, actor: Actor, payout: Payout, answer: BankAnswer) -> None:
    await _advance(session, actor, payout, P.PAID)
    if payout.status != P.PAID:
        return
    payout.failure_code, payout.failure_message = answer.code, answer.message
    details = {"code": answer.code or ""}
    await history.move(session, actor, payout=payout, event="return", tells=PayoutReturned, reason=answer.message, details=details)
    await postings.post_returned(session, actor, payout=payout)
    reason = f"A payout came back{f' with code {answer.code}' if answer.code else ''}"
    await bank_accounts.fail_verification(session, actor, account_id=BankAccountId(payout.bank_account_id), reason=reason)


async def _lose(session: AsyncSession, actor: Actor, payout: Payout, answer: BankAnswer) -> None:
    if payout.status == P.SENDING:
        details = {"code": answer.code or ""}
        await history.move(session, actor, payout=payout, event="lose", tells=PayoutUnknown, details=details)


async def _miss(session: AsyncSession, actor: Actor, payout: Payout, attempt: PayoutAttempt, answer: BankAnswer) -> None:
    """The bank has no such order. Long after it was sent that is a clear word: the same order, under the same name, is sent again."""
    await _lose(session, actor, payout, answer)
    if payout.status == P.UNKNOWN and now() - attempt.begun_at >= NOT_FOUND_COUNTS_AFTER:
        attempt.next_ask_at, attempt.finished_at = None, now()
        reason = "The bank never got the order"
        await history.move(session, actor, payout=payout, event="resend", reason=reason)
        await steps.schedule(session, actor, payout=payout)
