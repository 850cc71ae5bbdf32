"""What the clock brings, for all merchants in one round: one that cannot be done holds up nobody else, and comes again."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg import Connection

from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.ids import SellerId
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, AccountStatus, Code
from app.orders import flows as orders
from app.orders import service as order_service
from app.payments import flows
from app.payments import service as payment_service
from app.payments.domain import CaptureMode
from app.wallets import flows as wallets
from app.wallets import service as wallet_service
from tests.payments.conftest import Books
from tests.support.shop import Shop


class TestFunds:
    async def freeze(self, shop: Shop, seller: SellerId, status: AccountStatus) -> None:
        wallet = AccountRef(Code.SELLER_PENDING, "seller", seller)
        async with unit_of_work(shop.merchant_id) as session:
            account_id = await ledger.open_account(session, merchant_id=shop.merchant_id, account=wallet, currency="EUR")
            await ledger.set_account_status(session, merchant_id=shop.merchant_id, account_id=account_id, status=status)

    async def test_a_frozen_wallet_holds_up_no_other(self, shop: Shop, books: Books, stranger: Shop) -> None:
        await shop.pay()
        await stranger.pay()
        await self.freeze(shop, shop.anna, AccountStatus.FROZEN)
        with travel(timedelta(days=4)):
            assert await wallets.release_due() == 3
            assert books()["2100", "anna"] == -5_700 and books()["2110", "bert"] == -3_600
            await self.freeze(shop, shop.anna, AccountStatus.OPEN)
            assert await wallets.release_due() == 1
        assert books()["2110", "anna"] == -5_700

    async def test_a_round_takes_all_that_is_due_in_few_steps_and_tells_of_each(
        self, shop: Shop, books: Books, superuser: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wallets, "MOST", 4)
        monkeypatch.setattr(wallets, "AT_ONCE", 3)
        for _ in range(3):
            await shop.pay()
        with travel(timedelta(days=4)):
            assert await wallets.release_due() == 6
        assert books()["2110", "anna"] == -3 * 5_700 and books()["2110", "bert"] == -3 * 3_600
        told = superuser.execute("select count(*), count(distinct object_id) from outbox where topic = 'wallet.funds_released'").fetchone()
        assert told == (6, 6)

    async def test_the_day_begins_where_the_merchant_is(self, shop: Shop, superuser: Connection) -> None:
        async with unit_of_work(shop.merchant_id) as session:
            await wallet_service.set_policy(session, shop.actor, availability_days=1, timezone="Pacific/Auckland", allow_negative=True)
        with travel(datetime(2026, 11, 20, 12, 30, tzinfo=UTC)):  # half past one in the morning of the 21st there
            await shop.pay()
        due = superuser.execute("select distinct due_at from funds_release").fetchall()
        assert due == [(datetime(2026, 11, 21, 11, tzinfo=UTC),)]


class TestOrders:
    async def test_one_that_fails_holds_up_no_other(self, shop: Shop, superuser: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        broken, fine = await shop.order(), await shop.order()
        superuser.execute("update sales_order set expires_at = now() - interval '1 hour' where id = %s", (broken,))
        superuser.execute("update sales_order set expires_at = now() - interval '1 minute' where id = %s", (fine,))
        expire = order_service.expire_order

        async def sometimes(session: object, **which: object) -> bool:
            if which["order_id"] == broken:
                raise RuntimeError("a disk, a bug")
            return await expire(session, **which)  # type: ignore[arg-type]

        monkeypatch.setattr(order_service, "expire_order", sometimes)
        assert await orders.expire_due() == 1
        monkeypatch.setattr(order_service, "expire_order", expire)
        assert await orders.expire_due() == 1


class TestPayments:
    async def test_one_that_fails_holds_up_no_other(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        broken, expire = (await shop.pay(mode=CaptureMode.MANUAL)).payment_id, payment_service.expire_payment
        await shop.pay(mode=CaptureMode.MANUAL)

        async def sometimes(session: object, **which: object) -> bool:
            if which["payment_id"] == broken:
                raise RuntimeError("a disk, a bug")
            return await expire(session, **which)  # type: ignore[arg-type]

        monkeypatch.setattr(payment_service, "expire_payment", sometimes)
        with travel(timedelta(days=8)):
            assert await flows.expire_due() == 1
