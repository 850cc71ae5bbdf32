"""Wallets as JSON."""

from app.core.ids import public_id
from tests.support.console import CallApi
from tests.support.factories.tenancy import Tenant
from tests.support.factories.wallets import let_days_pass
from tests.support.shop import Shop


class TestListWallets:
    async def test_shows_every_bucket_in_every_currency(self, call_api: CallApi, shop: Shop) -> None:
        await shop.pay()
        await let_days_pass()
        await shop.pay()
        seller = public_id("sel", shop.anna)
        answer = await call_api(shop.merchant_id, "GET", f"/v1/sellers/{seller}/wallets")
        euros = {"currency": "EUR"}
        nothing = {"minor": 0, **euros}
        expected = dict.fromkeys(("reserve", "dispute_hold", "payout_reserved", "payout_returned", "receivable"), nothing)
        expected |= {"seller": seller, **euros, "available": {"minor": 5700, **euros}, "pending": {"minor": 5700, **euros}}
        assert answer.json() == {"items": [expected]}

    async def test_a_seller_that_sold_nothing_has_none(self, call_api: CallApi, shop: Shop) -> None:
        answer = await call_api(shop.merchant_id, "GET", f"/v1/sellers/{public_id('sel', shop.anna)}/wallets")
        assert (answer.status_code, answer.json()) == (200, {"items": []})

    async def test_needs_the_scope_and_the_right_merchant(self, call_api: CallApi, shop: Shop, stranger: Tenant) -> None:
        path = f"/v1/sellers/{public_id('sel', shop.anna)}/wallets"
        assert (await call_api(shop.merchant_id, "GET", path, scopes=["sellers.read"])).status_code == 403
        assert (await call_api(stranger.id, "GET", path)).status_code == 404
