"""What a seller owes: it is kept out of payouts, taken from what becomes available, and given back where its refund fails."""

import asyncio
from datetime import timedelta

import pytest
from psycopg import Connection
from sqlalchemy import select

from app.core.actors import Actor
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.ids import AttemptId, PaymentId
from app.ledger.domain import InsufficientFunds
from app.payments.models import PaymentAttempt
from app.payments.records import service as records
from app.payouts.service.available import lock_wallets
from app.psp.domain import Outcome, Result
from app.wallets import flows, service
from tests.support.console import soup
from tests.support.factories.wallets import book, let_days_pass
from tests.support.shop import Shop, balances
from tests.support.web import Browser
from tests.wallets.test_pages import lines, path


async def owes(shop: Shop, minor: int, *, waits: bool = False) -> PaymentId:
    """Anna owes this much, because a refund was more than her wallet held; it may still wait for the PSP's answer."""
    paid = await shop.pay(await shop.order(anna=10_000, bert=0))
    await let_days_pass()
    await book(shop.merchant_id, shop.anna, [-minor])
    if waits:
        shop.psp.answers("refund", Result(outcome=Outcome.PENDING))
    await shop.refund(paid.payment_id)
    return paid.payment_id


async def sells(shop: Shop, minor: int) -> None:
    """Anna sells something, and what she earns (less 5 %) becomes available."""
    await shop.pay(await shop.order(anna=minor, bert=0))
    await let_days_pass()


async def fails(shop: Shop, payment_id: PaymentId) -> None:
    """The PSP says that the refund did not happen."""
    async with unit_of_work(shop.merchant_id) as session:
        refund = select(PaymentAttempt.id).where(PaymentAttempt.payment_id == payment_id, PaymentAttempt.operation == "refund")
        attempt_id = AttemptId((await session.execute(refund)).scalar_one())
        actor, no = Actor.psp(shop.merchant_id, "PSP"), Result(outcome=Outcome.DECLINED, code="account_closed")
        await records.record_result(session, actor, merchant_id=shop.merchant_id, attempt_id=attempt_id, result=no)


def anna(shop: Shop, superuser: Connection) -> tuple[int, int]:
    """What Anna has available and what she owes."""
    found = balances(superuser, shop.merchant_id)
    return -found.get(("2110", str(shop.anna)), 0), found.get(("1300", str(shop.anna)), 0)


class TestRecovery:
    async def test_what_becomes_available_repays_first(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        assert anna(shop, superuser) == (0, 5_000)
        await sells(shop, 4_000)
        assert anna(shop, superuser) == (0, 5_000 - 3_800)
        await sells(shop, 4_000)
        assert anna(shop, superuser) == (3_800 - 1_200, 0)
        await sells(shop, 1_000)
        assert anna(shop, superuser) == (2_600 + 950, 0)
        told = superuser.execute("select (payload->>'amount_minor')::bigint from outbox where topic = 'wallet.debt_recovered' order by id")
        assert [row[0] for row in told.fetchall()] == [3_800, 1_200]

    async def test_the_statement_says_so(self, shop: Shop, owner: Browser) -> None:
        await owes(shop, 5_000)
        await sells(shop, 10_000)
        page = soup(await owner.get(path(shop.anna)))
        assert "Debt repaid" in page.get_text() and ("€50.00", "", "€45.00") in [(out, into, rest) for out, into, rest in lines(page)]

    async def test_two_at_once_take_it_once(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        await book(shop.merchant_id, shop.anna, [20_000])

        async def recover() -> None:
            async with unit_of_work(shop.merchant_id) as session:
                await service.recover_debts(session, merchant_id=shop.merchant_id, seller_ids=[shop.anna])

        await asyncio.gather(*(recover() for _ in range(4)))
        assert anna(shop, superuser) == (15_000, 0)

    async def test_each_currency_pays_its_own(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        await shop.pay(await shop.order(anna=9_000, bert=0, currency="GBP"))
        await let_days_pass()
        assert anna(shop, superuser)[1] == 5_000


async def test_what_is_owed_cannot_be_paid_out(shop: Shop) -> None:
    await owes(shop, 5_000)
    await book(shop.merchant_id, shop.anna, [20_000])
    async with unit_of_work(shop.merchant_id) as session:
        found = await lock_wallets(session, merchant_id=shop.merchant_id, seller_ids=[shop.anna, shop.bert], currency="EUR")
    assert found == {shop.anna: 15_000}


class TestRefundThatFails:
    async def test_takes_back_a_debt_that_is_still_owed(self, shop: Shop, superuser: Connection) -> None:
        payment_id = await owes(shop, 5_000, waits=True)
        await fails(shop, payment_id)
        assert anna(shop, superuser) == (4_500, 0)

    @pytest.mark.parametrize("sold", [2_000, 20_000])
    async def test_gives_back_what_was_repaid_meanwhile(self, shop: Shop, superuser: Connection, sold: int) -> None:
        payment_id = await owes(shop, 5_000, waits=True)
        await sells(shop, sold)
        await fails(shop, payment_id)
        # as if the refund had never been: what was earned, less what was taken from the wallet before it
        assert anna(shop, superuser) == (9_500 + sold * 95 // 100 - 5_000, 0)

    async def test_at_the_moment_in_which_it_is_repaid(self, shop: Shop, superuser: Connection) -> None:
        payment_id = await owes(shop, 5_000, waits=True)
        await shop.pay(await shop.order(anna=20_000, bert=0))
        with travel(timedelta(days=3)):
            await asyncio.gather(flows.release_due(), fails(shop, payment_id))
        assert anna(shop, superuser) == (9_500 + 19_000 - 5_000, 0)


async def test_without_debts_nothing_is_owed_and_a_refund_is_refused(shop: Shop, superuser: Connection) -> None:
    async with unit_of_work(shop.merchant_id) as session:
        await service.set_policy(session, shop.actor, availability_days=2, timezone="UTC", allow_negative=False)
    with pytest.raises(InsufficientFunds):
        await owes(shop, 5_000)
    assert anna(shop, superuser) == (4_500, 0)
