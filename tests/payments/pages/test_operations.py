"""The dialogs that move money: what they show before, what they refuse, and that they happen once."""

import pytest
from psycopg import Connection

from app.core.ids import PaymentId, new_id, public_id
from app.payments.domain import CaptureMode
from app.psp.domain import Instruction, Outcome, Result
from app.tenancy.domain import Role
from tests.payments.pages.test_details import path, stats
from tests.payments.pages.test_lists import UNKNOWN
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.web import Browser

EUR = {"amount_currency": "EUR"}


def fields(response: object) -> dict[str, str]:
    """What the dialog's form would send as it stands."""
    form = soup(response).select_one("form[action$='refund'], form[action$='capture'], form[action$='void']")  # type: ignore[arg-type]
    sent = {box["name"]: box.get("value", "") for box in form.select("input[name]") if box.get("type") != "checkbox"}
    return sent | {choice["name"]: choice.select_one("option[selected]")["value"] for choice in form.select("select")}


def asked(shop: Shop, verb: str) -> list[int]:
    """The amounts that the PSP was asked for."""
    return [call.amount.minor for made, call in shop.psp.calls if made == verb and isinstance(call, Instruction)]


class TestRefund:
    async def test_shows_what_is_taken_from_whom_and_what_is_left(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        whole = soup(await owner.get(f"{path(answered.payment_id)}/refund"))
        assert words(whole.select_one("#dlg-go")) == "Refund €100.00"
        part = soup(await owner.get(f"{path(answered.payment_id)}/refund?amount=50.00&amount_currency=EUR"))
        said = words(part.select_one("#operation-preview"))
        for expected in (
            "Anna's Antiques −€28.50",
            "Bert's Books −€18.00",
            "platform fee −€3.50",
            "Can still be refunded €50.00",
            "Refund €50.00",
        ):
            assert expected in said
        kept = words(
            soup(await owner.get(f"{path(answered.payment_id)}/refund?amount=50&amount_currency=EUR&keep_fee=on")).select_one(
                "#operation-preview"
            )
        )
        assert "Anna's Antiques −€30.00" in kept

    async def test_a_preview_is_a_part_of_the_page_and_keeps_no_token_in_the_address(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        address = f"{path(answered.payment_id)}/refund?amount=50&amount_currency=EUR"
        partial = await owner.client.get(address, headers={"hx-request": "true", "hx-request-type": "partial"})
        assert [node["id"] for node in soup(partial).find_all(recursive=False)] == ["operation-preview"]
        dialog = soup(await owner.get(f"{path(answered.payment_id)}/refund"))
        assert dialog.select_one("[hx-trigger^='input'] [name=csrf_token]") is None
        assert dialog.select_one("[hx-trigger^='input']")["hx-include"] == "this"

    async def test_refunds_and_leads_back_with_a_word_about_it(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund")) | {"amount": "25.00", "reason": "Damaged item"}
        done = await owner.post(f"{path(answered.payment_id)}/refund", sent)
        assert (done.status_code, done.headers["location"]) == (303, path(answered.payment_id))
        assert stats(soup(await owner.follow(done)))["Refunded"] == "€25.00"
        assert asked(shop, "refund") == [2500]

    async def test_the_same_form_sent_twice_refunds_once(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund")) | {"amount": "25.00"}
        for _ in range(3):
            assert (await owner.post(f"{path(answered.payment_id)}/refund", sent)).status_code == 303
        assert asked(shop, "refund") == [2500]
        again = await owner.post(f"{path(answered.payment_id)}/refund", sent | {"amount": "26.00"})
        assert again.status_code == 422
        assert asked(shop, "refund") == [2500]

    @pytest.mark.parametrize(
        ("amount", "said"),
        [("100.01", "At most €100.00 can be refunded"), ("0", "more than zero"), ("-5", "more than zero"), ("x", "not an amount"),
         ("1.005", "has 2 decimals"), ("", "Enter an amount"), ("99999999999999999999", "too large")],
    )  # fmt: skip
    async def test_an_amount_that_cannot_be_is_said_at_its_field(self, owner: Browser, shop: Shop, amount: str, said: str) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund")) | {"amount": amount}
        refused = await owner.post(f"{path(answered.payment_id)}/refund", sent)
        assert refused.status_code == 422
        page = soup(refused)
        assert said in words(page.select_one(".field:has([name=amount]) .err"))
        assert page.select_one("[name=amount]")["value"] == amount
        assert asked(shop, "refund") == []

    async def test_another_currency_is_refused(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund")) | {"amount_currency": "USD"}
        assert (await owner.post(f"{path(answered.payment_id)}/refund", sent)).status_code == 422
        assert asked(shop, "refund") == []

    async def test_a_division_of_ones_own_must_add_up_and_fit(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund")) | {"amount": "10.00"}
        bert, anna = f"part_{public_id('sel', shop.bert)}", f"part_{public_id('sel', shop.anna)}"
        for parts in ({bert: "9.99"}, {bert: "5", anna: "6"}, {bert: "-10", anna: "20"}, {bert: "ten"}):
            assert (await owner.post(f"{path(answered.payment_id)}/refund", sent | parts)).status_code == 422
        assert asked(shop, "refund") == []
        done = await owner.post(f"{path(answered.payment_id)}/refund", sent | {bert: "10.00"})
        assert done.status_code == 303
        page = soup(await owner.follow(done))
        split = {words(row).split(" €")[0]: words(row) for row in page.select("table:has(caption:-soup-contains('Split')) tbody tr")}
        assert "€10.00" in split["Bert's Books"]
        assert "€10.00" not in split["Anna's Antiques"]

    @pytest.mark.parametrize("key", ["", "a\tb"])
    async def test_without_a_key_of_its_own_a_form_moves_nothing(self, owner: Browser, shop: Shop, key: str) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund")) | {"amount": "10.00", "idempotency_key": key}
        assert [(await owner.post(f"{path(answered.payment_id)}/refund", sent)).status_code for _ in range(2)] == [422, 422]
        assert asked(shop, "refund") == []

    async def test_an_answer_that_was_lost_is_told_as_on_its_way(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        shop.psp.answers("refund", UNKNOWN)
        done = await owner.post(f"{path(answered.payment_id)}/refund", fields(await owner.get(f"{path(answered.payment_id)}/refund")))
        assert "on its way" in (await owner.follow(done)).text

    async def test_a_no_of_the_psp_is_told(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, code="not_allowed_now", message="Too old"))
        done = await owner.post(f"{path(answered.payment_id)}/refund", fields(await owner.get(f"{path(answered.payment_id)}/refund")))
        page = await owner.follow(done)
        assert "failed" in page.text
        assert "Too old" in page.text
        assert stats(soup(page))["Refunded"] == "€0.00"

    async def test_nothing_left_leaves_no_dialog(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        await shop.refund(answered.payment_id)
        assert (await owner.get(f"{path(answered.payment_id)}/refund")).status_code == 409

    async def test_asks_who_it_is_when_the_second_factor_is_old(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund"))
        superuser.execute("update web_session set factor_at = factor_at - interval '16 minutes'")
        refused = await owner.post(f"{path(answered.payment_id)}/refund", sent)
        assert refused.status_code == 403
        assert soup(refused).select_one("[name=step_up_code]") is not None
        assert soup(refused).select_one("[name=idempotency_key]")["value"] == sent["idempotency_key"]
        assert asked(shop, "refund") == []

    async def test_viewers_and_strangers_cannot(self, open_as: OpenAs, owner: Browser, shop: Shop, stranger: Tenant) -> None:
        answered = await shop.pay()
        sent = fields(await owner.get(f"{path(answered.payment_id)}/refund"))
        sent.pop("csrf_token")
        viewer, other = await open_as(shop.tenant, Role.VIEWER), await open_as(stranger)
        for browser, status in ((viewer, 403), (other, 404)):
            assert (await browser.get(f"{path(answered.payment_id)}/refund")).status_code == status
            assert (await browser.post(f"{path(answered.payment_id)}/refund", sent)).status_code == status
        assert (await owner.get(f"{path(PaymentId(new_id()))}/refund")).status_code == 404
        assert asked(shop, "refund") == []


class TestCapture:
    async def test_takes_a_part_then_the_rest(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay(mode=CaptureMode.MANUAL)
        address = f"{path(answered.payment_id)}/capture"
        done = await owner.post(address, fields(await owner.get(address)) | {"amount": "40.00"})
        assert stats(soup(await owner.follow(done)))["Left to capture"] == "€60.00"
        dialog = await owner.get(address)
        assert words(soup(dialog).select_one("#dlg-go")) == "Capture €60.00"
        done = await owner.post(address, fields(dialog))
        assert stats(soup(await owner.follow(done)))["Captured"] == "€100.00"
        assert asked(shop, "capture") == [4000, 6000]

    async def test_the_last_capture_releases_the_rest(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay(mode=CaptureMode.MANUAL)
        address = f"{path(answered.payment_id)}/capture"
        done = await owner.post(address, fields(await owner.get(address)) | {"amount": "40.00", "is_final": "on"})
        page = soup(await owner.follow(done))
        assert stats(page)["Left to capture"] == "€0.00"
        assert [words(link) for link in page.select(".ph-a a")] == ["Refund"]

    async def test_more_than_is_authorised_is_refused(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay(mode=CaptureMode.MANUAL)
        address = f"{path(answered.payment_id)}/capture"
        assert (await owner.post(address, fields(await owner.get(address)) | {"amount": "100.01"})).status_code == 422
        assert asked(shop, "capture") == []


class TestVoid:
    async def test_releases_and_says_so(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay(mode=CaptureMode.MANUAL)
        address = f"{path(answered.payment_id)}/void"
        dialog = await owner.get(address)
        assert words(soup(dialog).select_one("#dlg-go")) == "Release €100.00"
        done = await owner.post(address, fields(dialog) | {"reason": "Sold out"})
        page = soup(await owner.follow(done))
        assert words(page.select_one(".payhead .badge")) == "Voided"
        assert any("Sold out" in words(step) for step in page.select(".tl li"))

    async def test_what_is_captured_cannot_be_released(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        assert (await owner.get(f"{path(answered.payment_id)}/void")).status_code == 409
