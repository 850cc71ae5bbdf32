"""Counting: whatever is counted already and whatever is not, the figures are those of the events, and of the ledger."""

import asyncio
import re
from collections.abc import Iterable
from datetime import timedelta

import pytest
from psycopg import Connection
from sqlalchemy import text

from app.core.clock import now, today, travel
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.core.money import Money
from app.psp.domain import Outcome, Result
from app.reports import flows, service
from app.reports.domain import Figures, Period, PeriodName
from app.reports.queries.figures import _BY_SELLER, _COURSES, _OVER_TIME, Fact, SellerFact, course, facts, seller_facts
from tests.support.shop import Shop, balances

LATER = timedelta(minutes=2)


async def found(merchant_id: MerchantId) -> tuple[list[Fact], list[SellerFact]]:
    async with unit_of_work(merchant_id) as session:
        moment = now()
        since, until = moment - timedelta(days=40), moment + timedelta(days=40)
        days = await facts(session, merchant_id=merchant_id, since=since, until=until, unit="day")
        sellers = await seller_facts(session, merchant_id=merchant_id, first=since.date(), last=until.date(), most=100)
    return sorted(days, key=lambda fact: (fact.at, fact.currency)), sellers


async def total(merchant_id: MerchantId, currency: str = "EUR") -> Figures:
    return sum((fact.figures for fact in (await found(merchant_id))[0] if fact.currency == currency), Figures())


def added_up(figures: Iterable[Figures]) -> Figures:
    return sum(figures, Figures())


def added(found: Iterable[Fact]) -> Figures:
    return added_up(fact.figures for fact in found)


async def business(shop: Shop) -> None:
    """Two sales, one of them partly refunded, one decline, one sale in another currency."""
    answered = await shop.pay()
    await shop.refund(answered.payment_id, 2500)
    await shop.pay()
    shop.psp.answers("authorise", Result(outcome=Outcome.DECLINED, code="insufficient_funds", message="No"))
    await shop.pay()
    await shop.pay(await shop.order(anna=900, bert=0, currency="GBP"))


class TestFacts:
    async def test_are_those_of_the_ledger(self, shop: Shop, superuser: Connection) -> None:
        await business(shop)
        figures = await total(shop.merchant_id)
        assert figures.started == 3
        assert (figures.succeeded, figures.failed, figures.captures, figures.refunds) == (2, 1, 2, 1)
        assert (figures.captured_minor, figures.refunded_minor) == (20_000, 2_500)
        pounds = await total(shop.merchant_id, "GBP")
        book = balances(superuser, shop.merchant_id)
        by_code: dict[str, int] = {}
        for (code, _), minor in book.items():
            by_code[code] = by_code.get(code, 0) + minor
        assert figures.platform_fee_minor + pounds.platform_fee_minor == -by_code["4100"]
        assert figures.psp_fee_minor + pounds.psp_fee_minor == by_code["5100"] > 0
        assert figures.net_minor + pounds.net_minor == by_code["1100"]

    async def test_read_only_the_events_after_the_pointer(self, shop: Shop) -> None:
        """Row security keeps some conditions out of an index; this one must stay in, or every page reads the whole history."""
        await shop.pay()
        for statement in (_OVER_TIME, _COURSES, _BY_SELLER):
            async with unit_of_work(shop.merchant_id) as session:
                # so few rows are sorted for nothing: without sorting, the index must be the one that has them in their order
                for way in ("seqscan", "bitmapscan", "sort"):
                    await session.execute(text(f"set local enable_{way} = off"))
                values = {
                    "merchant": shop.merchant_id,
                    "unit": "day",
                    "since": now(),
                    "middle": now(),
                    "step": timedelta(days=1),
                    "until": now(),
                    "first": now().date(),
                    "last": now().date(),
                    "most": 1,
                }
                plan = "\n".join(await session.scalars(text(f"explain (costs off) {statement.text}"), values))
            assert re.search(r"pk_payment_event on payment_event\n +Index Cond: .*\(id > ", plan), plan

    async def test_say_what_each_seller_sold_and_what_was_kept(self, shop: Shop) -> None:
        await business(shop)
        _, sellers = await found(shop.merchant_id)
        assert [(row.name, row.sales, row.sold, row.refunded, row.fee) for row in sellers] == [
            ("Bert's Books", 2, Money(8_000, "EUR"), Money(1_000, "EUR"), Money(700, "EUR")),
            ("Anna's Antiques", 2, Money(12_000, "EUR"), Money(1_500, "EUR"), Money(525, "EUR")),
            ("Anna's Antiques", 1, Money(900, "GBP"), Money(0, "GBP"), Money(0, "GBP")),
        ]


class TestCountEvents:
    async def test_changes_nothing_that_is_shown(self, shop: Shop, superuser: Connection) -> None:
        await business(shop)
        before = await found(shop.merchant_id)
        with travel(LATER):
            assert await flows.count_all() == 1
            assert await flows.count_all() == 0
        assert superuser.execute("select count(*) > 0 from payment_hour").fetchone() == (True,)
        assert await found(shop.merchant_id) == before
        await business(shop)
        doubled = await total(shop.merchant_id)
        assert doubled.captured_minor == 40_000
        with travel(LATER * 2):
            await flows.count_all()
        assert await total(shop.merchant_id) == doubled

    async def test_leaves_events_that_may_still_be_joined_by_older_ones(self, shop: Shop, superuser: Connection) -> None:
        await shop.pay()
        assert await flows.count_all() == 0
        assert superuser.execute("select count(*) from payment_hour").fetchone() == (0,)
        assert (await total(shop.merchant_id)).captures == 1

    async def test_in_small_stretches_comes_to_the_same(self, shop: Shop) -> None:
        await business(shop)
        before, stretches = await found(shop.merchant_id), 0
        with travel(LATER):
            while True:
                async with unit_of_work(shop.merchant_id) as session:
                    if not await service.count_events(session, merchant_id=shop.merchant_id, batch=2):
                        break
                stretches += 1
                assert await found(shop.merchant_id) == before
        assert stretches > 3

    async def test_two_at_once_count_once(self, shop: Shop) -> None:
        await business(shop)
        before = await found(shop.merchant_id)
        with travel(LATER):
            await asyncio.gather(*(flows.count_merchant(shop.merchant_id) for _ in range(4)))
        assert await found(shop.merchant_id) == before

    async def test_a_count_that_fails_leaves_no_half(self, shop: Shop) -> None:
        await business(shop)
        before = await found(shop.merchant_id)
        with travel(LATER):
            with pytest.raises(ZeroDivisionError):
                async with unit_of_work(shop.merchant_id) as session:
                    assert await service.count_events(session, merchant_id=shop.merchant_id) / 0
            assert await found(shop.merchant_id) == before
            assert await flows.count_merchant(shop.merchant_id) == 1
        assert await found(shop.merchant_id) == before


class TestCourses:
    @pytest.mark.parametrize("name", PeriodName)
    async def test_are_the_hours_added_up_whatever_is_counted(self, shop: Shop, name: PeriodName) -> None:
        for days in (0, 9, 40):
            with travel(timedelta(days=days)):
                await business(shop)
                await flows.count_all()
        with travel(timedelta(days=40)):
            await business(shop)
            period = Period.ending(name, today())
            async with unit_of_work(shop.merchant_id) as session:
                hours = await facts(session, merchant_id=shop.merchant_id, since=period.before.since, until=period.until, unit="hour")
                for currency in ("EUR", "GBP"):
                    currencies, chosen, found = await course(session, merchant_id=shop.merchant_id, period=period, currency=currency)
                    here = [fact for fact in hours if fact.currency == currency]
                    assert (currencies, chosen) == (["EUR", "GBP"], currency)
                    for at, figures in found.steps.items():
                        assert figures == added(fact for fact in here if at <= fact.at < at + period.step)
                    assert added_up(found.steps.values()) == added(here)
                    assert added_up(found.present.values()) == added(fact for fact in here if fact.at >= period.since)
                    assert added_up(found.past.values()) == added(fact for fact in here if fact.at < period.since)

    async def test_keep_connections_apart(self, shop: Shop) -> None:
        await business(shop)
        async with unit_of_work(shop.merchant_id) as session:
            _, _, found = await course(session, merchant_id=shop.merchant_id, period=Period.ending(PeriodName.MONTH, today()))
        assert {connection_id: figures.captures for connection_id, figures in found.present.items()} == {shop.connection_id: 2}


class TestCountAgain:
    async def test_comes_to_the_same_figures(self, shop: Shop, superuser: Connection) -> None:
        await business(shop)
        with travel(LATER):
            await flows.count_all()
            before = await found(shop.merchant_id)
            for table in ("payment_hour", "payment_day"):
                superuser.execute(f"update {table} set captured_minor = captured_minor + 1")
            assert await found(shop.merchant_id) != before
            await flows.count_again(shop.merchant_id)
        assert await found(shop.merchant_id) == before
