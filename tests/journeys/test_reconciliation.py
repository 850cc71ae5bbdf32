"""A morning at the reconciliation desk: a file is handed in, each kind of break is resolved, and nothing is left that nobody can explain."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from litestar import Litestar
from playwright.async_api import Browser, Page, expect

from app.tenancy.domain import Role
from app.web import cookies
from tests.journeys.window import PATIENCE
from tests.reconciliation.conftest import Desk, SettlementLine, app, desk, line_of, open_as, psp, settlement, shop
from tests.support.accessibility import violations_of
from tests.support.console import OpenAs
from tests.support.served import served
from tests.support.web import Browser as Session

pytestmark = pytest.mark.browser
__all__ = ["app", "desk", "open_as", "psp", "shop"]
BASE = "/reconciliation"


@pytest_asyncio.fixture
async def address(app: Litestar) -> AsyncIterator[str]:
    """Where the application listens."""
    async with served(app) as found:
        yield found


class Clerk:
    """Somebody's window; the console's complaints and what keeps people out are collected."""

    def __init__(self, page: Page) -> None:
        self.page, self.wrong = page, list[str]()
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        # the browser notes every 4xx answer; a refused form is one on purpose
        if kind in {"error", "warning"} and "status of 422" not in text:
            self.wrong.append(text)

    @classmethod
    async def sits_down(cls, chrome: Browser, address: str, session: Session) -> "Clerk":
        """A window that is signed in."""
        context = await chrome.new_context(base_url=address, viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        await context.add_cookies([{"name": cookies.session_name(), "value": str(session.session_cookie), "url": address}])
        context.set_default_timeout(PATIENCE)
        return cls(await context.new_page())

    async def look(self) -> None:
        """Note what on the page keeps people out."""
        self.wrong += [f"{self.page.url}: {text}" for text in await violations_of(self.page)]

    async def open(self, kind: str, reference: str) -> None:
        """Open a break from the inbox."""
        await self.page.goto(f"{BASE}/breaks")
        await self.page.get_by_role("row").filter(has_text=reference).get_by_role("link", name=kind).click()
        await expect(self.page.get_by_role("heading", name=kind, level=1)).to_be_visible()

    async def press(self, button: str, *, card: str = "", says: str) -> None:
        """Press a button, in a card when there are several of its name, and see what it says."""
        place = self.page.locator("section.card").filter(has=self.page.get_by_role("heading", name=card, exact=True)) if card else self.page
        await place.get_by_role("button", name=button, exact=True).click()
        await expect(self.page.locator("main")).to_contain_text(says)


async def test_each_kind_is_resolved_and_nothing_is_left(chrome: Browser, address: str, desk: Desk, open_as: OpenAs) -> None:
    short, large, renamed, feed = await desk.take(10_000, 20_000, 5_000, 7_000)
    lines = [
        line_of(short, gross=9_700),
        line_of(large, gross=16_000),
        line_of(renamed, payment="renamed"),
        line_of(feed, fee=530),
        SettlementLine(id="st_stray", gross=900, payment="stray"),
    ]
    clerk = await Clerk.sits_down(chrome, address, await open_as(desk.shop.tenant))
    page = clerk.page
    await page.goto(f"{BASE}/sources")
    await page.get_by_role("link", name="Simulator", exact=True).click()
    await page.get_by_label("Drop a file here").set_input_files({"name": "day.csv", "mimeType": "text/csv", "buffer": settlement(lines)})
    await page.get_by_role("button", name="Hand in").click()
    await expect(page.get_by_text("Waits to be read")).to_be_visible()
    await desk.work()
    await expect(page.get_by_text("5 breaks of this file")).to_be_visible()
    await clerk.look()

    await clerk.open("Amount differs", short.reference)
    await clerk.press("Move", card="Move where it belongs", says="There is a problem")
    await page.get_by_label("Reason", exact=True).last.fill("Told by the provider")
    await clerk.press("Move", card="Move where it belongs", says="Resolved")
    await clerk.press("Reopen", says="Open")
    await page.get_by_label("Reason", exact=True).last.fill("Told by the provider, again")
    await clerk.press("Move", card="Move where it belongs", says="Adjust, €3.00")

    await clerk.open("Missing in ledger", "stray")
    card = page.locator("section.card").filter(has=page.get_by_role("heading", name="Move where it belongs"))
    await card.get_by_label("Amount", exact=True).fill("-5.00")
    await card.get_by_label("Second account").select_option("Bank fees")
    await card.get_by_label("Second amount").fill("-4.00")
    await card.get_by_label("Reason").fill("Two things in one")
    await clerk.press("Move", card="Move where it belongs", says="Split, −€9.00")

    await clerk.open("Missing in ledger", "renamed")
    await clerk.press("Link", says="Take it back")
    await clerk.press("Unlink", says="May be the same money")
    await clerk.press("Link", says="Take it back")

    await clerk.open("Fee differs", feed.reference)
    await page.get_by_label("Who was asked").fill("Their support")
    await clerk.press("Park", says="Parked")
    await clerk.press("Take up again", says="Open")
    await clerk.press("Write off €5.00", says="Resolved")

    await clerk.open("Amount differs", large.reference)
    await clerk.press("Ask to write off €40.00", says="You asked for this")
    await clerk.look()
    other = await Clerk.sits_down(chrome, address, await open_as(desk.shop.tenant, Role.APPROVER))
    await other.open("Amount differs", large.reference)
    await other.press("Write off €40.00", says="Resolved")

    await page.goto(BASE)
    await page.get_by_role("button", name="Compare now").click()
    await expect(page.get_by_text("Everything agrees")).to_be_visible()
    await expect(page.locator(".recsum").first).to_contain_text(re.compile("Unexplained\\s*€0.00"))
    await clerk.look()
    assert clerk.wrong + other.wrong == []
    await page.context.close()
    await other.page.context.close()


async def test_several_are_parked_by_keys_alone(chrome: Browser, address: str, desk: Desk, open_as: OpenAs) -> None:
    taken = await desk.take(10_000, 20_000)
    await desk.hand_in(settlement([line_of(one, gross=one.gross - 300) for one in taken]))
    await desk.compare()
    clerk = await Clerk.sits_down(chrome, address, await open_as(desk.shop.tenant))
    page, keys = clerk.page, clerk.page.keyboard
    await page.goto(f"{BASE}/breaks")
    for key in ("j", "x", "j", "x"):
        await keys.press(key)
    await expect(page.get_by_role("region", name="Bulk actions")).to_contain_text("2 selected")
    await clerk.look()
    await _tab_to(page, "Park…")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="Park 2 breaks?")).to_be_visible()
    await clerk.look()
    await _tab_to(page, "textarea")
    await keys.type("Asked the provider")
    await keys.press("Tab")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="What came of it")).to_be_visible()
    assert desk.query("select count(*) from recon_break where status = 'parked'") == [(2,)]
    assert clerk.wrong == []
    await page.context.close()


async def _tab_to(page: Page, wanted: str) -> None:
    """Go on by the tabulator until the button of this name, or a field of this kind, has the focus."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate(
            "wanted => [document.activeElement.textContent.trim(), document.activeElement.localName].includes(wanted)", wanted
        ):
            return
    raise AssertionError(f"the tabulator leads nowhere near {wanted}")
