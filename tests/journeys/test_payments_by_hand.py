"""What a clerk does with payments: capture a part, release the rest, and walk through the list without a mouse."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.journeys.window import Window

pytestmark = pytest.mark.browser


async def focused(page: Page) -> str:
    """The text of what has the focus."""
    return str(await page.evaluate("document.activeElement.textContent.trim()"))


class TestCaptureAndRelease:
    async def test_a_part_is_captured_and_the_rest_is_released(self, window: Window) -> None:
        page, ines = window.page, window.house.people[0]
        found = window.house.query(_AUTHORISED, window.house.merchant_id(ines), "captured" if window.scripts else "authorised")
        assert len(found) == 1, "the demo has one payment that is authorised and one that is captured in part"
        await window.sign_in(ines, at=f"/payments?q={found[0][0]}")
        await page.locator(".rl").first.click()
        await expect(page.get_by_role("link", name="Release", exact=True)).to_be_visible()
        await page.locator(".ph-a").get_by_role("link", name=re.compile("^Capture")).click()
        await page.get_by_label("Amount", exact=True).fill("1.00")
        if window.scripts:
            await expect(page.get_by_role("button", name="Capture €1.00")).to_be_visible()
        await page.locator("#dlg-go").click()
        await window.see(page.locator(".payhead").get_by_text("Partially captured"))
        await expect(page.get_by_text("Captured €1.00").first).to_be_visible()
        window.house.age_factor(ines)
        await page.get_by_role("link", name="Release", exact=True).click()
        await page.get_by_label("Reason").fill("Sold out")
        await page.locator("#dlg-go").click()
        await window.step_up(ines)
        await window.see(page.locator(".payhead").get_by_text("Captured", exact=True))
        await expect(page.get_by_text("Sold out").first).to_be_visible()
        await expect(page.get_by_role("link", name="Release", exact=True)).to_have_count(0)
        await expect(page.locator(".ph-a").get_by_role("link", name=re.compile("^Capture"))).to_have_count(0)


_AUTHORISED = """
select o.reference from payment p join sales_order o on o.merchant_id = p.merchant_id and o.id = p.order_id
where p.merchant_id = %s and p.status = case when %s = 'captured' then 'partially_captured' else 'authorised' end
"""


class TestKeyboard:
    async def test_the_list_is_walked_and_opened_by_keys_alone(self, scripted: Window) -> None:
        page = scripted.page
        await scripted.sign_in(scripted.house.people[0])
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await expect(page).to_have_url(re.compile("/payments$"))
        await expect(page.get_by_role("heading", name="Payments", exact=True)).to_be_visible()
        rows = await page.locator("tbody .rl").all_inner_texts()
        for key, row in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
            await page.keyboard.press(key)
            assert await focused(page) == rows[row]
        await page.keyboard.press("x")
        await expect(page.get_by_role("region", name="Bulk actions")).to_contain_text("1 selected")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/payments/pay_\w+$"))
        await expect(page.locator(".payhead")).to_contain_text(rows[1])
        await page.keyboard.press("?")
        await expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_hidden()

    async def test_the_search_finds_while_typing_and_the_palette_goes_there(self, scripted: Window) -> None:
        page, house = scripted.page, scripted.house
        reference = house.query("select reference from sales_order where merchant_id = %s limit 1", house.merchant_id(house.people[0]))[0][
            0
        ]
        await scripted.sign_in(house.people[0], at="/payments")
        await page.keyboard.press("/")
        await page.keyboard.type("zzzz")
        await expect(page.get_by_text("No payment matches")).to_be_visible()
        await page.keyboard.press("Control+k")
        palette = page.get_by_role("dialog", name="Command palette")
        await expect(palette).to_be_visible()
        await page.keyboard.type("wallets")
        await expect(palette.get_by_role("option", name="Wallets")).to_have_attribute("aria-selected", "true")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile("/wallets$"))
        await page.keyboard.press("Control+k")
        await page.keyboard.type(str(reference))
        await expect(palette.locator("#found").get_by_text(str(reference)).first).to_be_visible()
        await expect(palette.locator("#found .pal-o").first).to_have_attribute("aria-selected", "true")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile("/(orders|payments)/"))
        await expect(page.locator(".ph")).to_contain_text(str(reference))
