"""A newcomer's first day: from the first sign-in to a partial refund, with scripts and without them."""

import re
from uuid import uuid4

import pytest
from playwright.async_api import expect

from app.core.money import Money
from tests.journeys import steps
from tests.journeys.window import Window

pytestmark = pytest.mark.browser
HUNDRED = Money(100_00, "EUR")


class TestFirstDay:
    async def test_an_order_of_two_sellers_is_paid_with_a_challenge_and_partly_refunded(self, window: Window) -> None:
        mark = uuid4().hex[:8]
        nina = window.house.add_person(f"nina-{mark}@newcomers.example", opens=f"Market {mark}")
        page = window.page
        await steps.enrol(window, nina)
        await steps.sign_out(window)
        await window.sign_in(nina, at="/connections")
        await steps.connect_provider(window, f"market_{mark}")
        await steps.add_seller(window, "Anna Antiques")
        await steps.add_seller(window, "Bert Books")
        await steps.set_fee(window, percent="10", fixed="0.25")
        await steps.create_order(window, f"ORDER-{mark}", {"Anna Antiques": "60.00", "Bert Books": "40.00"})
        order = page.url
        payment = await steps.pay(window, HUNDRED)

        await window.see(page.locator(".payhead").get_by_text("Captured"))
        await expect(page.get_by_role("group", name="Ledger entries")).to_contain_text("balanced")
        await expect(page.get_by_label("Amounts")).to_contain_text("€89.50")
        assert await steps.wallets(window) == {"Anna Antiques": "€53.75", "Bert Books": "€35.75"}
        assert sum(steps.books(window, nina).values()) == 0
        await page.goto("/ledger/trial-balance")
        await expect(page.get_by_text("Balanced").first).to_be_visible()
        await page.goto(order)
        await expect(page.locator(".payhead").get_by_text("Paid")).to_be_visible()

        await self.refund_twenty(window, nina, payment)
        await window.see(page.locator(".payhead").get_by_text("Partial refund"))
        await expect(page.get_by_label("Amounts")).to_contain_text("€20.00")
        after = await steps.wallets(window)
        assert sum(Money.parse(pending.lstrip("€"), "EUR").minor for pending in after.values()) < 89_50
        assert sum(steps.books(window, nina).values()) == 0
        await page.goto(order)
        await expect(page.get_by_label("Amounts")).to_contain_text("€20.00")
        await steps.sign_out(window)
        await page.goto(order)
        await expect(page).to_have_url(re.compile("/sign-in"))

    async def refund_twenty(self, window: Window, person: object, payment: str) -> None:
        """Give back a part; the second factor is stale, so it is asked for in between and the form goes on."""
        page = window.page
        window.house.age_factor(person)  # type: ignore[arg-type]
        await page.goto(payment)
        await page.get_by_role("link", name="Refund", exact=True).click()
        await page.get_by_label("Amount", exact=True).fill("20.00")
        if window.scripts:
            await expect(page.get_by_role("button", name="Refund €20.00")).to_be_visible()
        await page.locator("#dlg-go").click()
        await window.step_up(person)  # type: ignore[arg-type]
        await expect(page).to_have_url(payment)
