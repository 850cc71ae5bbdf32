"""Money leaves the house by two people: a schedule asks for it, a second person agrees with a code, the bank pays it, and wallet and ledger say so."""

import re

import pytest
from playwright.async_api import Browser, expect

from app.core.money import Money
from tests.journeys.window import Window
from tests.support.house import House, Resident

pytestmark = pytest.mark.browser

_SELLER = """
select s.name, a.id::text, (b.credits_posted - b.debits_posted)::bigint from ledger.account a
  join ledger.balance b on b.merchant_id = a.merchant_id and b.account_id = a.id and b.shard = 0
  join seller s on s.merchant_id = a.merchant_id and s.id = a.owner_id
  join bank_account k on k.merchant_id = s.merchant_id and k.seller_id = s.id and k.currency = a.currency and k.status = 'active'
  join payout_schedule c on c.merchant_id = s.merchant_id and c.seller_id = s.id and c.currency = a.currency and c.status = 'active'
 where a.merchant_id = %s and a.code = '2110' and a.currency = 'EUR' and k.verification = 'verified'
 order by 3 desc limit 1
"""
KEPT = Money(2_000, "EUR")


def the_clock_comes(house: House, topic: str) -> None:
    """What would happen within half a minute."""
    house.query("update recurring_job set next_at = now() where name = %s", topic)


async def set_schedule(window: Window, seller: str) -> None:
    """Pay a seller out every day, all but what is kept."""
    page = window.page
    await page.goto("/payouts/schedules")
    await page.get_by_role("link", name=seller).first.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(seller)
    await page.get_by_label("How often").select_option(value="daily")
    await page.get_by_label("At", exact=True).fill("09:00")
    await page.get_by_label("Time zone").fill("UTC")
    await page.get_by_label("Keep in the wallet").fill(KEPT.decimal())
    await page.get_by_role("button", name="Save schedule").click()
    await expect(page.get_by_role("status").filter(has_text="chedule").first).to_be_visible()


async def agree(window: Window, person: Resident, amount: Money) -> None:
    """Look at it, repeat the amount, and confirm with a code in the dialog."""
    page = window.page
    await page.get_by_role("link", name="Review and approve").click()
    await page.get_by_label(re.compile("Type")).fill(amount.decimal())
    assert await window.look() == []
    window.house.age_factor(person)
    await page.locator("#dlg-go").click()
    await window.step_up(person)


class TestPayoutByTwo:
    async def test_from_the_schedule_to_the_bank(self, scripted: Window, chrome: Browser) -> None:
        house, page = scripted.house, scripted.page
        ines, aiko = (next(each for each in house.people if each.role == role) for role in ("owner", "approver"))
        merchant = house.merchant_id(ines)
        [(seller, _, available)] = house.query(_SELLER, merchant)
        amount = Money(int(str(available)) - KEPT.minor - 25, "EUR")  # the demo keeps a fee of 0.25
        await scripted.sign_in(ines)
        await set_schedule(scripted, str(seller))
        house.query(
            "update payout_schedule set next_run_at = now(), next_run_on = current_date where merchant_id = %s and next_run_at is not null"
            " and seller_id = (select id from seller where merchant_id = %s and name = %s)",
            merchant,
            merchant,
            seller,
        )
        the_clock_comes(house, "clock.payout_schedules_due")
        await page.goto("/payouts")
        waiting = page.locator("#waiting li").filter(has_text=amount.format())
        for _ in range(40):
            if await waiting.count():
                break
            await page.reload()
        await waiting.locator(".rl").click()
        await expect(page.locator(".payhead")).to_contain_text("Needs approval")
        await expect(page.get_by_role("link", name="Review and approve")).to_have_count(0)
        path = page.url.removeprefix(house.url)
        await page.goto(f"{path}/approve")
        await expect(page.get_by_text("Somebody else has to decide")).to_be_visible()
        await page.get_by_label(re.compile("Type")).fill(amount.decimal())
        await page.locator("#dlg-go, button[type=submit]").filter(has_text="approve").click()
        await expect(page.get_by_text("You requested this payout, know the key that did").first).to_be_visible()
        async with Window.opened(chrome, house) as other:
            await other.sign_in(aiko, at=path)
            await agree(other, aiko, amount)
            await expect(other.page.locator(".payhead")).to_contain_text(re.compile("Scheduled|Approved|Batched|Sending|Sent|Paid"))
            house.query("update payout set send_at = now() where merchant_id = %s and status = 'scheduled'", merchant)
            the_clock_comes(house, "clock.payouts_due")
            paid = other.page.locator(".payhead").get_by_text("Paid", exact=True)
            for _ in range(60):
                if await paid.count():
                    break
                await other.page.reload()
            await expect(paid).to_be_visible()
            assert await other.look() == []
        await page.goto(path)
        await expect(page.get_by_text("Payout paid")).to_be_visible()
        await page.get_by_role("complementary", name="Details").get_by_role("link", name=str(seller)).click()
        await page.get_by_role("link", name=re.compile("Wallet")).first.click()
        await expect(page.locator("main")).to_contain_text(KEPT.format())
