"""The pages of reconciliation, as a person's browser meets them."""

import httpx2

from app.core.ids import public_id
from app.reconciliation.queries import BREAK, SOURCE
from app.tenancy.domain import Role
from tests.reconciliation.conftest import Desk, SettlementLine, line_of, settlement, statement
from tests.reconciliation.test_breaks import short
from tests.support.console import OpenAs, rows, soup, words
from tests.support.web import Browser, text_of

BASE = "/reconciliation"


async def upload(browser: Browser, source: str, content: bytes, name: str = "day.csv") -> httpx2.Response:
    """Hand a file in as the page's form does, and go where it leads."""
    await browser.get(f"{BASE}/sources/{source}")
    return await browser.follow(await browser.post(f"{BASE}/sources/{source}/files", files={"file": (name, content, "text/csv")}))


class TestHandingIn:
    async def test_from_a_new_source_to_the_open_break(self, owner: Browser, desk: Desk) -> None:
        taken, other = await desk.take(10_000, 5_000)
        source = public_id(SOURCE, desk.psp.id)
        page = soup(await upload(owner, source, settlement([line_of(taken), line_of(other, gross=4_000)])))
        assert words(page.select_one("h1")) == "day.csv"
        assert "set_1 3 €140.00 €0.60 €139.40 By the file" in words(page)
        overview = text_of(await owner.get(BASE))
        assert "Ledger expects €150.00 − PSP settled €140.00 = Unexplained €10.00 short" in overview
        listed = rows(soup(await owner.get(f"{BASE}/breaks")), "tbody")
        assert len(listed) == 1
        assert listed[0].startswith(f"Amount differs {other.reference} Open €50.00 €40.00 −€10.00")

    async def test_the_same_file_twice_is_the_same_file(self, owner: Browser, desk: Desk) -> None:
        source, content = public_id(SOURCE, desk.psp.id), settlement([SettlementLine(id="x", gross=100)])
        first = await upload(owner, source, content)
        second = await upload(owner, source, content, name="again.csv")
        assert first.request.url == second.request.url
        assert len(rows(soup(await owner.get(f"{BASE}/sources/{source}")), "tbody")) == 1

    async def test_a_file_that_does_not_add_up_is_refused_with_the_reason_and_the_line(self, owner: Browser, desk: Desk) -> None:
        content = settlement([SettlementLine(id="x", gross=100)]).replace(b"100,0,100", b"101,0,101")
        said = text_of(await upload(owner, public_id(SOURCE, desk.psp.id), content))
        assert "Refused at line 3" in said
        assert "batch set_1 does not add up" in said
        assert desk.query("select count(*) from recon_item") == [(0,)]
        assert [kind for kind, *_ in desk.breaks()] == ["batch_total"]

    async def test_a_file_may_be_larger_than_other_forms(self, owner: Browser, desk: Desk) -> None:
        said = text_of(await upload(owner, public_id(SOURCE, desk.psp.id), b"batch,line\n" + b"x,y\n" * 500_000))
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
        said = text_of(await upload(owner, source, b"No;In;Out;Saldo\n1;1.000,50;;1.000,50\n2;;0,50;1.000,00\n"))
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
        box = soup(await approver.get("/approvals?kind=write_off")).select_one("#approval-rows input[name=chosen]")
        assert box is not None
        assert "Written off" in text_of(await approver.post("/approvals", {"chosen": str(box["value"])}))
        assert desk.balance("5900") == 3_000

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


class TestReading:
    async def test_everything_is_empty_at_first_and_says_what_to_do(self, owner: Browser, database: object) -> None:
        assert "Set up sources" in text_of(await owner.get(BASE))
        assert "No sources yet" in text_of(await owner.get(f"{BASE}/sources"))
        assert "Breaks appear when files were compared" in text_of(await owner.get(f"{BASE}/breaks"))

    async def test_breaks_are_filtered_and_exported(self, owner: Browser, desk: Desk) -> None:
        await short(desk, 300)
        await desk.hand_in(statement(("=evil()", 77)), to=desk.bank)
        await desk.compare()
        assert len(rows(soup(await owner.get(f"{BASE}/breaks")), "tbody")) == 2
        only = rows(soup(await owner.get(f"{BASE}/breaks?kind=amount")), "tbody")
        assert len(only) == 1
        assert "No break of this kind" in text_of(await owner.get(f"{BASE}/breaks?kind=currency"))
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
