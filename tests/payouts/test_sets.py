"""Thousands at once: a run of many payouts sends no more statements than a run of a few, and one that is refused holds up nobody else."""

import pytest
from psycopg import Connection

from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.ids import SellerId, new_id
from app.core.money import Money
from app.payouts import flows, queries
from app.payouts.domain import PayoutId, PayoutStatus, Source
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.domain.schedules import Amounts, Interval, Plan
from app.payouts.models import Payout
from app.payouts.queries import lists
from app.payouts.service import requests, schedules, sending, steps
from app.sellers import service as sellers
from tests.payouts.conftest import Books, later
from tests.support.factories.bank_accounts import make_account
from tests.support.factories.payouts import Till
from tests.support.factories.wallets import book
from tests.support.statements import counted

P = PayoutStatus


async def more_sellers(till: Till, count: int) -> list[SellerId]:
    """So many sellers with money and an account."""
    async with unit_of_work(till.merchant_id) as session:
        made = [
            await sellers.add_seller(
                session, till.actor, reference=f"m{count}-{n}", name=f"Seller {n}", email=f"m{n}@example.org", country="DE"
            )
            for n in range(count)
        ]
    ids = [SellerId(seller.id) for seller in made]
    for seller_id in ids:
        await make_account(till.actor, seller_id)
        await book(till.merchant_id, seller_id, [10_000])
    return ids


async def statements_of_a_run(till: Till, ids: list[SellerId]) -> list[int]:
    """Everything from the schedules to the last word of the bank, with the number of statements of each step."""
    plan = Plan(interval=Interval.DAILY, cutoff="18:00")
    async with unit_of_work(till.merchant_id) as session:
        for seller_id in ids:
            schedule = await schedules.set_schedule(
                session, till.actor, seller_id=seller_id, currency="EUR", plan=plan, amounts=Amounts(), calendars=["WEEKDAYS"]
            )
    assert schedule.next_run_at is not None
    counts = []
    with travel(schedule.next_run_at):
        with counted() as sent:
            assert await flows.run_schedules() == len(ids)
        counts.append(len(sent))
        async with unit_of_work(till.merchant_id) as session:
            waiting = [(queries.payout_id(each.row.id), each.digest) for each in await lists.waiting(session, till.approver)]
        with counted() as sent:
            assert {problem for _, problem in await flows.approve_each(till.approver, waiting)} == {None}
        counts.append(len(sent))
        with counted() as sent:
            assert await flows.send_due() == len(ids)
        counts.append(len(sent))
        with later(minutes=1), counted() as sent:
            assert await flows.ask_due() == len(ids)
        counts.append(len(sent))
    return counts


class TestStatements:
    async def test_a_run_of_many_sends_no_more_statements_than_a_run_of_few(self, till: Till, superuser: Connection) -> None:
        few = await statements_of_a_run(till, await more_sellers(till, 2))
        many = await statements_of_a_run(till, await more_sellers(till, 12))
        assert superuser.execute("select status, count(*) from payout group by 1").fetchall() == [("submitted", 14)]
        assert [more - less for less, more in zip(few, many, strict=True)] == [0, 0, 0, 0]


async def requested(till: Till, ids: list[SellerId], minor: int = 1_000) -> list[Payout]:
    """One payout for each seller, in one set."""
    cause = requests.Cause(source=Source.PERSON)
    asks = [requests.Ask(seller_id=seller_id, amount=Money(minor, "EUR"), cause=cause) for seller_id in ids]
    async with unit_of_work(till.merchant_id) as session:
        found = await requests.request_all(session, till.actor, currency="EUR", asks=asks)
    return [each for each in found if isinstance(each, Payout)]


async def approved(till: Till, payouts: list[Payout]) -> list[str | None]:
    """A second person agrees to all of them."""
    choices = [(PayoutId(payout.id), steps.digest(payout)) for payout in payouts]
    return [problem for _, problem in await flows.approve_each(till.approver, choices)]


class TestOneOfMany:
    async def test_each_is_told_why_it_cannot_be(self, till: Till, books: Books, superuser: Connection) -> None:
        ids = await more_sellers(till, 3)
        superuser.execute("update bank_account set verification = 'failed' where seller_id = %s", (ids[1],))
        made = await requested(till, [*ids, till.shop.bert])
        assert [payout.seller_id for payout in made] == [ids[0], ids[2]]
        stale, fresh = made
        first = (PayoutId(stale.id), "0" * 64), (PayoutId(fresh.id), steps.digest(fresh))
        results = await flows.approve_each(till.approver, [*first, first[1], (PayoutId(new_id()), "1" * 64)])
        assert [problem and problem.split(".")[0] for _, problem in results] == [
            "The payout is not what you were shown", None, "There is no payout with this id for this merchant",
        ]  # fmt: skip
        assert await approved(till, [fresh, stale]) != [None, None]
        assert (await till.status(fresh), await till.status(stale)) == (P.SCHEDULED, P.SCHEDULED)

    async def test_one_that_cannot_be_claimed_is_put_off_and_the_others_leave(self, till: Till, superuser: Connection) -> None:
        ids = await more_sellers(till, 3)
        made = await requested(till, ids)
        await approved(till, made)
        superuser.execute("update ledger.account set status = 2 where code = '2140' and owner_id = %s", (ids[0],))
        assert await flows.send_due() == 2
        assert [await till.status(payout) for payout in made] == [P.BATCHED, P.SUBMITTED, P.SUBMITTED]
        superuser.execute("update ledger.account set status = 1 where code = '2140' and owner_id = %s", (ids[0],))
        with later(minutes=11):
            assert await flows.send_due() == 1
        assert superuser.execute("select distinct status from payout_batch").fetchall() == [("sent",)]

    async def test_a_bank_that_answers_nobody_is_asked_for_one_set_and_no_more(self, till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flows, "LANES", 1)
        monkeypatch.setitem(sending.claim.__kwdefaults__, "most", 2)
        await approved(till, await requested(till, await more_sellers(till, 5)))
        till.bank.answers("send", *[BankAnswer(word=BankWord.UNKNOWN, code="connection_refused")] * 5)
        assert await flows.send_due() == 0
        assert len(till.bank.sent) == 2
