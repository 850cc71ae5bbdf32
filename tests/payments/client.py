"""A client of the JSON API, and what its tests say about answers."""

from typing import Any
from uuid import uuid4

import httpx2

from app.core.ids import public_id
from tests.support.shop import Shop


class Api:
    """A client with a key of a merchant."""

    def __init__(self, client: httpx2.AsyncClient, key: str) -> None:
        self.client, self.key = client, key

    async def get(self, path: str) -> httpx2.Response:
        return await self.client.get(path, headers={"authorization": f"Bearer {self.key}"})

    async def post(
        self, path: str, json: object = None, *, key: str | None = "new", content: bytes | None = None, **headers: str
    ) -> httpx2.Response:
        sent = {"authorization": f"Bearer {self.key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["idempotency-key"] = uuid4().hex if key == "new" else key
        if content is not None:
            return await self.client.post(path, content=content, headers={"content-type": "application/json"} | sent)
        return await self.client.post(path, json={} if json is None else json, headers=sent)


def refused(response: httpx2.Response, status: int, code: str, *fields: str) -> dict[str, Any]:
    """The answer is a precise problem: this status, this code, about these fields."""
    assert response.headers["content-type"].startswith("application/problem+json"), response.text
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert problem["status"] == status and problem["type"] == f"urn:countinghouse:problem:{code}"
    assert problem["title"] and problem["detail"] and problem["request_id"] == response.headers["x-request-id"]
    for field in fields:
        assert any(named.startswith(field) for named in problem.get("fields", {})), problem
    return problem


def order_of(shop: Shop, **changes: object) -> dict[str, Any]:
    lines = [
        {"seller": public_id("sel", seller), "amount": {"minor": minor, "currency": "EUR"}}
        for seller, minor in ((shop.anna, 6000), (shop.bert, 4000))
    ]
    return {"reference": f"R-{uuid4().hex}", "currency": "EUR", "lines": lines} | changes


async def an_order(shop: Shop) -> str:
    return public_id("ord", await shop.order())


async def a_payment(shop: Shop, **options: Any) -> str:
    return public_id("pay", (await shop.pay(**options)).payment_id)
