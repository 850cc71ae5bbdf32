"""The JSON API as a client meets it: one effect per key, precise refusals, and nothing written by what is refused."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from litestar import Litestar
from psycopg import Connection

from app.core import failpoints
from app.core.embedded import Urls
from app.core.ids import PaymentId, new_id, parse_id, public_id
from app.main import create_app
from app.payments.domain import CaptureMode
from app.psp.domain import Outcome, Result
from app.web import limits
from tests.payments.conftest import Books
from tests.support.factories.api_access import make_key
from tests.support.shop import ScriptedPsp, Shop, open_shop
from tests.support.web import ORIGIN

NOT_COUNTED = {"rate_limit", "rate_lease"}
LARGEST = 999_999_999_999_999
MANUAL = CaptureMode.MANUAL


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


@pytest.fixture(scope="session")
def app(urls: Urls) -> Litestar:
    return create_app()


@pytest_asyncio.fixture
async def api(app: Litestar, shop: Shop) -> AsyncIterator[Api]:
    limits.forget_leases()
    _, key = await make_key(shop.merchant_id)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url=ORIGIN) as client:
        yield Api(client, key)


@pytest_asyncio.fixture
async def stranger(shop: Shop, psp: ScriptedPsp) -> Shop:
    """Another merchant, with a shop like ours."""
    return await open_shop(psp)


@pytest.fixture
def nothing_written(superuser: Connection) -> Any:
    """A block in which no row may appear or vanish in any table."""
    tables = [
        row[0]
        for row in superuser.execute(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and n.nspname in ('public', 'ledger') order by 1"
        ).fetchall()
        if row[0].removeprefix("public.") not in NOT_COUNTED
    ]
    count = " union all ".join(f"select '{table}', count(*) from {table}" for table in tables)

    @contextmanager
    def block() -> Iterator[None]:
        before = superuser.execute(count).fetchall()
        yield
        assert superuser.execute(count).fetchall() == before

    return block


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


class TestWay:
    async def test_an_order_is_paid_in_parts_refunded_and_read_back(self, api: Api, shop: Shop, books: Books) -> None:
        made = await api.post("/v1/orders", order_of(shop))
        assert (made.status_code, made.json()["total"]) == (201, {"minor": 10_000, "currency": "EUR"})
        paid = await api.post("/v1/payments", {"order": made.json()["id"], "token": "tok_visa", "capture": "manual"})
        assert (paid.status_code, paid.json()["status"], paid.json()["capturable"]["minor"]) == (201, "authorised", 10_000)
        path = f"/v1/payments/{paid.json()['id']}"
        captured = await api.post(f"{path}/capture", {"amount": {"minor": 7_000, "currency": "EUR"}})
        assert (captured.status_code, captured.json()["status"], captured.json()["captured"]["minor"]) == (201, "partially_captured", 7_000)
        voided = await api.post(f"{path}/void", {"reason": "sold out"})
        assert (voided.status_code, voided.json()["status"], voided.json()["capturable"]["minor"]) == (201, "captured", 0)
        back = await api.post(f"{path}/refunds", {"amount": {"minor": 2_000, "currency": "EUR"}, "reason": "broken"})
        assert (back.status_code, back.json()["status"], back.json()["refundable"]["minor"]) == (201, "partially_refunded", 5_000)
        rest = await api.post(f"{path}/refunds")
        assert (rest.json()["status"], len(rest.json()["refunds"])) == ("refunded", 2)
        assert (await api.get(path)).json() == rest.json()
        assert (await api.get(f"/v1/orders/{made.json()['id']}")).json()["refunded"]["minor"] == 7_000
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}

    async def test_orders_are_listed_newest_first_page_by_page_and_found(self, api: Api, shop: Shop) -> None:
        made = [await an_order(shop) for _ in range(27)][::-1]
        first = (await api.get("/v1/orders")).json()
        second = (await api.get(f"/v1/orders?after={first['next']}")).json()
        assert [row["id"] for row in first["items"] + second["items"]] == made
        assert second["next"] is None
        found = (await api.get(f"/v1/orders?q={made[3]}")).json()
        assert [row["id"] for row in found["items"]] == [made[3]]

    async def test_a_whole_authorisation_is_voided(self, api: Api, shop: Shop, books: Books) -> None:
        path = f"/v1/payments/{await a_payment(shop, mode=MANUAL)}"
        assert (await api.post(f"{path}/void")).json()["status"] == "voided"
        assert books() == {}

    async def test_without_a_token_the_buyer_is_sent_to_the_psp(self, api: Api, shop: Shop) -> None:
        answer = await api.post("/v1/payments", {"order": await an_order(shop), "return_url": "https://shop.example/thanks"})
        assert answer.json()["next_action"] == {"type": "redirect", "url": "http://psp.test/pay"}

    async def test_an_answer_that_is_lost_is_202_and_goes_on(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        psp.answers("authorise", Result(outcome=Outcome.UNKNOWN, code="read_timeout"))
        answer = await api.post("/v1/payments", {"order": await an_order(shop), "token": "tok_visa"})
        assert (answer.status_code, answer.json()["status"]) == (202, "unknown")

    async def test_a_no_is_an_answer_and_not_an_error(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        psp.answers("authorise", Result(outcome=Outcome.DECLINED, code="lost_card", message="The card was reported lost."))
        answer = await api.post("/v1/payments", {"order": await an_order(shop), "token": "tok_visa"})
        assert (answer.status_code, answer.json()["status"], answer.json()["failure"]["code"]) == (201, "failed", "lost_card")


class TestIdempotencyKey:
    async def test_the_same_again_is_the_same_byte_for_byte(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        body = {"order": await an_order(shop), "token": "tok_visa"}
        first = await api.post("/v1/payments", body, key="once")
        assert "idempotent-replayed" not in first.headers
        await shop.refund(PaymentId(parse_id("pay", first.json()["id"])), 100)
        again = await api.post("/v1/payments", body, key="once")
        assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (first.status_code, first.content, "true")
        assert psp.made("authorise") == 1

    @pytest.mark.parametrize("verb", ["capture", "void", "refunds"])
    async def test_operations_are_repeated_too(self, api: Api, shop: Shop, psp: ScriptedPsp, verb: str) -> None:
        path = f"/v1/payments/{await a_payment(shop, mode=CaptureMode.AUTOMATIC if verb == 'refunds' else MANUAL)}/{verb}"
        first = await api.post(path, {"reason": "x"}, key="once")
        again = await api.post(path, {"reason": "x"}, key="once")
        assert (first.status_code, again.content, again.headers["idempotent-replayed"]) == (201, first.content, "true")
        assert psp.made(verb.removesuffix("s")) == 1

    async def test_orders_are_repeated_too(self, api: Api, shop: Shop) -> None:
        body = order_of(shop)
        first, again = await api.post("/v1/orders", body, key="once"), await api.post("/v1/orders", body, key="once")
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")

    async def test_a_key_belongs_to_one_request(self, api: Api, shop: Shop, nothing_written: Any) -> None:
        order_id, path = await an_order(shop), f"/v1/payments/{await a_payment(shop)}/refunds"
        await api.post("/v1/payments", {"order": order_id, "token": "tok_visa"}, key="once")
        with nothing_written():
            for where, body in (
                ("/v1/payments", {"order": order_id, "token": "tok_amex"}),
                (path, {}),
                (path.replace("refunds", "void"), {}),
                ("/v1/orders", order_of(shop)),
            ):
                refused(await api.post(where, body, key="once"), 422, "idempotency_key_reused")

    @pytest.mark.parametrize("key", [None, "", "x" * 256, "a\tb"])
    async def test_it_must_be_there_and_be_one(self, api: Api, shop: Shop, nothing_written: Any, key: str | None) -> None:
        order_id, path = await an_order(shop), f"/v1/payments/{await a_payment(shop)}"
        with nothing_written():
            refused(await api.post("/v1/payments", {"order": order_id, "token": "tok_visa"}, key=key), 422, "idempotency_key_missing")
            for verb in ("capture", "void", "refunds"):
                refused(await api.post(f"{path}/{verb}", key=key), 422, "idempotency_key_missing")

    async def test_while_the_first_runs_the_others_are_told_to_wait(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        body = {"order": await an_order(shop), "token": "tok_visa"}
        failpoints.enable("payments.claimed", "sleep:400")
        try:
            first = asyncio.create_task(api.post("/v1/payments", body, key="once"))
            while not await self.claimed(shop):
                await asyncio.sleep(0.005)
            waits = await api.post("/v1/payments", body, key="once")
        finally:
            failpoints.enable("payments.claimed", "off")
        refused(waits, 429, "request_in_progress")
        assert int(waits.headers["retry-after"]) >= 1
        assert (await first).status_code == 201
        assert (await api.post("/v1/payments", body, key="once")).content == (await first).content
        assert psp.made("authorise") == 1

    async def claimed(self, shop: Shop) -> bool:
        from sqlalchemy import text

        from app.core.db import unit_of_work

        async with unit_of_work(shop.merchant_id) as session:
            return bool((await session.execute(text("select count(*) from idempotency_key where key = 'once'"))).scalar_one())

    async def test_what_was_refused_does_not_use_the_key_up(self, api: Api, shop: Shop) -> None:
        path = f"/v1/payments/{await a_payment(shop)}/refunds"
        refused(await api.post(path, {"amount": {"minor": 10_001, "currency": "EUR"}}, key="once"), 409, "refund_exceeds_captured")
        assert (await api.post(path, {"amount": {"minor": 10_000, "currency": "EUR"}}, key="once")).status_code == 201


BAD_AMOUNTS: list[bytes] = [b"1.0", b"1.5", b'"100"', b"NaN", b"Infinity", b"1e400", b"true", b"null", b"[]", b"{}", b"1" * 400]
NOT_TAKEN: list[int] = [0, -1, -(10**20), LARGEST + 1, 10**15, 2**63, 10**30]


class TestBadInput:
    @pytest.mark.parametrize("sent", [b"", b"{", b"nonsense", b"[]", b'"x"', b"\xff\xfe{}", b'{"order": "ord_1",}', b"[" * 5000])
    @pytest.mark.parametrize("path", ["/v1/orders", "/v1/payments"])
    async def test_what_is_not_json_of_the_right_shape(self, api: Api, nothing_written: Any, path: str, sent: bytes) -> None:
        with nothing_written():
            response = await api.post(path, content=sent)
        assert response.status_code in (400, 422) and response.headers["content-type"].startswith("application/problem+json"), response.text

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"]
    )
    async def test_a_body_of_another_type(self, api: Api, shop: Shop, nothing_written: Any, kind: str) -> None:
        order_id = await an_order(shop)
        with nothing_written():
            response = await api.post(
                "/v1/payments", content=b'{"order": "%s", "token": "tok_visa"}' % order_id.encode(), content_type=kind
            )
        assert response.status_code in (400, 415), response.text
        assert response.json()["code"] in ("bad_request", "unsupported_media_type")

    @pytest.mark.parametrize("amount", BAD_AMOUNTS)
    async def test_an_amount_that_is_no_whole_number(self, api: Api, shop: Shop, nothing_written: Any, amount: bytes) -> None:
        path = f"/v1/payments/{await a_payment(shop, mode=MANUAL)}/capture"
        seller = public_id("sel", shop.anna).encode()
        line = b'{"reference":"R","currency":"EUR","lines":[{"seller":"%s","amount":{"minor":%s,"currency":"EUR"}}]}' % (seller, amount)
        with nothing_written():
            for where, body in ((path, b'{"amount":{"minor":%s,"currency":"EUR"}}' % amount), ("/v1/orders", line)):
                response = await api.post(where, content=body)
                assert response.status_code in (400, 422), (where, response.text)
                assert response.headers["content-type"].startswith("application/problem+json")

    @pytest.mark.parametrize("minor", NOT_TAKEN)
    async def test_an_amount_that_cannot_be_taken(self, api: Api, shop: Shop, nothing_written: Any, minor: int) -> None:
        amount = {"minor": minor, "currency": "EUR"}
        captured, open_one = f"/v1/payments/{await a_payment(shop)}", f"/v1/payments/{await a_payment(shop, mode=MANUAL)}"
        order = order_of(shop, lines=[{"seller": public_id("sel", shop.anna), "amount": amount}])
        with nothing_written():
            for where, body in (
                (f"{captured}/refunds", {"amount": amount}),
                (f"{open_one}/capture", {"amount": amount}),
                ("/v1/orders", order),
            ):
                response = await api.post(where, body)
                assert response.status_code in (400, 409, 422), (where, response.text)
                assert response.headers["content-type"].startswith("application/problem+json")

    async def test_lines_that_add_up_to_more_than_the_largest_amount(self, api: Api, shop: Shop, nothing_written: Any) -> None:
        line = {"seller": public_id("sel", shop.anna), "amount": {"minor": LARGEST, "currency": "EUR"}}
        with nothing_written():
            response = await api.post("/v1/orders", order_of(shop, lines=[line, line]))
        refused(response, 422, "order_lines_invalid")

    @pytest.mark.parametrize("currency", ["USD", "eur", "XXX", "", "EURO", "€", "E\u0000R"])
    async def test_another_currency(self, api: Api, shop: Shop, nothing_written: Any, currency: str) -> None:
        amount = {"minor": 100, "currency": currency}
        captured, open_one = f"/v1/payments/{await a_payment(shop)}", f"/v1/payments/{await a_payment(shop, mode=MANUAL)}"
        order = order_of(shop, lines=[{"seller": public_id("sel", shop.anna), "amount": amount}])
        with nothing_written():
            for where, body in (
                (f"{captured}/refunds", {"amount": amount}),
                (f"{open_one}/capture", {"amount": amount}),
                ("/v1/orders", order),
            ):
                response = await api.post(where, body)
                assert response.status_code == 422 and response.json()["code"], (where, response.text)

    @pytest.mark.parametrize("path", ["/v1/orders", "/v1/payments", "payment/capture", "payment/void", "payment/refunds"])
    async def test_a_field_nobody_knows(self, api: Api, shop: Shop, nothing_written: Any, path: str) -> None:
        good = {"/v1/orders": order_of(shop), "/v1/payments": {"order": await an_order(shop), "token": "tok_visa"}}.get(path, {})
        path = path.replace("payment/", f"/v1/payments/{await a_payment(shop)}/") if path.startswith("payment") else path
        with nothing_written():
            problem = refused(await api.post(path, {**good, "amuont": 5}), 422, "invalid")
        assert "amuont" in str(problem["fields"])

    @pytest.mark.parametrize(
        ("change", "field"),
        [({"order": 5}, "order"), ({"token": ""}, "token"), ({"token": "x" * 256}, "token"), ({"capture": "later"}, "capture"), ({"order": None}, "order"), ({"return_url": "x" * 2001}, "return_url")],
    )  # fmt: skip
    async def test_a_field_that_is_not_valid_is_named(
        self, api: Api, shop: Shop, nothing_written: Any, change: dict[str, object], field: str
    ) -> None:
        body = {"order": await an_order(shop), "token": "tok_visa"} | change
        with nothing_written():
            refused(await api.post("/v1/payments", body), 422, "invalid", field)

    @pytest.mark.parametrize(
        "url",
        [
            "javascript:alert(1)",
            "data:text/html,x",
            "//evil.example",
            "not a url",
            "https://",
            "https://user:pass@shop.example/",
            "file:///etc/passwd",
        ],
    )
    async def test_a_return_address_that_is_none(self, api: Api, shop: Shop, nothing_written: Any, url: str) -> None:
        body = {"order": await an_order(shop), "return_url": url}
        with nothing_written():
            response = await api.post("/v1/payments", body)
        assert response.status_code == 422, response.text

    @pytest.mark.parametrize("text", ["a\u0000b", "\ud800"])
    async def test_text_no_database_can_keep(self, api: Api, shop: Shop, nothing_written: Any, text: str) -> None:
        import json

        captured = f"/v1/payments/{await a_payment(shop)}/refunds"
        with nothing_written():
            for where, body in (
                ("/v1/orders", order_of(shop, reference=text)),
                ("/v1/orders", order_of(shop, metadata={"a": text})),
                (captured, {"reason": text}),
            ):
                response = await api.post(where, content=json.dumps(body).encode())
                assert response.status_code in (400, 422), (where, response.text)

    @pytest.mark.parametrize(
        "split", [[], [{"seller": "sel_1", "minor": 100}], [{"minor": 100}], [{"seller": "anna", "minor": 60}, {"seller": "anna", "minor": 40}], [{"seller": "anna", "minor": 99}], [{"seller": "nobody", "minor": 100}]]
    )  # fmt: skip
    async def test_a_split_that_is_none(self, api: Api, shop: Shop, nothing_written: Any, split: list[dict[str, object]]) -> None:
        names = {"anna": public_id("sel", shop.anna), "nobody": public_id("sel", new_id())}
        parts = [{**part, "seller": names.get(str(part["seller"]), part["seller"])} if "seller" in part else part for part in split]
        path = f"/v1/payments/{await a_payment(shop)}/refunds"
        with nothing_written():
            response = await api.post(path, {"amount": {"minor": 100, "currency": "EUR"}, "split": parts})
        assert response.status_code == 422, response.text

    @pytest.mark.parametrize("size", [1_100_000, 5_000_000])
    async def test_a_body_that_is_too_large(self, api: Api, shop: Shop, nothing_written: Any, size: int) -> None:
        with nothing_written():
            refused(await api.post("/v1/orders", order_of(shop, description="x" * size)), 413, "body_too_large")

    async def test_states_in_which_it_cannot_be_done(self, api: Api, shop: Shop, nothing_written: Any) -> None:
        order_id = await shop.order()
        paid = f"/v1/payments/{await a_payment(shop, order_id=order_id)}"
        open_one = f"/v1/payments/{await a_payment(shop, mode=MANUAL)}"
        with nothing_written():
            for where, body in (
                (f"{paid}/capture", {}),
                (f"{paid}/void", {}),
                (f"{open_one}/refunds", {}),
                (f"{open_one}/capture", {"amount": {"minor": 10_001, "currency": "EUR"}}),
                ("/v1/payments", {"order": public_id("ord", order_id), "token": "tok_visa"}),
            ):
                response = await api.post(where, body)
                assert response.status_code == 409 and response.json()["code"] != "conflict", (where, response.text)


class TestWalls:
    @pytest.mark.parametrize("kind", ["unknown", "foreign", "malformed"])
    async def test_what_is_not_there_not_ours_or_no_id_leads_nowhere_alike(
        self, api: Api, shop: Shop, stranger: Shop, nothing_written: Any, kind: str
    ) -> None:
        pay, order = await a_payment(stranger, mode=MANUAL), await an_order(stranger)
        pay, order = {
            "unknown": (public_id("pay", new_id()), public_id("ord", new_id())),
            "foreign": (pay, order),
            "malformed": ("pay_x", "x"),
        }[kind]
        nowhere = public_id("pay", new_id())
        with nothing_written():
            for method, path in (
                ("get", "/v1/payments/{}"),
                ("post", "/v1/payments/{}/capture"),
                ("post", "/v1/payments/{}/void"),
                ("post", "/v1/payments/{}/refunds"),
            ):
                answers = [
                    await (api.get(path.format(each)) if method == "get" else api.post(path.format(each))) for each in (pay, nowhere)
                ]
                bodies = [{**refused(answer, 404, "payment_not_found"), "request_id": ""} for answer in answers]
                assert bodies[0] == bodies[1], path
            refused(await api.get(f"/v1/orders/{order}"), 404, "order_not_found")
            refused(await api.post(f"/v1/orders/{order}/cancel"), 404, "order_not_found")

    @pytest.mark.parametrize("kind", ["unknown", "foreign"])
    async def test_nor_does_what_is_named_in_a_body(self, api: Api, shop: Shop, stranger: Shop, nothing_written: Any, kind: str) -> None:
        theirs = kind == "foreign"
        order = public_id("ord", await stranger.order() if theirs else new_id())
        connection = public_id("con", stranger.connection_id if theirs else new_id())
        seller = public_id("sel", stranger.anna if theirs else new_id())
        ours = await an_order(shop)
        line = {"seller": seller, "amount": {"minor": 100, "currency": "EUR"}}
        with nothing_written():
            refused(await api.post("/v1/payments", {"order": order, "token": "tok_visa"}), 404, "order_not_found")
            refused(
                await api.post("/v1/payments", {"order": ours, "token": "tok_visa", "connection": connection}), 404, "connection_not_found"
            )
            response = await api.post("/v1/orders", order_of(shop, lines=[line]))
            assert response.status_code in (404, 422) and "seller" in response.json()["code"], response.text

    @pytest.mark.parametrize("change", [{"order": "ord_x"}, {"connection": "con_x"}, {"order": "pay_" + "0" * 26}, {"order": ""}])
    async def test_an_id_that_is_none_in_a_body(self, api: Api, shop: Shop, nothing_written: Any, change: dict[str, str]) -> None:
        body = {"order": await an_order(shop), "token": "tok_visa"} | change
        with nothing_written():
            refused(await api.post("/v1/payments", body), 422, "malformed_id")

    async def test_without_a_key_or_with_a_wrong_one_nobody_is_anybody(self, api: Api, shop: Shop, nothing_written: Any) -> None:
        body, path = {"order": await an_order(shop), "token": "tok_visa"}, f"/v1/payments/{await a_payment(shop)}"
        good = api.key
        with nothing_written():
            for key in ("", "x", good[:-1], good + "x", good.swapcase(), "ch_live_" + "a" * 32, "é"):
                for response in (
                    await api.client.post(
                        "/v1/payments", json=body, headers={b"authorization": b"Bearer " + key.encode(), b"idempotency-key": b"k"}
                    ),  # type: ignore[dict-item]
                    await api.client.get(path, headers={b"authorization": b"Bearer " + key.encode()}),  # type: ignore[dict-item]
                ):
                    assert response.status_code == 401 and response.json()["request_id"], response.text
            for headers in ({}, {"authorization": good}, {"authorization": f"Basic {good}"}, {"cookie": f"session={good}"}):
                assert (await api.client.get(path, headers=headers)).status_code == 401

    async def test_a_key_does_what_its_scopes_say_and_no_more(self, api: Api, shop: Shop, nothing_written: Any) -> None:
        order, path = await an_order(shop), f"/v1/payments/{await a_payment(shop)}"
        calls = {
            "payments.create": ("/v1/payments", {"order": order, "token": "tok_visa"}),
            "payments.capture": (f"{path}/capture", {}),
            "payments.void": (f"{path}/void", {}),
            "payments.refund": (f"{path}/refunds", {}),
            "orders.write": ("/v1/orders", order_of(shop)),
        }
        for scope in calls:
            _, key = await make_key(shop.merchant_id, name=scope, scopes=[other for other in calls if other != scope])
            weak = Api(api.client, key)
            with nothing_written():
                assert refused(await weak.post(*calls[scope]), 403, "permission_missing")["permission"] == scope
                refused(await weak.get(path), 403, "permission_missing")

    async def test_other_methods_and_addresses(self, api: Api, shop: Shop, nothing_written: Any) -> None:
        path = f"/v1/payments/{await a_payment(shop)}"
        with nothing_written():
            for method, where, status in (
                ("DELETE", path, 405),
                ("PUT", path, 405),
                ("GET", f"{path}/capture", 405),
                ("POST", f"{path}/nonsense", 404),
                ("GET", "/v1/nothing", 404),
            ):
                response = await api.client.request(method, where, headers={"authorization": f"Bearer {api.key}"})
                assert response.status_code == status and response.json()["status"] == status, (method, where, response.text)
