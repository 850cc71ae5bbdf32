"""Sending payouts: batches, the claim that is committed before the bank is called, and the questions that follow a lost answer."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import ConnectionId, MerchantId, new_id
from app.payouts import queries
from app.payouts.adapters import RAILS
from app.payouts.domain import (
    AGAIN_AFTER_PAID,
    FINAL_AFTER,
    OUT,
    BatchStatus,
    FundingAccountId,
    FundingAccountInvalid,
    HoldKind,
    PayoutAttemptId,
    PayoutId,
    PayoutStatus,
    Rail,
    next_ask_at,
)
from app.payouts.domain.port import UNDECIDED, BankOrder, RailAdapter
from app.payouts.models import FundingAccount, Payout, PayoutAttempt, PayoutBatch, PayoutHistory, PayoutHold
from app.payouts.service import history, holds, postings
from app.psp.service import connections
from app.sellers.domain.bank_accounts import BankAccountId
from app.sellers.queries import bank_accounts

_DUE = text("select merchant_id, id from payouts_due(:moment, :most)")
_TO_ASK = text("select merchant_id, id from payout_attempts_due(:moment, :most)")
HELD_FOR = timedelta(minutes=10)
"""When a payout that a hold keeps back is looked at again."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """One order that is ready to be sent: everything the call needs, read before it is made."""

    merchant_id: MerchantId
    payout_id: PayoutId
    attempt_id: PayoutAttemptId
    order: BankOrder
    rail: RailAdapter


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One order the bank is to be asked about."""

    merchant_id: MerchantId
    payout_id: PayoutId
    attempt_id: PayoutAttemptId
    end_to_end_id: str
    rail: RailAdapter


async def due_payouts(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, PayoutId]]:
    """Payouts of all merchants whose time to leave has come, or whose batch was not carried to its end."""
    rows = await session.execute(_DUE, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), PayoutId(row.id)) for row in rows]


async def form_batches(session: AsyncSession, *, merchant_id: MerchantId, payout_ids: Sequence[PayoutId]) -> list[PayoutBatch]:
    """Put due payouts that nothing holds into batches, one for each account to pay from and value date. What another scheduler has is left to it."""
    statement = select(Payout).where(
        Payout.merchant_id == merchant_id,
        Payout.id.in_(list(payout_ids)),
        Payout.status == PayoutStatus.SCHEDULED,
        Payout.send_at <= now(),
    )
    rows = list((await session.execute(statement.order_by(Payout.id).with_for_update(skip_locked=True))).scalars())
    await _hold_lost_destinations(session, merchant_id, rows)
    free = await _without_held(session, merchant_id, rows)
    groups: defaultdict[tuple[object, object], list[Payout]] = defaultdict(list)
    for payout in free:
        groups[payout.funding_account_id, payout.value_on].append(payout)
    return [await _batch(session, merchant_id, group) for group in groups.values()]


async def _hold_lost_destinations(session: AsyncSession, merchant_id: MerchantId, rows: Sequence[Payout]) -> None:
    """An account that was retired, or whose bank sent money back, since the payout was approved: nothing goes there before somebody has looked."""
    accounts = await bank_accounts.destinations(session, merchant_id=merchant_id, ids={BankAccountId(row.bank_account_id) for row in rows})
    lost = [row for row in rows if not accounts[BankAccountId(row.bank_account_id)].is_in_use]
    held = select(PayoutHold.payout_id).where(
        PayoutHold.merchant_id == merchant_id, PayoutHold.payout_id.in_([row.id for row in lost]), PayoutHold.released_at.is_(None)
    )
    already = set((await session.execute(held)).scalars()) if lost else set()
    actor = Actor.system(merchant_id, "the rules for payouts")
    for row in lost:
        if row.id not in already:
            reason = "Its bank account is not in use any more"
            await holds.hold_payout(session, actor, payout_id=PayoutId(row.id), kind=HoldKind.RECENT_CHANGE, reason=reason, expires_at=None)


async def _without_held(session: AsyncSession, merchant_id: MerchantId, rows: Sequence[Payout]) -> list[Payout]:
    """The payouts that no hold keeps back; the others are looked at again later."""
    statement = select(PayoutHold).where(
        PayoutHold.merchant_id == merchant_id,
        PayoutHold.seller_id.in_({row.seller_id for row in rows}),
        PayoutHold.released_at.is_(None),
        func.coalesce(PayoutHold.expires_at > now(), True),
    )
    standing = list((await session.execute(statement)).scalars())

    def is_held(payout: Payout) -> bool:
        return any(
            hold.seller_id == payout.seller_id
            and hold.payout_id in (None, payout.id)
            and hold.bank_account_id in (None, payout.bank_account_id)
            for hold in standing
        )

    held = [row.id for row in rows if is_held(row)]
    if held:
        where = (Payout.merchant_id == merchant_id, Payout.id.in_(held))
        await session.execute(update(Payout).where(*where).values(send_at=now() + HELD_FOR))
    return [row for row in rows if row.id not in set(held)]


async def _batch(session: AsyncSession, merchant_id: MerchantId, group: Sequence[Payout]) -> PayoutBatch:
    first, moment = group[0], now()
    funding = await queries.funding_account(session, merchant_id=merchant_id, funding_id=FundingAccountId(first.funding_account_id))
    assert first.value_on is not None
    batch = PayoutBatch(
        merchant_id=merchant_id,
        id=new_id(),
        funding_account_id=funding.id,
        rail=funding.rail,
        status=BatchStatus.READY,
        currency=first.currency,
        payouts=len(group),
        total_minor=sum(payout.amount_minor for payout in group),
        value_on=first.value_on,
        created_at=moment,
    )
    session.add(batch)
    await session.flush()
    values: dict[str, object] = {"status": PayoutStatus.BATCHED, "batch_id": batch.id, "updated_at": moment}
    if funding.rail != Rail.API:
        values["send_at"] = None  # a file waits for a person, not for the clock
    where = (Payout.merchant_id == merchant_id, Payout.id.in_([payout.id for payout in group]))
    await session.execute(update(Payout).where(*where).values(values))
    await session.execute(insert(PayoutHistory), [_batched(payout, moment=moment) for payout in group])
    return batch


def _batched(payout: Payout, *, moment: object) -> dict[str, object]:
    return {
        "merchant_id": payout.merchant_id,
        "id": new_id(),
        "payout_id": payout.id,
        "at": moment,
        "kind": "payout.batch",
        "from_status": PayoutStatus.SCHEDULED,
        "to_status": PayoutStatus.BATCHED,
        "actor_kind": "worker",
        "actor_name": "Payout run",
        "details": {},
    }


async def claim(session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, payout_id: PayoutId) -> Claimed | None:
    """Write down that the bank is about to be asked, and post it, before it is; None when somebody else did or it is not its turn.

    If we die after this is committed, the attempt is due and the bank is asked about the order by its end-to-end id.
    """
    statement = select(Payout).where(Payout.merchant_id == merchant_id, Payout.id == payout_id, Payout.status == PayoutStatus.BATCHED)
    payout = (await session.execute(statement.with_for_update(skip_locked=True))).scalar_one_or_none()
    if payout is None:
        return None
    funding = await queries.funding_account(session, merchant_id=merchant_id, funding_id=FundingAccountId(payout.funding_account_id))
    if funding.rail != Rail.API:
        return None
    attempt = await begin_attempt(session, actor, payout=payout)
    return Claimed(
        merchant_id=merchant_id,
        payout_id=payout_id,
        attempt_id=PayoutAttemptId(attempt.id),
        order=(await orders(session, merchant_id=merchant_id, payouts=[payout]))[0],
        rail=await rail_of(session, merchant_id=merchant_id, funding=funding),
    )


async def begin_attempt(session: AsyncSession, actor: Actor, *, payout: Payout) -> PayoutAttempt:
    """One more order under the payout's one end-to-end id; the first one moves the money from the wallet's side to the bank's."""
    moment = now()
    count = select(func.count()).where(PayoutAttempt.merchant_id == payout.merchant_id, PayoutAttempt.payout_id == payout.id)
    number = int((await session.execute(count)).scalar_one()) + 1
    attempt = PayoutAttempt(
        merchant_id=payout.merchant_id,
        id=new_id(),
        payout_id=payout.id,
        number=number,
        end_to_end_id=payout.end_to_end_id,
        evidence={},
        next_ask_at=next_ask_at(0, moment),
        begun_at=moment,
    )
    session.add(attempt)
    if payout.sent_at is None:
        payout.sent_at = moment
        await postings.post_sent(session, actor, payout=payout)
    payout.send_at = None
    await history.move(session, actor, payout=payout, event="claim", details={"attempt": number})
    return attempt


async def orders(session: AsyncSession, *, merchant_id: MerchantId, payouts: Sequence[Payout]) -> list[BankOrder]:
    """Payouts as a bank is asked for them, their account numbers in clear."""
    ids = {BankAccountId(payout.bank_account_id) for payout in payouts}
    accounts = await bank_accounts.destinations(session, merchant_id=merchant_id, ids=ids)
    numbers = await bank_accounts.numbers_of(session, merchant_id=merchant_id, ids=ids)
    found = []
    for payout in payouts:
        account = accounts[BankAccountId(payout.bank_account_id)]
        found.append(
            BankOrder(
                end_to_end_id=payout.end_to_end_id,
                amount=postings.amount(payout),
                creditor_name=account.holder_name,
                account_kind=account.kind,
                number=numbers[account.id],
                routing=account.routing,
                bic=account.bic,
                text=payout.statement_text,
            )
        )
    return found


async def rail_of(session: AsyncSession, *, merchant_id: MerchantId, funding: FundingAccount) -> RailAdapter:
    """The adapter for an account that is paid from by calls."""
    if funding.connection_id is None:
        raise FundingAccountInvalid("Orders of this account travel in files.")
    name, values = await connections.values_for(session, merchant_id=merchant_id, connection_id=ConnectionId(funding.connection_id))
    if name not in RAILS:
        raise FundingAccountInvalid("The provider of this connection pays nothing out.")
    return RAILS[name](values)


async def rail_of_payout(session: AsyncSession, *, merchant_id: MerchantId, payout: Payout) -> RailAdapter:
    """The adapter through which a payout is sent."""
    funding = await queries.funding_account(session, merchant_id=merchant_id, funding_id=FundingAccountId(payout.funding_account_id))
    return await rail_of(session, merchant_id=merchant_id, funding=funding)


async def attempts_to_ask(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, PayoutAttemptId]]:
    """Attempts of all merchants on which the bank's last word is missing and which are due to be asked about."""
    rows = await session.execute(_TO_ASK, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), PayoutAttemptId(row.id)) for row in rows]


async def count_question(session: AsyncSession, *, merchant_id: MerchantId, attempt_id: PayoutAttemptId) -> Question | None:
    """Note that the bank is being asked, before it is: a question that kills its worker is counted too. None when nothing is open, or another worker asks."""
    statement = select(PayoutAttempt).where(PayoutAttempt.merchant_id == merchant_id, PayoutAttempt.id == attempt_id)
    attempt = (await session.execute(statement.with_for_update(skip_locked=True))).scalar_one_or_none()
    if attempt is None:
        return None
    payout = await queries.payout(session, merchant_id=merchant_id, payout_id=PayoutId(attempt.payout_id))
    funding = await queries.funding_account(session, merchant_id=merchant_id, funding_id=FundingAccountId(payout.funding_account_id))
    may_come_back = payout.status == PayoutStatus.PAID and payout.paid_at is not None and now() - payout.paid_at < FINAL_AFTER
    is_open = attempt.word in UNDECIDED and payout.status in OUT
    if funding.rail != Rail.API or not (is_open or may_come_back):
        attempt.next_ask_at = None
        return None
    attempt.asked_times += 1
    attempt.next_ask_at = now() + AGAIN_AFTER_PAID if may_come_back else next_ask_at(attempt.asked_times, now())
    return Question(
        merchant_id=merchant_id,
        payout_id=PayoutId(payout.id),
        attempt_id=attempt_id,
        end_to_end_id=payout.end_to_end_id,
        rail=await rail_of(session, merchant_id=merchant_id, funding=funding),
    )


async def open_attempt(session: AsyncSession, *, merchant_id: MerchantId, payout_id: PayoutId) -> PayoutAttempt | None:
    """The newest order of a payout."""
    statement = select(PayoutAttempt).where(PayoutAttempt.merchant_id == merchant_id, PayoutAttempt.payout_id == payout_id)
    return (await session.execute(statement.order_by(PayoutAttempt.number.desc()).limit(1))).scalar_one_or_none()


async def close_batches(session: AsyncSession, *, merchant_id: MerchantId) -> None:
    """Mark batches as sent of which nothing waits any more."""
    waits = select(Payout.id).where(
        Payout.merchant_id == PayoutBatch.merchant_id,
        Payout.batch_id == PayoutBatch.id,
        Payout.status.in_((PayoutStatus.BATCHED, PayoutStatus.SENDING)),
    )
    where = (PayoutBatch.merchant_id == merchant_id, PayoutBatch.status == BatchStatus.READY, PayoutBatch.rail == Rail.API, ~waits.exists())
    await session.execute(update(PayoutBatch).where(*where).values(status=BatchStatus.SENT, sent_at=now()))
