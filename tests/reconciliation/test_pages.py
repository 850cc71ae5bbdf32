"""The pages of reconciliation, as a person's browser meets them."""

import httpx2
import pytest

from app.core.ids import public_id
from app.reconciliation.queries import BREAK, SOURCE
from app.tenancy.domain import Role
from tests.reconciliation.conftest import Desk, SettlementLine, line_of, settlement, statement
from tests.reconciliation.test_breaks import short
from tests.support.console import OpenAs, rows, soup, words
from tests.support.web import Browser, text_of

BASE = "/reconciliation"


async def upload(browser: Browser, desk: Desk, source: str, content: bytes, name: str = "day.csv") -> httpx2.Response:
    """Hand a file in as the page's form does, wait for the job that reads it, and look at the file."""
    await browser.get(f"{BASE}/sources/{source}")
    page = await browser.follow(await browser.post(f"{BASE}/sources/{source}/files", files={"file": (name, content, "text/csv")}))
    if "/files/" in str(page.request.url):
        return page
    await desk.work()
    link = soup(await browser.get(page.request.url.path)).select_one("a[href*='/files/']")
    assert link is not None
    return await browser.get(str(link["href"]))


class TestHandingIn:
    async def test_from_a_new_source_to_the_open_break(self, owner: Browser, desk: Desk) -> None:
        taken, other = await desk.take(10_000, 5_000)
        source = public_id(SOURCE, desk.psp.id)
        page = soup(await upload(owner, desk, source, settlement([line_of(taken), line_of(other, gross=4_000)])))
        assert words(page.select_one("h1")) == "day.csv"
        assert "set_1 3 €140.00 €0.60 €139.40 By the file" in words(page)
        overview = text_of(await owner.get(BASE))
        assert "Ledger expects €150.00 − PSP settled €140.00 = Unexplained €10.00 short" in overview
        listed = rows(soup(await owner.get(f"{BASE}/breaks")), "tbody")
        assert len(listed) == 1
        assert listed[0].startswith(f"Amount differs {other.reference} Open €50.00 €40.00 −€10.00")

    async def test_the_same_file_twice_is_the_same_file(self, owner: Browser, desk: Desk) -> None:
        source, content = public_id(SOURCE, desk.psp.id), settlement([SettlementLine(id="x", gross=100)])
        first = await upload(owner, desk, source, content)
        second = await upload(owner, desk, source, content, name="again.csv")
        assert first.request.url == second.request.url
        assert len(rows(soup(await owner.get(f"{BASE}/sources/{source}")), "tbody")) == 1

    async def test_a_file_that_does_not_add_up_is_refused_with_the_reason_and_the_line(self, owner: Browser, desk: Desk) -> None:
        content = settlement([SettlementLine(id="x", gross=100)]).replace(b"100,0,100", b"101,0,101")
        said = text_of(await upload(owner, desk, public_id(SOURCE, desk.psp.id), content))
        assert "Refused at line 3" in said
        assert "batch set_1 does not add up" in said
        assert desk.query("select count(*) from recon_item") == [(0,)]
        assert [kind for kind, *_ in desk.breaks()] == ["batch_total"]

    @pytest.mark.parametrize("is_right", [True, False])
    async def test_what_was_handed_in_is_given_back_to_the_byte_and_that_is_noted(self, owner: Browser, desk: Desk, is_right: bool) -> None:
        content = b"\xef\xbb\xbf" + settlement([SettlementLine(id="x", gross=100)]) + b"\n" * (1 << 20)
        page = await upload(owner, desk, public_id(SOURCE, desk.psp.id), content if is_right else content[9:], name="../day 1.csv")
        assert ("Refused" in text_of(page)) is not is_right
        link = soup(page).select_one("a[href$='/content']")
        assert link is not None
        answer = await owner.get(str(link["href"]))
        assert answer.content == (content if is_right else content[9:])
        assert answer.headers["content-disposition"] == 'attachment; filename="day-1.csv"'
        noted = "select count(*)::int from audit_entry where action = 'reconciliation.file_downloaded'"
        assert desk.query(noted) == [(1,)]
        kept = desk.query("select count(*)::int, sum(length(content))::int from recon_file_part")
        assert kept[0][0] == 2
        assert int(str(kept[0][1])) < 10_000

    async def test_a_file_may_be_larger_than_other_forms(self, owner: Browser, desk: Desk) -> None:
        said = text_of(await upload(owner, desk, public_id(SOURCE, desk.psp.id), b"batch,line\n" + b"x,y\n" * 500_000))
        assert "Refused at line 1" in said

    async def test_an_empty_form_says_what_is_missing(self, owner: Browser, desk: Desk) -> None:
        source = public_id(SOURCE, desk.psp.id)
        await owner.get(f"{BASE}/sources/{source}")
        answer = await owner.post(f"{BASE}/sources/{source}/files", files={"other": ("", b"", "text/csv")})
        assert answer.status_code == 422
        assert "Choose a file." in text_of(answer)

    async def test_a_csv_source_is_made_in_the_page_and_reads(self, owner: Browser, desk: Desk) -> None:
        await owner.get(f"{BASE}/sources/mapping")
        form = {"name": "House bank", "format": "csv", "side": "bank", "ext_id": "No", "credit": "In", "debit": "Out", "balance": "Saldo"}
        form |= {"delimiter": ";", "encoding": "utf-8", "skip_lines": "0", "time_zone": "UTC", "decimal_comma": "on"}
        answer = await owner.post(f"{BASE}/sources/mapping", form)
        assert answer.status_code == 422
        assert "Choose the column of the currency" in text_of(answer)
        page = await owner.follow(await owner.post(f"{BASE}/sources/mapping", form | {"currency": "EUR"}))
        source = str(page.request.url).rpartition("/")[2]
        said = text_of(await upload(owner, desk, source, b"No;In;Out;Saldo\n1;1.000,50;;1.000,50\n2;;0,50;1.000,00\n"))
        assert "€1,000.00" in said


class TestResolving:
    async def test_a_break_shows_both_sides_and_what_writing_off_would_post(self, owner: Browser, desk: Desk) -> None:
        page = soup(await owner.get(f"{BASE}/breaks/{public_id(BREAK, await short(desk, 300))}"))
        assert next(words(row) for row in page.select(".cmp tbody tr")) == "Amount €1,000.00 €997.00"
        posts = [words(row) for row in page.select(".tbl--mini tbody tr")]
        assert posts == ["Reconciliation write off €3.00", "Psp receivable €3.00"]

    async def test_write_off_reopen_and_move_through_the_page(self, owner: Browser, desk: Desk) -> None:
        path = f"{BASE}/breaks/{public_id(BREAK, await short(desk, 300))}"
        await owner.get(path)
        said = text_of(await owner.follow(await owner.post(f"{path}/write-off", {"reason": "Small"})))
        assert "Resolved" in said
        assert "Write off, €3.00 By" in said
        assert desk.balance("5900") == 300
        await owner.follow(await owner.post(f"{path}/reopen", {"reason": "No"}))
        wrong = await owner.post(f"{path}/adjust", {"target": "psp_fee", "amount": "2", "amount_currency": "EUR", "reason": "Half"})
        assert wrong.status_code == 409
        assert "The parts have to come to €3.00" in text_of(wrong) or "Together €3.00" in text_of(wrong)
        parts = {"target": "psp_fee", "amount": "2", "amount_currency": "EUR", "other_target": "bank_fee", "other_amount": "1"}
        await owner.follow(await owner.post(f"{path}/adjust", {**parts, "other_amount_currency": "EUR", "reason": "As told"}))
        assert (desk.balance("5900"), desk.balance("5140")) == (0, 100)

    async def test_a_large_write_off_waits_for_an_approver(self, owner: Browser, open_as: OpenAs, desk: Desk) -> None:
        path = f"{BASE}/breaks/{public_id(BREAK, await short(desk, 3_000))}"
        await owner.get(path)
        said = text_of(await owner.follow(await owner.post(f"{path}/write-off", {"reason": "Gone"})))
        assert "You asked for this" in said
        assert (await owner.post(f"{path}/approve", {"amount": "30", "amount_currency": "EUR"})).status_code == 403
        approver = await open_as(desk.shop.tenant, Role.APPROVER)
        inbox = soup(await approver.get("/approvals?kind=write_off"))
        box = inbox.select_one("#approval-rows input[name=chosen]")
        assert box is not None
        assert "Written off" in text_of(await approver.post("/approvals", {"chosen": str(box["value"])}))
        assert desk.balance("5900") == 3_000
        await owner.follow(await owner.post(f"{path}/reopen", {"reason": "No"}))
        moved = {"target": "bank_fee", "amount": "30", "amount_currency": "EUR", "reason": "As told"}
        assert "You asked for this" in text_of(await owner.follow(await owner.post(f"{path}/adjust", moved)))
        page = soup(await approver.get(path))
        assert "Move €30.00 to Bank fees" in words(page)
        seen = {str(field["name"]): str(field["value"]) for field in page.select("form[action$='/approve'] input[type=hidden]")}
        assert "Resolved" in text_of(await approver.follow(await approver.post(f"{path}/approve", seen)))
        assert (desk.balance("5900"), desk.balance("5140")) == (0, 3_000)

    async def test_a_suggestion_is_linked_by_a_person(self, owner: Browser, desk: Desk) -> None:
        await desk.take(10_000)
        await desk.hand_in(settlement([SettlementLine(id="x", gross=10_000, fee=30, payment="renamed")]))
        await desk.compare()
        (found,) = desk.query("select id from recon_break")
        path = f"{BASE}/breaks/{public_id(BREAK, found[0])}"  # type: ignore[arg-type]
        page = soup(await owner.get(path))
        suggested = page.select_one("input[name=item]")
        assert suggested is not None
        await owner.follow(await owner.post(f"{path}/link", {"item": suggested["value"]}))
        assert desk.breaks() == []

    async def test_parking_and_claiming(self, owner: Browser, desk: Desk) -> None:
        path = f"{BASE}/breaks/{public_id(BREAK, await short(desk, 300))}"
        await owner.get(path)
        await owner.follow(await owner.post(f"{path}/claim"))
        said = text_of(await owner.follow(await owner.post(f"{path}/park", {"reason": "Asked Stripe"})))
        assert "Parked" in said
        assert "Owner of" in said
        assert "Open" in text_of(await owner.follow(await owner.post(f"{path}/unpark")))


class TestSeveralAtOnce:
    async def test_tried_first_without_a_trace_then_done_each_by_itself(self, owner: Browser, desk: Desk) -> None:
        """Two have something left over, one has not: it says so, and stops no other."""
        taken = await desk.take(10_000, 20_000)
        await desk.hand_in(settlement([line_of(taken[0], gross=9_700), line_of(taken[1], gross=16_000)]))
        refused = settlement([SettlementLine(id="y", gross=100)], batch="bad").replace(b"100,0,100", b"101,0,101")
        await desk.hand_in(refused)
        await desk.compare()
        before = desk.query("select (select count(*) from ledger.txn), (select count(*) from recon_resolution)")
        page = soup(await owner.get(f"{BASE}/breaks"))
        assert "3 breaks: −€43.00 in difference" in words(page)
        chosen = [str(box["value"]) for box in page.select("tbody .chk")]
        asked = await owner.post(f"{BASE}/breaks/chosen", {"action": "write_off", "id": chosen})
        listed = rows(soup(asked), "tbody")
        assert "Write off 2 breaks?" in text_of(asked)
        assert sorted(line.rsplit("€", 1)[-1] for line in listed[:2]) == ["3.00 Written off", "40.00 Needs approval by somebody else"]
        assert "nothing in the books for this break" in listed[2]
        assert "€43.00 in all" in text_of(asked)
        assert desk.query("select (select count(*) from ledger.txn), (select count(*) from recon_resolution)") == before
        form = {
            "action": "write_off",
            "id": [str(field["value"]) for field in soup(asked).select("form input[name=id]")],
            "reason": "Agreed",
        }
        assert (await owner.post(f"{BASE}/breaks/chosen/do", form)).status_code == 422
        done = await owner.post(f"{BASE}/breaks/chosen/book", form)
        assert "What came of it" in text_of(done)
        assert sorted(str(row[0]) for row in desk.query("select status from recon_break")) == ["awaiting_approval", "open", "resolved"]
        assert desk.balance("5900") == 300
        again = await owner.post(f"{BASE}/breaks/chosen/book", form)
        assert "“resolve” needs it to be open, parked" in text_of(again) or "nothing left over" in text_of(again)
        assert desk.balance("5900") == 300

    async def test_assigned_parked_and_moved(self, owner: Browser, desk: Desk) -> None:
        found = public_id(BREAK, await short(desk, 300))
        await owner.get(f"{BASE}/breaks")
        page = soup(await owner.post(f"{BASE}/breaks/chosen", {"action": "assign", "id": [found]}))
        member = str(page.select_one("select[name=person] option")["value"])  # type: ignore[index]
        assert (await owner.post(f"{BASE}/breaks/chosen/do", {"action": "assign", "id": [found]})).status_code == 422
        said = text_of(await owner.post(f"{BASE}/breaks/chosen/do", {"action": "assign", "id": [found], "person": member}))
        assert "Assigned to Owner of" in said
        assert len(rows(soup(await owner.get(f"{BASE}/breaks?owner=me")), "tbody")) == 1
        assert "No break matches" in text_of(await owner.get(f"{BASE}/breaks?owner=nobody"))
        await owner.post(f"{BASE}/breaks/chosen/do", {"action": "park", "id": [found], "reason": "Asked"})
        moved = {"action": "move", "id": [found], "target": "psp_fee"}
        assert "Say why." in text_of(await owner.post(f"{BASE}/breaks/chosen/book", moved))
        assert "Moved" in text_of(await owner.post(f"{BASE}/breaks/chosen/book", moved | {"reason": "A fee"}))
        assert desk.balance("5900") == 0
        assert desk.query("select status from recon_break") == [("resolved",)]

    async def test_nothing_chosen_and_somebody_elses_are_refused(
        self, owner: Browser, open_as: OpenAs, desk: Desk, stranger: object
    ) -> None:
        found = public_id(BREAK, await short(desk, 300))
        await owner.get(f"{BASE}/breaks")
        assert "Tick the breaks first" in text_of(await owner.post(f"{BASE}/breaks/chosen", {"action": "claim"}))
        other = await open_as(stranger)
        await other.get(f"{BASE}/breaks")
        said = await other.post(f"{BASE}/breaks/chosen", {"action": "claim", "id": [found]})
        assert "Amount differs" not in text_of(said)
        assert "possible for none of them" in text_of(said)


class TestReading:
    async def test_everything_is_empty_at_first_and_says_what_to_do(self, owner: Browser, database: object) -> None:
        assert "Set up sources" in text_of(await owner.get(BASE))
        assert "No sources yet" in text_of(await owner.get(f"{BASE}/sources"))
        assert "Breaks appear when files were compared" in text_of(await owner.get(f"{BASE}/breaks"))

    async def test_every_run_is_listed_a_page_at_a_time(self, owner: Browser, desk: Desk) -> None:
        assert "Nothing was compared yet" in text_of(await owner.get(f"{BASE}/runs"))
        await short(desk, 300)
        desk.query(
            "insert into recon_run select merchant_id, new_id(now()), started_at, finished_at, started_by, rules, sums, open_breaks"
            " from recon_run, generate_series(1, 25) returning 1"
        )
        first = soup(await owner.get(f"{BASE}/runs"))
        following = first.select_one("a[href*='runs?after=']")
        assert following is not None
        assert (len(rows(first, "tbody")), len(rows(soup(await owner.get(str(following["href"]))), "tbody"))) == (25, 1)
        page = text_of(await owner.get(str(first.select("tbody a")[-1]["href"])))
        assert "Review 1 of 1 breaks open now" in page
        assert "Explained not yet" in page

    async def test_breaks_are_filtered_and_exported(self, owner: Browser, desk: Desk) -> None:
        await short(desk, 300)
        await desk.hand_in(statement(("=evil()", 77)), to=desk.bank)
        await desk.compare()
        assert len(rows(soup(await owner.get(f"{BASE}/breaks")), "tbody")) == 2
        only = rows(soup(await owner.get(f"{BASE}/breaks?kind=amount")), "tbody")
        assert len(only) == 1
        assert "No break matches" in text_of(await owner.get(f"{BASE}/breaks?kind=currency"))
        lines = (await owner.get(f"{BASE}/breaks.csv?kind=amount")).text.splitlines()
        assert lines[0].startswith("id,kind,reference,source,status,ledger,other,difference")
        assert ",amount,sim_0001,Simulator,open,1000.00,997.00,-3.00,EUR," in lines[1]

    async def test_who_only_reads_is_offered_nothing_to_do(self, open_as: OpenAs, desk: Desk) -> None:
        path = f"{BASE}/breaks/{public_id(BREAK, await short(desk, 300))}"
        viewer = await open_as(desk.shop.tenant, Role.VIEWER)
        assert not soup(await viewer.get(path)).select("main form[method=post]")

    async def test_shows_nothing_of_another_merchant(self, open_as: OpenAs, desk: Desk, stranger: object) -> None:
        path = f"{BASE}/breaks/{public_id(BREAK, await short(desk, 300))}"
        browser = await open_as(stranger)
        assert (await browser.get(path)).status_code == 404
        assert "No sources yet" in text_of(await browser.get(f"{BASE}/sources"))
