"""What a seller owes and will not repay is written off: never more than the debt, by two persons above a limit, and undone where its refund fails."""

import asyncio
from datetime import timedelta

import pytest
from psycopg import Connection

from app.approvals import service as approvals
from app.approvals.domain import Act, ApprovalRequired
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.errors import Conflict
from app.core.ids import new_id, public_id
from app.core.money import Money
from app.tenancy.domain import Role
from app.wallets import flows as wallets
from app.wallets.domain import NoSuchDebt
from app.wallets.write_offs import flows, service
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.factories.wallets import book
from tests.support.shop import Shop, balances
from tests.support.web import Browser
from tests.wallets.test_debts import anna, fails, owes, sells
from tests.wallets.test_pages import lines, path

WHY = "Closed her shop and cannot be reached"


def lost(shop: Shop, superuser: Connection) -> int:
    """What the platform lost to bad debts."""
    return sum(minor for (code, _), minor in balances(superuser, shop.merchant_id).items() if code == "5150")


async def anybody(shop: Shop) -> None:
    """One person alone writes off whatever it is."""
    async with unit_of_work(shop.merchant_id) as session:
        await approvals.set_rule(session, shop.actor, act=Act.WRITE_OFF, start=Money(99_999_999, "EUR"), approvers=1)


async def write_off(shop: Shop, minor: int, *, key: str | None = None) -> bool:
    return await flows.write_off(shop.actor, seller_id=shop.anna, amount=Money(minor, "EUR"), reason=WHY, key=key or new_id().hex)


class TestWriteOff:
    @pytest.mark.parametrize("minor", [1, 2_000, 5_000])
    async def test_becomes_the_platforms_loss(self, shop: Shop, superuser: Connection, minor: int) -> None:
        await owes(shop, 5_000)
        await anybody(shop)
        assert await write_off(shop, minor)
        assert anna(shop, superuser) == (0, 5_000 - minor) and lost(shop, superuser) == minor
        told = superuser.execute("select payload->>'amount_minor' from outbox where topic = 'wallet.debt_written_off'").fetchall()
        assert told == [(str(minor),)]
        entry = superuser.execute(
            "select reason, before->>'owed_minor', after->>'owed_minor' from audit_entry where action = 'wallet.debt_written_off'"
        ).fetchone()
        assert entry == (WHY, "5000", str(5_000 - minor))

    async def test_never_more_than_the_debt(self, shop: Shop, superuser: Connection) -> None:
        await anybody(shop)
        for minor in (1, 0, -1):
            with pytest.raises(NoSuchDebt):
                await write_off(shop, minor)
        await owes(shop, 5_000)
        with pytest.raises(NoSuchDebt):
            await write_off(shop, 5_001)
        await write_off(shop, 5_000)
        with pytest.raises(NoSuchDebt):
            await write_off(shop, 1)
        assert anna(shop, superuser) == (0, 0) and lost(shop, superuser) == 5_000

    async def test_nor_what_is_available_to_repay_it(self, shop: Shop) -> None:
        await owes(shop, 5_000)
        await anybody(shop)
        await book(shop.merchant_id, shop.anna, [2_000])
        with pytest.raises(NoSuchDebt, match=r"€20\.00 is available"):
            await write_off(shop, 3_001)
        assert await write_off(shop, 3_000)

    async def test_once_per_key(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        await anybody(shop)
        assert [await write_off(shop, 1_000, key="k") for _ in range(3)] == [True] * 3
        assert lost(shop, superuser) == 1_000

    async def test_it_is_not_taken_from_later_funds(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        await anybody(shop)
        await write_off(shop, 4_000)
        await sells(shop, 10_000)
        assert anna(shop, superuser) == (9_500 - 1_000, 0)

    async def test_several_at_once_write_it_off_once(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        await anybody(shop)
        results = await asyncio.gather(*(write_off(shop, 5_000) for _ in range(4)), return_exceptions=True)
        assert results.count(True) == 1 and all(isinstance(result, NoSuchDebt) for result in results if result is not True)
        assert anna(shop, superuser) == (0, 0) and lost(shop, superuser) == 5_000

    async def test_at_the_moment_in_which_it_is_repaid(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        await anybody(shop)
        await shop.pay(await shop.order(anna=4_000, bert=0))
        with travel(timedelta(days=3)):
            results = await asyncio.gather(wallets.release_due(), write_off(shop, 5_000), return_exceptions=True)
        available, owed = anna(shop, superuser)
        if results[1] is True:
            assert (available, owed, lost(shop, superuser)) == (3_800, 0, 5_000)
        else:
            assert isinstance(results[1], NoSuchDebt)
            assert (available, owed, lost(shop, superuser)) == (0, 1_200, 0)


class TestTwoPersons:
    async def test_above_the_limit_one_person_alone_cannot(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        assert not await write_off(shop, 2_501)
        assert await write_off(shop, 2_500), "up to 25.00 one person does, where the merchant has no rule"
        assert anna(shop, superuser) == (0, 2_500) and lost(shop, superuser) == 2_500

    async def test_past_the_page_the_service_refuses_too(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        async with unit_of_work(shop.merchant_id) as session:
            with pytest.raises(ApprovalRequired):
                await service.write_off(session, shop.actor, seller_id=shop.anna, amount=Money(2_501, "EUR"), reason=WHY)
        assert not await write_off(shop, 2_501)
        assert anna(shop, superuser) == (0, 5_000) and lost(shop, superuser) == 0

    async def test_a_rule_of_the_merchants_goes_before(self, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        async with unit_of_work(shop.merchant_id) as session:
            await approvals.set_rule(session, shop.actor, act=Act.WRITE_OFF, start=Money(100, "EUR"), approvers=2)
        assert not await write_off(shop, 100)
        assert await write_off(shop, 99)

    async def test_the_other_agrees_among_the_approvals(self, open_as: OpenAs, owner: Browser, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        asked = await owner.post(f"{path(shop.anna)}/write-off?currency=EUR", form(5_000))
        assert asked.status_code == 303 and lost(shop, superuser) == 0
        assert (await owner.post(f"{path(shop.anna)}/write-off?currency=EUR", form(5_000))).status_code == 409
        approver = await open_as(shop.tenant, Role.APPROVER)
        link = soup(await approver.get("/approvals?kind=debt")).select_one("#approval-rows a[href^='/approvals/debt/']")["href"]
        shown = soup(await approver.get(link))
        assert "Write off €50.00" in words(shown) and WHY in words(shown)
        fields = {"digest": shown.select_one("input[name=digest]")["value"], "decision": "approve"}
        assert (await approver.post(link, fields)).status_code == 303
        assert anna(shop, superuser) == (0, 0) and lost(shop, superuser) == 5_000

    async def test_a_yes_to_what_is_no_longer_owed_counts_for_nothing(
        self, open_as: OpenAs, owner: Browser, shop: Shop, superuser: Connection
    ) -> None:
        await owes(shop, 5_000)
        await owner.post(f"{path(shop.anna)}/write-off?currency=EUR", form(5_000))
        await sells(shop, 4_000)
        approver = await open_as(shop.tenant, Role.APPROVER)
        link = soup(await approver.get("/approvals?kind=debt")).select_one("#approval-rows a[href^='/approvals/debt/']")["href"]
        digest = soup(await approver.get(link)).select_one("input[name=digest]")["value"]
        assert (await approver.post(link, {"digest": digest, "decision": "approve"})).status_code == 409
        assert anna(shop, superuser) == (0, 1_200) and lost(shop, superuser) == 0
        assert superuser.execute("select status from approval").fetchone() == ("pending",)
        assert (await approver.post(link, {"digest": digest, "decision": "reject", "reason": "Repaid"})).status_code == 303

    async def test_whoever_asked_takes_it_back(self, open_as: OpenAs, owner: Browser, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 5_000)
        await owner.post(f"{path(shop.anna)}/write-off?currency=EUR", form(3_000))
        finance = await open_as(shop.tenant, Role.FINANCE)
        assert "You asked to write off" not in words(soup(await finance.get(path(shop.anna))))
        aside = soup(await owner.get(path(shop.anna))).select_one("#wallet-balance")
        assert "You asked to write off €30.00" in words(aside)
        action = aside.select_one("form[action$='/withdraw']")["action"]
        assert (await owner.post(action.replace(public_id("sel", shop.anna), public_id("sel", shop.bert)), {})).status_code == 404
        assert (await finance.post(action, {})).status_code == 403, "only one's own"
        assert (await owner.post(action, {})).headers["location"] == f"{path(shop.anna)}?currency=EUR"
        assert superuser.execute("select status from approval").fetchone() == ("withdrawn",)
        assert "You asked to write off" not in words(soup(await owner.get(path(shop.anna))))
        assert (await owner.post(action, {})).status_code == 409
        assert anna(shop, superuser) == (0, 5_000)
        assert (await owner.post(f"{path(shop.anna)}/write-off?currency=EUR", form(3_000))).status_code == 303, "it can be asked for again"

    async def test_the_rules_are_set_on_their_page(self, owner: Browser, shop: Shop) -> None:
        sent = {"act": "write_off", "start": "10", "start_currency": "EUR", "approvers": "1"}
        assert (await owner.post("/team/approvals/rules", sent)).status_code == 303
        await owes(shop, 5_000)
        assert not await write_off(shop, 1_000) and await write_off(shop, 999)
        assert "From €10.00 1 other person" in words(soup(await owner.get("/team/approvals")))


class TestRefundThatFails:
    """The refund that made the debt did not happen: the platform has its loss back, not the seller."""

    @pytest.mark.parametrize(("written_off", "sold"), [(5_000, 0), (2_000, 0), (2_000, 4_000)])
    async def test_undoes_what_was_written_off(self, shop: Shop, superuser: Connection, written_off: int, sold: int) -> None:
        payment_id = await owes(shop, 5_000, waits=True)
        await anybody(shop)
        await write_off(shop, written_off)
        if sold:
            await sells(shop, sold)
        await fails(shop, payment_id)
        # as if the refund had never been: what was earned, less what was taken from the wallet before it
        assert anna(shop, superuser) == (9_500 + sold * 95 // 100 - 5_000, 0)
        assert lost(shop, superuser) == 0

    async def test_at_the_moment_in_which_it_is_written_off(self, shop: Shop, superuser: Connection) -> None:
        payment_id = await owes(shop, 5_000, waits=True)
        await anybody(shop)
        results = await asyncio.gather(fails(shop, payment_id), write_off(shop, 5_000), return_exceptions=True)
        assert results[0] is None and (results[1] is True or isinstance(results[1], Conflict))
        assert anna(shop, superuser) == (4_500, 0) and lost(shop, superuser) == 0


def form(minor: int) -> dict[str, str]:
    """The form as it would be sent for this amount."""
    return {"amount": f"{minor / 100:.2f}", "amount_currency": "EUR", "reason": WHY, "idempotency_key": new_id().hex}


class TestPage:
    async def test_shows_what_is_owed_and_writes_it_off(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        await owes(shop, 2_000)
        where = f"{path(shop.anna)}/write-off?currency=EUR"
        wallet = soup(await owner.get(path(shop.anna)))
        assert wallet.select_one(f"a[href='{where}']") is not None
        said = words(soup(await owner.get(where)).select_one(".dlg"))
        assert "Owed €20.00" in said and "Can be written off €20.00" in said and "Above €25.00 others have to agree" in said
        sent = form(2_000)
        for _ in range(2):
            assert (await owner.post(where, sent)).status_code == 303
        assert lost(shop, superuser) == 2_000
        statement = soup(await owner.get(f"{path(shop.anna)}?currency=EUR&bucket=receivable"))
        assert "Debt written off" in statement.get_text() and WHY in statement.get_text()
        assert ("€20.00", "", "€0.00") in [(out, into, rest) for out, into, rest in lines(statement)]
        assert soup(await owner.get(path(shop.anna))).select_one(f"a[href='{where}']") is None

    async def test_where_nothing_can_be_it_says_why(self, owner: Browser, shop: Shop) -> None:
        await sells(shop, 1_000)
        where = f"{path(shop.anna)}/write-off?currency=EUR"
        said = soup(await owner.get(where)).select_one(".dlg")
        assert "owes nothing in EUR" in words(said) and said.select_one("form") is None
        refused = await owner.post(where, form(2_000))
        assert refused.status_code == 409 and "owes nothing in EUR" in words(soup(refused).select_one(".dlg"))

    @pytest.mark.parametrize(("change", "code"), [({"amount": "20.01"}, 409), ({"amount": "x"}, 422), ({"reason": "short"}, 422)])
    async def test_what_cannot_be_is_said_in_the_dialog(self, owner: Browser, shop: Shop, change: dict[str, str], code: int) -> None:
        await owes(shop, 2_000)
        answer = await owner.post(f"{path(shop.anna)}/write-off?currency=EUR", form(2_000) | change)
        assert answer.status_code == code and soup(answer).select_one(".dlg") is not None

    async def test_only_who_may_and_only_their_own(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        await owes(shop, 2_000)
        where = f"/wallets/{public_id('sel', shop.anna)}/write-off?currency=EUR"
        for browser, code in ((await open_as(shop.tenant, Role.APPROVER), 403), (await open_as(stranger), 404)):
            assert (await browser.get(where)).status_code == (await browser.post(where, form(2_000))).status_code == code
        assert (await (await open_as(shop.tenant, Role.FINANCE)).get(where)).status_code == 200
