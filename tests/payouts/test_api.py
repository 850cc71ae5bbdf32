"""Payouts as JSON: once per key, within the scopes, nobody else's."""

from typing import Any

import httpx2
import pytest_asyncio
from litestar import Litestar

from app.core.ids import public_id
from app.web import limits
from tests.payments.client import Api
from tests.support.console import CallApi
from tests.support.factories.api_access import make_key
from tests.support.factories.payouts import Till
from tests.support.factories.tenancy import Tenant
from tests.support.web import ORIGIN


@pytest_asyncio.fixture
async def api(app: Litestar, till: Till) -> Any:
    limits.forget_leases()
    _, key = await make_key(till.merchant_id)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url=ORIGIN) as client:
        yield Api(client, key)


def body(till: Till, minor: int = 5_000) -> dict[str, object]:
    return {"seller": public_id("sel", till.shop.anna), "amount": {"minor": minor, "currency": "EUR"}, "text": "November"}


async def post(api: Api, path: str, json: object, key: str | None = "k") -> httpx2.Response:
    headers = {"authorization": f"Bearer {api.key}"} | ({"idempotency-key": key} if key else {})
    return await api.client.post(path, json=json, headers=headers)


class TestCreate:
    async def test_the_same_key_is_one_payout(self, api: Api, till: Till) -> None:
        first, second = [await post(api, "/v1/payouts", body(till)) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 201) and first.content == second.content
        assert second.headers["idempotent-replayed"] == "true"
        made = first.json()
        assert (made["status"], made["source"], made["account_last4"]) == ("pending_approval", "program", "3000")
        assert (await post(api, "/v1/payouts", body(till, 1))).status_code == 422

    async def test_refusals_say_what_is_wrong_and_leave_the_key_free(self, api: Api, till: Till) -> None:
        assert (await post(api, "/v1/payouts", body(till), key=None)).json()["code"] == "idempotency_key_missing"
        too_much = await post(api, "/v1/payouts", body(till, 100_001))
        assert (too_much.status_code, too_much.json()["code"]) == (409, "insufficient_funds")
        assert (await post(api, "/v1/payouts", body(till))).status_code == 201
        for wrong in ({}, body(till) | {"seller": "sel_x"}, body(till) | {"more": 1}, body(till, 0), body(till, -5)):
            assert (await post(api, "/v1/payouts", wrong, key="other")).status_code == 422, wrong

    async def test_read_listed_cancelled(self, api: Api, till: Till, call_api: CallApi, stranger: Tenant) -> None:
        made = (await post(api, "/v1/payouts", body(till))).json()
        path = f"/v1/payouts/{made['id']}"
        assert (await call_api(till.merchant_id, "GET", path)).json() == made
        listed = (await call_api(till.merchant_id, "GET", "/v1/payouts?status=pending_approval")).json()
        assert [each["id"] for each in listed["items"]] == [made["id"]]
        assert (await call_api(stranger.id, "GET", path)).status_code == 404
        cancelled = await call_api(till.merchant_id, "POST", f"{path}/cancel", json={"reason": "Mistake"})
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert (await call_api(till.merchant_id, "POST", f"{path}/cancel", json={})).status_code == 409
        assert (await call_api(till.merchant_id, "POST", f"{path}/cancel", json={}, scopes=["payouts.read"])).status_code == 403

    async def test_a_status_no_payout_can_have_is_refused(self, api: Api, till: Till, call_api: CallApi) -> None:
        made = (await post(api, "/v1/payouts", body(till))).json()
        refused = await call_api(till.merchant_id, "GET", "/v1/payouts?status=nonsense")
        assert (refused.status_code, list(refused.json()["fields"])) == (422, ["status"])
        assert "pending_approval" in refused.json()["fields"]["status"]
        listed = (await call_api(till.merchant_id, "GET", "/v1/payouts?status=")).json()
        assert [each["id"] for each in listed["items"]] == [made["id"]]
