"""Sellers as JSON."""

from app.core.ids import new_id, public_id
from tests.support.console import CallApi
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop


class TestAddSeller:
    async def test_adds_a_seller_that_is_then_found(self, call_api: CallApi, shop: Shop) -> None:
        body = {"reference": "cleo", "name": "Cleo's Clocks", "email": "cleo@example.org", "country": "GR"}
        made = await call_api(shop.merchant_id, "POST", "/v1/sellers", json=body)
        assert made.status_code == 201
        assert made.json()["status"] == "active"
        found = await call_api(shop.merchant_id, "GET", made.headers["location"])
        assert found.json() == made.json()

    async def test_a_repeated_request_is_refused_not_doubled(self, call_api: CallApi, shop: Shop) -> None:
        answer = await call_api(shop.merchant_id, "POST", "/v1/sellers", json={"reference": "anna", "name": "Anna"})
        assert answer.status_code == 409
        assert answer.json()["code"] == "seller_reference_taken"

    async def test_says_which_field_is_wrong(self, call_api: CallApi, shop: Shop) -> None:
        for body in (
            {"reference": "", "name": "X"},
            {"reference": "x"},
            {"reference": "x", "name": "X", "country": "greece"},
            {"reference": "x", "name": "X", "surprise": 1},
        ):
            answer = await call_api(shop.merchant_id, "POST", "/v1/sellers", json=body)
            assert answer.status_code == 422, body
            assert answer.headers["content-type"].startswith("application/problem+json")

    async def test_needs_the_scope(self, call_api: CallApi, shop: Shop) -> None:
        answer = await call_api(shop.merchant_id, "POST", "/v1/sellers", scopes=["sellers.read"], json={"reference": "x", "name": "X"})
        assert answer.status_code == 403


class TestListSellers:
    async def test_lists_newest_first_and_finds(self, call_api: CallApi, shop: Shop) -> None:
        every = (await call_api(shop.merchant_id, "GET", "/v1/sellers")).json()
        assert [seller["reference"] for seller in every["items"]] == ["bert", "anna"]
        assert every["next"] is None
        found = (await call_api(shop.merchant_id, "GET", "/v1/sellers?q=antiq")).json()
        assert [seller["reference"] for seller in found["items"]] == ["anna"]

    async def test_a_status_no_seller_can_have_is_refused(self, call_api: CallApi, shop: Shop) -> None:
        refused = await call_api(shop.merchant_id, "GET", "/v1/sellers?status=activ")
        assert (refused.status_code, list(refused.json()["fields"])) == (422, ["status"])
        assert (await call_api(shop.merchant_id, "GET", "/v1/sellers?status=blocked")).json()["items"] == []


class TestShowSeller:
    async def test_a_strangers_seller_is_not_there(self, call_api: CallApi, shop: Shop, stranger: Tenant) -> None:
        theirs = await call_api(stranger.id, "GET", f"/v1/sellers/{public_id('sel', shop.anna)}")
        nobodys = await call_api(stranger.id, "GET", f"/v1/sellers/{public_id('sel', new_id())}")
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json()["detail"] == nobodys.json()["detail"]
