"""Who takes a payment is changed by two people: one edits the draft and asks, another agrees with a code, and the next payment goes the new way."""

import re

import pytest
from playwright.async_api import Browser, expect

from app.core.ids import public_id
from app.core.money import Money
from tests.journeys import steps
from tests.journeys.window import Window
from tests.support.house import House, Resident

pytestmark = pytest.mark.browser

NAME = "Sixty-four to seventy"
AMOUNT = Money(6_543, "EUR")


async def add_rule(window: Window) -> None:
    """A rule for amounts that no other journey pays, to the second connection."""
    page = window.page
    await page.goto("/routing")
    await expect(page.locator(".ph")).to_contain_text("Draft")
    assert await window.look() == []
    await page.get_by_role("link", name="Add rule").click()
    await page.get_by_label("Name", exact=True).fill(NAME)
    await page.get_by_label("Amount at least", exact=False).first.fill("64")
    await page.get_by_label(re.compile("^Amount below")).first.fill("70")
    await page.get_by_label("Share of Simulator UK in percent").fill("99")
    await page.get_by_role("button", name="Save rule").click()
    await expect(page.get_by_text("The shares are 99% together; make them 100%.").first).to_be_visible()
    assert await window.look() == []
    await page.get_by_label("Share of Simulator UK in percent").fill("100")
    await page.get_by_label("Turn of Simulator EU in the fallback list").select_option("1")
    await page.get_by_role("button", name="Save rule").click()
    await expect(page.locator("#rules .rule--ch").filter(has_text=NAME)).to_contain_text("Then Simulator EU, when it is off")


async def move_it_up(window: Window) -> None:
    """To the first place, by its buttons."""
    rule = window.page.locator("#rules > li").filter(has_text=NAME)
    while await rule.get_by_role("button", name="Up").count():
        before = await rule.locator(".rule-n").inner_text()
        await rule.get_by_role("button", name="Up").click()
        await expect(rule.locator(".rule-n")).not_to_have_text(before)
    await expect(rule.locator(".rule-n")).to_have_text("1")


async def try_it(window: Window) -> None:
    """The page foretells who takes it."""
    page = window.page
    panel = page.locator("#try")
    await panel.get_by_label("Amount").fill(AMOUNT.decimal())
    await panel.get_by_role("button", name="Try").click()
    trace = page.locator("#try .trace")
    await expect(trace.locator("li").first).to_contain_text(NAME)
    await expect(trace.locator(".to").first).to_contain_text("Simulator UK")
    if window.scripts:
        await page.goto("/routing")
        await page.locator("#replay-title").scroll_into_view_if_needed()
        await expect(page.locator("#replay")).to_contain_text("Payments looked at")
        assert await window.look() == []


async def ask(window: Window) -> None:
    """Ask somebody else to let it become live."""
    page = window.page
    await page.goto("/routing")
    await page.get_by_role("link", name="Request publish").click()
    await expect(page.get_by_text(re.compile(f"1. {NAME}"))).to_be_visible()
    await page.get_by_label(re.compile("^Why")).fill("Cheaper there")
    await page.get_by_role("button", name="Ask for approval").click()
    await expect(page.get_by_text("waits for a second person")).to_be_visible()
    await expect(page.get_by_role("link", name="Review and decide")).to_have_count(0)


async def agree(window: Window, person: Resident) -> None:
    """Find it among the approvals, read it, and confirm with a code in the dialog."""
    page = window.page
    await page.goto("/approvals?kind=routing")
    await page.get_by_role("link", name="Review").click()
    await expect(page.get_by_text(re.compile(f"1. {NAME}"))).to_be_visible()
    assert await window.look() == []
    await page.get_by_text("Approve", exact=True).click()
    window.house.age_factor(person)
    await page.get_by_role("button", name="Decide").click()
    await window.step_up(person)
    await expect(page.get_by_role("status").filter(has_text="chooses connections from now on").first).to_be_visible()


class TestRoutingByTwo:
    async def test_from_the_draft_to_a_payment_that_goes_the_new_way(self, scripted: Window, chrome: Browser) -> None:
        house, page = scripted.house, scripted.page
        ines, aiko = (next(each for each in house.people if each.role == role) for role in ("owner", "approver"))
        await scripted.sign_in(ines)
        await add_rule(scripted)
        await move_it_up(scripted)
        await try_it(scripted)
        await ask(scripted)
        async with Window.opened(chrome, house) as other:
            await other.sign_in(aiko, at="/routing")
            await agree(other, aiko)
        await page.goto("/routing")
        await expect(page.locator(".ph")).to_contain_text("Live version")
        await steps.create_order(scripted, "ROUTED-1", {"Rowe Lighting": AMOUNT.decimal()})
        await steps.pay(scripted, AMOUNT, card=steps.PLAIN)
        await expect(page.locator("#payment-routing")).to_contain_text(f"rule “{NAME}”")
        await expect(page.get_by_role("complementary", name="Details")).to_contain_text("Simulator UK")
        assert await scripted.look() == []
        self._kept(house, ines)
        await self._go_back(scripted)

    @staticmethod
    async def _go_back(window: Window) -> None:
        """The way back is a draft from the version before."""
        page = window.page
        await page.goto("/routing/versions")
        assert await window.look() == []
        await page.locator("#version-rows tr").last.get_by_role("button", name="Start a draft from this").click()
        await expect(page.locator(".ph")).to_contain_text("Draft 3")
        await expect(page.get_by_text(f"{NAME}: If")).to_be_visible()

    @staticmethod
    def _kept(house: House, owner: Resident) -> None:
        merchant = house.merchant_id(owner)
        [(connection, name)] = house.query(
            "select d.connection_id, c.name from routing_decision d join psp_connection c on c.merchant_id = d.merchant_id and c.id = d.connection_id"
            " join payment p on p.merchant_id = d.merchant_id and p.id = d.payment_id and p.connection_id = d.connection_id"
            " where d.merchant_id = %s and p.order_reference = 'ROUTED-1'",
            merchant,
        )
        assert name == "Simulator UK" and public_id("con", connection)  # type: ignore[arg-type]
