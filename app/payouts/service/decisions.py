"""What a person found out about a payout on which the bank never gave its word. One transaction, no network."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.payouts import queries
from app.payouts.domain import (
    DECIDED_BY,
    PEOPLE_DECIDE_AFTER,
    PayoutAttemptId,
    PayoutId,
    PayoutNeedsSecondPerson,
    PayoutOutcomeKnown,
    PayoutReferenceMissing,
    PayoutStatus,
    PayoutStillAskedAbout,
    Verdict,
)
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.models import Payout, PayoutAttempt
from app.payouts.service import history, postings, records, sending


async def to_decide(session: AsyncSession, actor: Actor, *, payout_id: PayoutId) -> tuple[Payout, PayoutAttempt]:
    """A payout that this person may decide about, locked, with its newest order."""
    payout = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    attempt = await sending.open_attempt(session, merchant_id=actor.merchant, payout_id=payout_id)
    if payout.status != PayoutStatus.UNKNOWN or attempt is None:
        raise PayoutOutcomeKnown(f"The payout is {payout.status.replace('_', ' ')}.")
    if attempt.next_ask_at is not None or now() - attempt.begun_at < PEOPLE_DECIDE_AFTER:
        raise PayoutStillAskedAbout(f"People decide {PEOPLE_DECIDE_AFTER.days} days after the order was given, when asking is over.")
    if actor.id is None or actor.id in queries.had_a_hand_in(payout):
        raise PayoutNeedsSecondPerson("You requested this payout, changed it or set its bank account; somebody else has to decide.")
    actor.require_within("payouts.approve", postings.amount(payout))
    return payout, attempt


async def decide(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, verdict: Verdict, reference: str, reason: str) -> Payout:
    """Record what a person found out, with all that would follow had the bank said it."""
    if verdict is Verdict.CARRIED_OUT and not reference.strip():
        problem = "Enter the reference under which the bank has it."
        raise PayoutReferenceMissing(problem, fields={"reference": problem})
    payout, attempt = await to_decide(session, actor, payout_id=payout_id)
    await audit.record(
        session,
        actor,
        action="payout.outcome_decided",
        object_type="payout",
        object_id=payout.id,
        before={"status": payout.status, "asked_times": attempt.asked_times},
        after={"verdict": verdict, "reference": reference.strip() or None, "amount_minor": payout.amount_minor},
        reason=reason,
    )
    attempt_id, answer = PayoutAttemptId(attempt.id), _answer(actor, payout, verdict, reference, reason)
    return await records.record(session, actor, merchant_id=actor.merchant, payout_id=payout_id, attempt_id=attempt_id, answer=answer)


def _answer(actor: Actor, payout: Payout, verdict: Verdict, reference: str, reason: str) -> BankAnswer:
    evidence = {DECIDED_BY: actor.name, "reason": reason}
    if verdict is Verdict.CARRIED_OUT:
        amount = postings.amount(payout)
        return BankAnswer(word=BankWord.PAID, provider_reference=reference.strip(), amount=amount, message=reason, evidence=evidence)
    return BankAnswer(
        word=BankWord.REFUSED,
        code=verdict.value,
        message=f"{actor.name} found out that it was not carried out: {reason}",
        evidence=evidence,
    )
