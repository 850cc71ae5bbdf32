"""Sending payouts: batches, the claim that is committed before the bank is called, and the questions that follow a lost answer."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import and_, func, insert, select, text, update
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
from app.payouts.service import history, holds, postings, sheets, steps
from app.psp.service import connections
from app.sellers.domain.bank_accounts import BankAccountId
from app.sellers.queries import bank_accounts

_DUE = text("select merchant_id, id from payouts_due(:moment, :most)")
_TO_ASK = text("select merchant_id, id from payout_attempts_due(:moment, :most)")
MOST_IN_BATCH = 1000
CLAIMED_AT_ONCE = 64
"""How many payouts are on their way to a bank between two records: as many as a bank that answers nobody keeps us waiting for."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One order a bank is about to hear of: which, and on which way."""

    payout_id: PayoutId
    attempt_id: PayoutAttemptId
    rail: RailAdapter


class Claimed(Asked, frozen=True, kw_only=True):
    """One order that is ready to be sent: everything the call needs, read before it is made."""

    order: BankOrder


class Question(Asked, frozen=True, kw_only=True):
    """One order the bank is to be asked about."""

    end_to_end_id: str


async def due_merchants(session: AsyncSession, *, most: int = 500) -> list[MerchantId]:
    """Merchants with payouts whose time to leave has come, or with a batch that was not carried to its end; who waits longest first."""
    rows = await session.execute(_DUE, {"moment": now(), "most": most})
    return [MerchantId(row.merchant_id) for row in rows]


async def form_batches(
    session: AsyncSession, *, merchant_id: MerchantId, payout_ids: Sequence[PayoutId] | None = None, most: int = MOST_IN_BATCH
) -> list[PayoutBatch]:
    """Put due payouts that nothing holds into batches, one for each account to pay from and value date. What another scheduler has is left to it."""
    statement = select(Payout).where(Payout.merchant_id == merchant_id, Payout.status == PayoutStatus.SCHEDULED, Payout.send_at <= now())
    if payout_ids is not None:
        statement = statement.where(Payout.id.in_(list(payout_ids)))
    rows = list((await session.execute(statement.order_by(Payout.id).limit(most).with_for_update(skip_locked=True))).scalars())
    await _hold_lost_destinations(session, merchant_id, rows)
    free = await _without_held(session, merchant_id, rows)
    actor = Actor.worker(merchant_id, "Payout run")
    async with sheets.together(session, merchant_id):
        for payout in free:
            await steps.date_anew(session, actor, payout=payout)
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
    standing = await queries.active_holds(session, merchant_id=merchant_id, payouts=rows)
    held = {payout_id for payout_id, holding in standing.items() if holding}
    if held:
        await put_off(session, merchant_id=merchant_id, payout_ids=list(held))
    return [row for row in rows if PayoutId(row.id) not in held]


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


async def claim(
    session: AsyncSession,
    actor: Actor,
    *,
    merchant_id: MerchantId,
    payout_ids: Sequence[PayoutId] | None = None,
    most: int = CLAIMED_AT_ONCE,
) -> list[Claimed]:
    """Write down that the bank is about to be asked for these payouts, or for the next that are due, and post it, before it is.

    What another worker has is left to it. If we die after this is committed, the attempts are due and the bank is asked about each by its end-to-end id.
    """
    called = select(FundingAccount.id).where(FundingAccount.merchant_id == merchant_id, FundingAccount.rail == Rail.API)
    statement = select(Payout).where(
        Payout.merchant_id == merchant_id,
        Payout.status == PayoutStatus.BATCHED,
        Payout.funding_account_id.in_(called.scalar_subquery()),
        Payout.send_at <= now(),
    )
    if payout_ids is not None:
        statement = statement.where(Payout.id.in_(list(payout_ids)))
    found = list((await session.execute(statement.order_by(Payout.id).limit(most).with_for_update(skip_locked=True))).scalars())
    payouts = await may_leave(session, merchant_id, found)
    if not payouts:
        return []
    rails = {row.funding_account_id: await rail_of_payout(session, merchant_id=merchant_id, payout=row) for row in _one_each(payouts)}
    ordered = await orders(session, merchant_id=merchant_id, payouts=payouts)
    attempts = await begin_attempts(session, actor, payouts=payouts, asked_about=True)
    return [
        Claimed(payout_id=PayoutId(payout.id), attempt_id=attempt_id, order=order, rail=rails[payout.funding_account_id])
        for payout, attempt_id, order in zip(payouts, attempts, ordered, strict=True)
    ]


async def may_leave(session: AsyncSession, merchant_id: MerchantId, payouts: Sequence[Payout]) -> list[Payout]:
    """Of batched payouts those that may leave still: a batch can wait for hours, for its bank or for a person, and a hold is of now."""
    if not payouts:
        return []
    await _hold_lost_destinations(session, merchant_id, payouts)
    return await holds.take_out_held(session, merchant_id, payouts)


async def next_in_line(session: AsyncSession, *, merchant_id: MerchantId, most: int = CLAIMED_AT_ONCE) -> list[PayoutId]:
    """The payouts a worker would claim next."""
    statement = select(Payout.id).where(Payout.merchant_id == merchant_id, Payout.status == PayoutStatus.BATCHED, Payout.send_at <= now())
    return [PayoutId(found) for found in (await session.execute(statement.order_by(Payout.id).limit(most))).scalars()]


async def put_off(session: AsyncSession, *, merchant_id: MerchantId, payout_ids: Sequence[PayoutId]) -> None:
    """Look at payouts that cannot leave now again later, so that others are not kept back by them."""
    where = (Payout.merchant_id == merchant_id, Payout.id.in_(list(payout_ids)), Payout.send_at.is_not(None))
    await session.execute(update(Payout).where(*where).values(send_at=now() + holds.HELD_FOR))


def _one_each(payouts: Sequence[Payout]) -> Collection[Payout]:
    """One payout of each account that is paid from."""
    return {payout.funding_account_id: payout for payout in payouts}.values()


async def begin_attempts(session: AsyncSession, actor: Actor, *, payouts: Sequence[Payout], asked_about: bool) -> list[PayoutAttemptId]:
    """One more order for each payout under its one end-to-end id; its first one moves the money from the wallet's side to the bank's."""
    if not payouts:
        return []
    moment, merchant_id = now(), MerchantId(payouts[0].merchant_id)
    before = await _attempts_so_far(session, merchant_id, [payout for payout in payouts if payout.sent_at is not None])
    ids = [PayoutAttemptId(new_id()) for _ in payouts]
    rows: list[dict[str, object]] = [
        {
            "merchant_id": merchant_id,
            "id": attempt_id,
            "payout_id": payout.id,
            "number": before.get(payout.id, 0) + 1,
            "end_to_end_id": payout.end_to_end_id,
            "evidence": {},
            "next_ask_at": next_ask_at(0, moment) if asked_about else None,
            "begun_at": moment,
        }
        for attempt_id, payout in zip(ids, payouts, strict=True)
    ]
    await session.execute(insert(PayoutAttempt), rows)
    async with sheets.together(session, merchant_id):
        for payout in payouts:
            if payout.sent_at is None:
                payout.sent_at = moment
                await postings.post_sent(session, actor, payout=payout)
            payout.send_at = None
            await history.move(session, actor, payout=payout, event="claim", details={"attempt": before.get(payout.id, 0) + 1})
    return ids


async def _attempts_so_far(session: AsyncSession, merchant_id: MerchantId, payouts: Sequence[Payout]) -> dict[UUID, int]:
    if not payouts:
        return {}
    where = (PayoutAttempt.merchant_id == merchant_id, PayoutAttempt.payout_id.in_([payout.id for payout in payouts]))
    found = await session.execute(
        select(PayoutAttempt.payout_id, func.max(PayoutAttempt.number)).where(*where).group_by(PayoutAttempt.payout_id)
    )
    return {row[0]: int(row[1]) for row in found}


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


async def count_questions(session: AsyncSession, *, merchant_id: MerchantId, attempt_ids: Sequence[PayoutAttemptId]) -> list[Question]:
    """Note that the bank is being asked about these attempts, before it is: a question that kills its worker is counted too.

    Those on which nothing is open any more are left out, and those another worker asks about.
    """
    of_attempt = (PayoutAttempt.merchant_id == Payout.merchant_id, PayoutAttempt.payout_id == Payout.id)
    statement = (
        select(PayoutAttempt, Payout)
        .join(Payout, and_(*of_attempt))
        .where(PayoutAttempt.merchant_id == merchant_id, PayoutAttempt.id.in_(list(attempt_ids)))
        .order_by(PayoutAttempt.id)
        .with_for_update(of=PayoutAttempt, skip_locked=True)
    )
    pairs = [(row[0], row[1]) for row in await session.execute(statement)]
    fundings = {
        payout.funding_account_id: await queries.funding_account(
            session, merchant_id=merchant_id, funding_id=FundingAccountId(payout.funding_account_id)
        )
        for payout in _one_each([payout for _, payout in pairs])
    }
    called = {key: await rail_of(session, merchant_id=merchant_id, funding=row) for key, row in fundings.items() if row.rail == Rail.API}
    return [
        Question(
            payout_id=PayoutId(payout.id),
            attempt_id=PayoutAttemptId(attempt.id),
            end_to_end_id=payout.end_to_end_id,
            rail=called[payout.funding_account_id],
        )
        for attempt, payout in pairs
        if _count_question(attempt, payout, is_called=payout.funding_account_id in called)
    ]


def _count_question(attempt: PayoutAttempt, payout: Payout, *, is_called: bool) -> bool:
    may_come_back = payout.status == PayoutStatus.PAID and payout.paid_at is not None and now() - payout.paid_at < FINAL_AFTER
    is_open = attempt.word in UNDECIDED and payout.status in OUT
    if not is_called or not (is_open or may_come_back):
        attempt.next_ask_at = None
        return False
    attempt.asked_times += 1
    attempt.next_ask_at = now() + AGAIN_AFTER_PAID if may_come_back else next_ask_at(attempt.asked_times, now())
    return True


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
