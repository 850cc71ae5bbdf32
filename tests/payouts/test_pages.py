"""The pages about payouts, as a person's browser meets them."""

import csv
import io
from datetime import timedelta

import pytest
from bs4 import BeautifulSoup
from psycopg import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals.domain import Part
from app.core.actors import Actor
from app.core.clock import travel
from app.core.ids import new_id, public_id
from app.payouts import flows
from app.payouts.domain import PayoutStatus
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.models import Payout
from app.payouts.queries import lists
from app.payouts.schemas.lists import WaitingRow
from app.payouts.service import steps
from app.tenancy.domain import Role
from tests.payouts.test_status_files import status_file
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.bank_accounts import FRENCH, make_account
from tests.support.factories.payouts import Till, says
from tests.support.factories.tenancy import Tenant
from tests.support.factories.wallets import book
from tests.support.web import Browser

P = PayoutStatus


def path(payout: Payout) -> str:
    return f"/payouts/{public_id('po', payout.id)}"


def seller(till: Till) -> str:
    return public_id("sel", till.shop.anna)


async def digest(browser: Browser, payout: Payout, verb: str = "approve") -> str:
    found = soup(await browser.get(f"{path(payout)}/{verb}")).select_one("input[name=digest]")
    assert found is not None
    return str(found["value"])


class TestNewPayout:
    async def test_from_the_choice_of_a_seller_to_its_page(self, owner: Browser, till: Till) -> None:
        choice = soup(await owner.get("/payouts/new"))
        assert any("Anna's Antiques €1,000.00" in row for row in rows(choice, "tbody"))
        form = soup(await owner.get(f"/payouts/new?seller={seller(till)}"))
        assert "available €1,000.00" in words(form.select_one("main")) and "DE •••• 3000" in words(form.select_one("main"))
        key = form.select_one("input[name=idempotency_key]")["value"]
        action, values = form.select_one("main form")["action"], {"amount": "250.00", "amount_currency": "EUR", "idempotency_key": key}
        answer = await owner.post(action, values | {"statement_text": "November"})
        assert answer.status_code == 303
        again = await owner.post(action, values | {"statement_text": "November"})
        assert again.headers["location"] == answer.headers["location"], "a second click is the same payout"
        page = soup(await owner.get(answer.headers["location"]))
        assert words(page.select_one("h1")) == "€250 .00 EUR"
        assert "Needs approval" in words(page.select_one(".payhead"))
        assert "Review and approve" not in page.get_text(), "nobody approves what they requested"
        assert "Seller wallet, payout reserved" in page.get_text() and "Requested; the money was set aside" in page.get_text()

    async def test_too_much_is_said_at_the_amount(self, owner: Browser, till: Till) -> None:
        action = f"/payouts?seller={seller(till)}&currency=EUR"
        answer = await owner.post(action, {"amount": "1000.01", "amount_currency": "EUR", "idempotency_key": "k"})
        assert answer.status_code == 409
        assert words(soup(answer).select_one("#f-amount-e")) == "At most €1,000.00 can be paid out now."
        assert (await owner.post(action, {"amount": "ten", "amount_currency": "EUR", "idempotency_key": "k"})).status_code == 422

    async def test_without_an_account_it_says_what_to_do(self, owner: Browser, till: Till) -> None:
        page = soup(await owner.get(f"/payouts/new?seller={public_id('sel', till.shop.bert)}"))
        assert "nowhere to pay to" in page.get_text()
        assert page.select_one("main a[href$='/bank-accounts']")

    async def test_money_asks_for_a_fresh_code(self, owner: Browser, till: Till, superuser: Connection) -> None:
        superuser.execute("update web_session set factor_at = now() - interval '2 hours'")
        form = {"amount": "1.00", "amount_currency": "EUR", "idempotency_key": "k"}
        answer = await owner.post(f"/payouts?seller={seller(till)}", form)
        assert answer.status_code == 403 and soup(answer).select_one("input[name=step_up_code]")
        assert superuser.execute("select count(*) from payout").fetchone() == (0,)


class TestList:
    async def test_what_waits_stands_first_then_everything_by_state(self, owner: Browser, till: Till) -> None:
        waits, moves = await till.request(1_000), await till.approved(2_000)
        page = soup(await owner.get("/payouts"))
        assert "10.00 EUR" in words(page.select_one("#waiting")) and "20.00" not in words(page.select_one("#waiting"))
        assert len(rows(page, "#payout-rows tbody")) == 2
        moving = soup(await owner.get("/payouts?view=moving"))
        assert [public_id("po", moves.id) in str(row) for row in moving.select("#payout-rows tbody tr")] == [True]
        for query in ("anna", public_id("po", waits.id), moves.end_to_end_id):
            assert rows(soup(await owner.get("/payouts", params={"q": query})), "#payout-rows tbody"), query
        assert "No payout matches" in (await owner.get("/payouts?q=nobody")).text
        assert soup(await owner.get("/payouts")).select(".cal td.plan"), "the calendar shows the planned day"

    async def test_pages_by_keyset(self, owner: Browser, till: Till) -> None:
        for number in range(27):
            await till.request(100 + number)
        first = soup(await owner.get("/payouts"))
        second = soup(await owner.get(first.select_one("#payout-rows a[rel=next]")["href"]))
        assert (len(first.select("#payout-rows tbody tr")), len(second.select("#payout-rows tbody tr"))) == (25, 2)

    async def test_the_file_has_the_same_rows(self, owner: Browser, till: Till) -> None:
        payout = await till.request(1_234)
        answer = await owner.get("/payouts/export?view=waiting")
        found = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["payout"], row["amount"], row["status"]) for row in found] == [
            (public_id("po", payout.id), "12.34", "pending_approval")
        ]

    async def test_a_first_run_teaches_the_next_step(self, open_as: OpenAs, stranger: Tenant) -> None:
        browser = await open_as(stranger)
        assert "No payouts yet" in (await browser.get("/payouts")).text
        assert "No schedules yet" in (await browser.get("/payouts/schedules")).text
        assert "No batches yet" in (await browser.get("/payouts/batches")).text
        assert "Nothing waits for you" in (await browser.get("/payouts/approvals")).text

    async def test_a_strangers_payout_and_nobodys_are_the_same_404(self, open_as: OpenAs, till: Till, stranger: Tenant) -> None:
        payout, browser = await till.request(), await open_as(stranger)
        for found in (path(payout), f"/payouts/{public_id('po', new_id())}", "/payouts/po_nonsense"):
            assert (await browser.get(found)).status_code == 404


class TestDecide:
    async def test_an_approver_sees_what_matters_and_sends_it(self, open_as: OpenAs, till: Till) -> None:
        payout = await till.request(48_210)
        approver = await open_as(till.shop.tenant, Role.APPROVER)
        dialog = soup(await approver.get(f"{path(payout)}/approve"))
        said = words(dialog.select_one("main"))
        assert "Anna Berg" in said and "First payout to this seller in eight weeks" in said and "Account is verified" in said
        assert dialog.select_one("input[data-confirm='482.10']")
        answer = await approver.post(f"{path(payout)}/approve", {"digest": await digest(approver, payout)})
        assert answer.status_code == 303
        assert await till.status(payout) == P.SCHEDULED

    async def test_the_requester_cannot_and_says_why(self, owner: Browser, till: Till) -> None:
        payout = await till.request()
        dialog = await owner.get(f"{path(payout)}/approve")
        assert "Somebody else has to decide" in dialog.text
        assert (await owner.post(f"{path(payout)}/approve", {"digest": await digest(owner, payout)})).status_code == 403
        assert await till.status(payout) == P.PENDING_APPROVAL

    async def test_what_changed_since_is_not_approved(self, owner: Browser, open_as: OpenAs, till: Till) -> None:
        payout = await till.request()
        approver = await open_as(till.shop.tenant, Role.APPROVER)
        seen = await digest(approver, payout)
        edited = await owner.post(f"{path(payout)}/edit", {"amount": "70.00", "amount_currency": "EUR", "statement_text": ""})
        assert edited.status_code == 303
        answer = await approver.post(f"{path(payout)}/approve", {"digest": seen})
        assert answer.status_code == 409 and "not what you were shown" in answer.text

    async def test_several_at_once_each_with_its_own_result(self, open_as: OpenAs, till: Till) -> None:
        first, second, third = [await till.request(1_000 * number) for number in (1, 2, 3)]
        approver = await open_as(till.shop.tenant, Role.APPROVER)
        inbox = soup(await approver.get("/payouts/approvals"))
        values = [box["value"] for box in inbox.select("input[name=payout]")]
        assert len(values) == 3 and "€60.00 in all" in words(inbox.select_one("main"))
        await till.approve(second)
        answer = soup(await approver.post("/payouts/approvals", {"payout": values}))
        results = [words(line) for line in answer.select(".chk-l li")]
        assert [line.split(" ", 1)[1][:8] for line in results] == ["Approved", "The payo", "Approved"], results
        assert {await till.status(each) for each in (first, second, third)} == {P.SCHEDULED}
        assert (await approver.post("/payouts/approvals", {})).status_code == 422

    async def test_what_the_inbox_has_no_room_for_counts_against_the_proof_too(
        self, open_as: OpenAs, till: Till, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await book(till.merchant_id, till.shop.anna, [6_000_000])
        _, large, larger = [await till.request(minor) for minor in (100, 2_000_000, 2_000_000)]
        approver = await open_as(till.shop.tenant, Role.APPROVER)
        values = [f"{public_id('po', each.id)}:{steps.digest(each)}" for each in (large, larger)]
        asked = lists.waiting

        async def only_one(session: AsyncSession, actor: Actor, part: Part | None = None) -> list[WaitingRow]:
            return await asked(session, actor, part or Part(most=1))

        monkeypatch.setattr(lists, "waiting", only_one)
        with travel(timedelta(minutes=3)):
            answer = await approver.post("/payouts/approvals", {"payout": values})
        assert "step_up_code" in answer.text, "one proof is good for 25,000"
        assert {await till.status(each) for each in (large, larger)} == {P.PENDING_APPROVAL}

    async def test_rejecting_needs_a_reason(self, open_as: OpenAs, till: Till) -> None:
        payout = await till.request()
        approver = await open_as(till.shop.tenant, Role.APPROVER)
        seen = await digest(approver, payout, "reject")
        assert (await approver.post(f"{path(payout)}/reject", {"digest": seen, "reason": ""})).status_code == 422
        assert (await approver.post(f"{path(payout)}/reject", {"digest": seen, "reason": "Unusual"})).status_code == 303
        page = await approver.get(path(payout))
        assert "Reason: Unusual" in page.text and await till.status(payout) == P.REJECTED


class TestFollow:
    async def test_hold_release_cancel(self, owner: Browser, till: Till, superuser: Connection) -> None:
        payout = await till.approved()
        assert (await owner.post(f"{path(payout)}/hold", {"reason": "Wait", "expires_on": "2020-01-01"})).status_code == 422
        assert (await owner.post(f"{path(payout)}/hold", {"reason": "Wait", "expires_on": ""})).status_code == 303
        page = soup(await owner.get(path(payout)))
        assert "On hold: Wait" in page.get_text()
        release = page.select_one("form[action$='/release']")["action"]
        assert (await owner.post(release)).status_code == 303
        assert (await owner.post(f"{path(payout)}/cancel", {"reason": "Mistake"})).status_code == 303
        assert await till.status(payout) == P.CANCELLED
        actions = {row[0] for row in superuser.execute("select action from audit_entry where action like 'payout.%'").fetchall()}
        assert {"payout.requested", "payout.approval_approved", "payout.hold_placed", "payout.hold_released", "payout.cancelled"} <= actions

    async def test_all_payouts_of_a_seller_are_held_and_let_go(self, owner: Browser, till: Till, superuser: Connection) -> None:
        assert "Nothing is held" in (await owner.get("/payouts/holds")).text
        account = superuser.execute("select id from bank_account").fetchone()
        assert account is not None
        bank_account = f"/bank-accounts/{public_id('ba', account[0])}"
        assert soup(await owner.get(bank_account)).select_one(f"a[href='{bank_account}/hold']") is not None
        assert (await owner.post(f"{bank_account}/hold", {"reason": "It was in the news", "expires_on": ""})).status_code == 303
        assert "Anna's Antiques One bank account It was in the news" in rows(soup(await owner.get("/payouts/holds")), "#hold-rows")[0]
        part = {"reason": "One parcel is late", "expires_on": "", "amount": "12.50", "amount_currency": "EUR", "payment": ""}
        unknown = await owner.post(f"/sellers/{seller(till)}/hold", part | {"payment": "pay_1"})
        assert unknown.status_code == 422 and "begins with pay_" in unknown.text
        assert (await owner.post(f"/sellers/{seller(till)}/hold", part)).status_code == 303
        assert "Anna's Antiques €12.50 One parcel is late" in rows(soup(await owner.get("/payouts/holds")), "#hold-rows")[0]
        answer = await owner.post(f"/sellers/{seller(till)}/hold", {"reason": "Papers are missing", "expires_on": ""})
        assert answer.status_code == 303
        payout = await till.request()
        assert payout.status == P.ON_HOLD
        page = soup(await owner.get("/payouts/holds"))
        assert "Anna's Antiques All payouts Papers are missing" in rows(page, "#hold-rows")[0]
        for release in page.select("#hold-rows form[action$='/release']"):
            assert await till.status(payout) == P.ON_HOLD
            assert (await owner.post(str(release["action"]))).status_code == 303
        assert await till.status(payout) == P.PENDING_APPROVAL

    async def test_a_lost_answer_is_shown_and_can_be_asked_about(self, owner: Browser, till: Till, superuser: Connection) -> None:
        till.bank.answers("send", BankAnswer(word=BankWord.UNKNOWN, code="lost"))
        payout = await till.approved()
        await flows.send_due()
        page = soup(await owner.get(path(payout)))
        assert "Unknown" in words(page.select_one(".payhead")) and "outcome is unknown" in page.get_text()
        superuser.execute("update payout set sent_at = sent_at - interval '20 minutes'")
        assert "for more than 15 minutes" in (await owner.get(path(payout))).text
        assert (await owner.post(f"{path(payout)}/ask")).status_code == 303
        assert "Submitted" in words(soup(await owner.get(path(payout))).select_one(".payhead"))

    async def test_what_came_back_is_put_right_and_paid_again(self, owner: Browser, till: Till) -> None:
        till.bank.answers("send", says(BankWord.RETURNED, code="AC04"))
        payout = await till.approved()
        await flows.send_due()
        page = soup(await owner.get(path(payout)))
        assert "The money came back" in page.get_text() and "AC04" in page.get_text()
        assert (await owner.post(f"{path(payout)}/retry")).status_code == 409
        await make_account(till.actor, till.shop.anna, number=FRENCH)
        answer = await owner.post(f"{path(payout)}/retry")
        fresh = soup(await owner.get(answer.headers["location"]))
        assert "FR •••• 2606" in fresh.get_text() and path(payout) in str(fresh)
        assert "Pay again" not in (await owner.get(path(payout))).text


class TestRules:
    async def test_limits_approvals_and_the_account_to_pay_from(self, owner: Browser, till: Till, superuser: Connection) -> None:
        limits = {
            "least": "10.00",
            "most": "5000",
            "day": "",
            "week": "",
            "day_count": "5",
            "first_payouts": "1",
            "change_hours": "0",
            "fee": "0.25",
        }
        money = {f"{name}_currency": "EUR" for name in ("least", "most", "day", "week", "fee")}
        assert (await owner.post("/payouts/rules/limits?currency=EUR", limits | money)).status_code == 303
        stored = superuser.execute(
            "select min_minor, max_minor, day_count, day_minor, first_payouts, fee_minor from payout_policy"
        ).fetchone()
        assert stored == (1_000, 500_000, 5, None, 1, 25)
        wrong = await owner.post("/payouts/rules/limits?currency=EUR", limits | money | {"most": "1.00"})
        assert wrong.status_code == 422
        rows_ = {
            "from_1": "0",
            "people_1": "1",
            "from_2": "1000",
            "people_2": "2",
            "from_3": "",
            "people_3": "1",
            "from_4": "",
            "people_4": "1",
        }
        codes = {f"from_{number}_currency": "EUR" for number in range(1, 5)}
        assert (await owner.post("/payouts/rules/approvals?currency=EUR", rows_ | codes)).status_code == 303
        assert superuser.execute("select from_minor, approvals from approval_threshold order by 1").fetchall() == [(0, 1), (100_000, 2)]
        form = {"name": "Bank", "rail": "sepa", "holder_name": "Halden", "number": FRENCH, "cutoff": "16:00", "timezone": "Europe/Paris"}
        assert (await owner.post("/payouts/rules/funding?currency=EUR", form)).status_code == 303
        page = soup(await owner.get("/payouts/rules?currency=EUR"))
        assert "•••• 2606" in page.get_text() and FRENCH not in page.get_text()
        assert page.select_one("#f-from_2, [name=from_2]")["value"] == "1000.00"

    async def test_an_admin_sees_who_must_agree_and_does_not_set_it(self, open_as: OpenAs, till: Till) -> None:
        """Whoever could lower the number to none would pay alone."""
        browser = await open_as(till.shop.tenant, Role.ADMIN)
        page = soup(await browser.get("/payouts/rules"))
        assert "You see these as they are" in words(page)
        assert [button.get_text(strip=True) for button in page.select("main form [type=submit]")] == ["Use this account"]
        assert (await browser.post("/payouts/rules/approvals", {"from_1": "0.00", "people_1": "0"})).status_code == 403

    async def test_finance_may_not_change_them(self, open_as: OpenAs, till: Till) -> None:
        browser = await open_as(till.shop.tenant, Role.FINANCE)
        assert (await browser.get("/payouts/rules")).status_code == 403
        assert "/payouts/rules" not in (await browser.get("/payouts")).text


class TestSchedulePages:
    async def test_set_previewed_paused(self, owner: Browser, till: Till) -> None:
        base = f"/payouts/schedules/edit?seller={seller(till)}&currency=EUR"
        assert "The next runs" in (await owner.get(base)).text
        typed = {
            "interval": "monthly",
            "monthly_days": "15, 31",
            "cutoff": "10:00",
            "timezone": "Europe/Berlin",
            "rule": "preceding",
            "calendars": "TARGET",
        }
        preview = soup(await owner.get(base, params={"seller": seller(till), "currency": "EUR", **typed}))
        assert len(preview.select("#schedule-runs li")) == 5
        wrong = await owner.get(base, params={"seller": seller(till), "currency": "EUR", **typed, "monthly_days": "40"})
        assert "from 1 to 31" in wrong.text
        values = {**typed, "delay_days": "0", "minimum": "50.00", "minimum_currency": "EUR"}
        assert (await owner.post(f"/payouts/schedules?seller={seller(till)}&currency=EUR", values)).status_code == 303
        listed = soup(await owner.get("/payouts/schedules"))
        assert (
            "Each month on day 15, 31, 10:00" in rows(listed, "#schedule-rows")[0]
            and "at least €50.00" in rows(listed, "#schedule-rows")[0]
        )
        page = soup(await owner.get(base))
        pause = page.select_one("form[action$='/pause']")["action"]
        assert (await owner.post(pause)).status_code == 303
        assert "Paused" in (await owner.get(base)).text

    async def test_a_run_and_what_came_of_it(self, owner: Browser, till: Till, superuser: Connection) -> None:
        values = {
            "interval": "daily",
            "cutoff": "18:00",
            "timezone": "UTC",
            "rule": "following",
            "calendars": "WEEKDAYS",
            "delay_days": "0",
        }
        await owner.post(f"/payouts/schedules?seller={seller(till)}&currency=EUR", values)
        at = superuser.execute("select next_run_at + interval '1 minute' from payout_schedule").fetchone()[0]  # type: ignore[index]
        with travel(at):
            await flows.run_schedules()
        page = soup(await owner.get(f"/payouts/schedules/edit?seller={seller(till)}&currency=EUR"))
        assert "Paid out €1,000.00" in page.get_text()

    async def test_the_calendar_shows_the_fed_open_and_takes_a_word_of_ones_own(self, owner: Browser, till: Till) -> None:
        page = soup(await owner.get("/payouts/calendar?code=FED&month=2026-07"))
        friday = next(row for row in rows(page, "#calendar-days") if "Fri 03 July" in row)
        assert "Open" in friday and "Reserve Banks open" in friday
        form = {"calendar": "FED", "on_date": "2026-07-03", "reason": "Our bank is closed"}
        assert (await owner.post("/payouts/calendar", form)).status_code == 303
        again = soup(await owner.get("/payouts/calendar?code=FED&month=2026-07"))
        assert any("Fri 03 July Closed Our bank is closed" in row for row in rows(again, "#calendar-days"))
        assert (await owner.get("/payouts/calendar?code=MARS")).status_code == 404


class TestBatchPages:
    async def test_the_file_is_fetched_then_handed_in(self, owner: Browser, till: Till, superuser: Connection) -> None:
        form = {
            "name": "Bank",
            "rail": "sepa",
            "holder_name": "Halden",
            "number": FRENCH,
            "calendar": "WEEKDAYS",
            "cutoff": "23:59",
            "timezone": "UTC",
        }
        await owner.post("/payouts/rules/funding?currency=EUR", form)
        payout = await till.approved(1_000)
        await flows.send_due()
        listed = soup(await owner.get("/payouts/batches"))
        batch = listed.select_one("#batch-rows a.rl")["href"]
        assert "count as sent" in (await owner.get(batch)).text
        assert (await owner.post(f"{batch}/handed-in")).status_code == 409
        file = await owner.post(f"{batch}/file")
        assert file.headers["content-disposition"].endswith('.xml"') and payout.end_to_end_id in file.text
        page: BeautifulSoup = soup(await owner.get(batch))
        assert "Download again" in page.get_text()
        assert (await owner.post(f"{batch}/handed-in")).status_code == 303
        assert await till.status(payout) == P.SUBMITTED
        assert "The bank’s answer" in (await owner.get(batch)).text
        assert "Choose a file" in (await owner.post(f"{batch}/status")).text
        answer = ("pain002.xml", status_file((payout.end_to_end_id, "RJCT", "AC04")), "application/xml")
        assert (await owner.post(f"{batch}/status", files={"file": answer})).status_code == 303
        assert await till.status(payout) == P.FAILED
        assert superuser.execute("select count(*) from audit_entry where action = 'payout.batch_downloaded'").fetchone() == (1,)
