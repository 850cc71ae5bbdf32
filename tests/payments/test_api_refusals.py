"""What the JSON API refuses: precisely, and with nothing written."""

from typing import Any

import pytest

from app.core.ids import new_id, public_id
from app.payments.domain import CaptureMode
from tests.payments.client import Api, a_payment, an_order, order_of, refused
from tests.support.factories.api_access import make_key
from tests.support.shop import Shop

LARGEST = 999_999_999_999_999
BAD_AMOUNTS: list[bytes] = [b"1.0", b"1.5", b'"100"', b"NaN", b"Infinity", b"1e400", b"true", b"null", b"[]", b"{}", b"1" * 400]
NOT_TAKEN: list[int] = [0, -1, -(10**20), LARGEST + 1, 10**15, 2**63, 10**30]
MANUAL = CaptureMode.MANUAL


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

    @pytest.mark.parametrize(
        "moment", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "2099-01-01T00:00:00Z", "2027-01-01T00:00:00"]
    )
    async def test_an_order_that_would_never_expire_or_has_already(self, api: Api, shop: Shop, nothing_written: Any, moment: str) -> None:
        with nothing_written():
            refused(await api.post("/v1/orders", order_of(shop, expires_at=moment)), 422, "invalid", "expires_at")

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

    async def test_a_body_that_is_not_utf_8(self, api: Api, nothing_written: Any) -> None:
        with nothing_written():
            refused(await api.post("/v1/orders", content=b'{"reference": "\xff"}'), 400, "bad_request")

    async def test_a_status_no_order_can_have(self, api: Api, shop: Shop) -> None:
        refused(await api.get("/v1/orders?status=piad"), 422, "invalid", "status")
        assert (await api.get("/v1/orders?status=paid")).json()["items"] == []

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
