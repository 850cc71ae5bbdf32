"""What people do in the house, one step a function, with scripts and without."""

import re

from playwright.async_api import expect

from app.core.money import Money
from tests.journeys.window import Window
from tests.support.house import Resident

CHALLENGED, PLAIN = "4000 0025 0000 3155", "4242 4242 4242 4242"


async def enrol(window: Window, person: Resident) -> Resident:
    """The first sign-in of a newcomer: no page opens before the second factor is set up."""
    page = window.page
    await window.prove_password(person)
    await expect(page.get_by_role("img", name="QR code for your authenticator app")).to_be_visible()
    await page.goto("/payments")
    await expect(page).to_have_url(re.compile("/sign-in"))
    await page.goto("/sign-in/enrol")
    person.totp_secret = ((await page.locator("[data-secret]").text_content()) or "").replace(" ", "")
    await page.get_by_label("6-digit code").fill(person.code())
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.get_by_role("heading", name="Keep these codes")).to_be_visible()
    await page.get_by_role("link", name="I have kept them").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome to")
    return person


async def sign_out(window: Window) -> None:
    """Leave by the menu under the own name."""
    await window.page.get_by_role("button", name=re.compile("Nina Newcomer|Ines Okafor")).click()
    await window.page.get_by_role("button", name="Sign out").click()
    await expect(window.page).to_have_url(re.compile("/sign-in"))


async def connect_provider(window: Window, account: str) -> None:
    """Open an account at the provider, connect it by the generated form, test it and switch it on."""
    page, provider = window.page, await window.context.new_page()
    await provider.goto(f"{window.house.simulator_url}/")
    await provider.get_by_label("New account").fill(account)
    await provider.get_by_role("button", name="Open account").click()
    form = provider.locator("form", has=provider.get_by_role("heading", name=account, exact=True))
    await expect(form.locator("dd")).to_have_count(2)  # what it is told of the account comes with the next page
    secret_key, webhook_secret = await form.locator("dd").all_inner_texts()
    await page.goto("/connections")
    await page.get_by_role("link", name="Connect Simulator").click()
    for label, value in (
        ("Name", "Simulator one"),
        ("API address", window.house.simulator_url),
        ("Account", account),
        ("Secret key", secret_key),
        ("Webhook secret", webhook_secret),
    ):
        await page.get_by_label(label, exact=True).fill(value)
    await page.get_by_role("button", name="Add connection").click()
    await expect(page.get_by_role("heading", name="Simulator one")).to_be_visible()
    await expect(page.get_by_text("Not tested yet")).to_be_visible()
    assert secret_key not in await page.content()
    await form.get_by_label("Webhook address").fill(await page.locator("code.codeb").inner_text())
    # the window closes this page with all others: closing one that is on its way to the next page may never return
    async with provider.expect_navigation():
        await form.get_by_role("button", name="Save address").click()
    await page.get_by_role("button", name="Test connection").click()
    await expect(page.get_by_text("The last test succeeded")).to_be_visible()
    await page.get_by_role("button", name="Enable").click()
    await expect(page.locator(".ph").get_by_text("Active")).to_be_visible()


async def add_seller(window: Window, name: str) -> None:
    """Somebody who is owed money."""
    page = window.page
    await page.goto("/sellers")
    await page.get_by_role("link", name="Add seller").click()
    await expect(page.get_by_role("heading", name="Add a seller")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Reference", exact=True).fill(name.split(maxsplit=1)[0].lower())
    await page.get_by_role("button", name="Add seller").click()
    await expect(page.get_by_role("heading", name=name)).to_be_visible()


async def set_fee(window: Window, *, percent: str, fixed: str) -> None:
    """What the platform keeps of every sale."""
    page = window.page
    await page.goto("/sellers")
    await page.get_by_label("Platform fees").get_by_role("link", name="Add").click()
    await page.get_by_label("Share of the sale").fill(percent)
    await page.get_by_label("Fixed amount per sale", exact=True).fill(fixed)
    await page.get_by_role("button", name="Save fee").click()
    await expect(page.locator("#general-fees")).to_contain_text(f"{percent}%")


async def create_order(window: Window, reference: str, lines: dict[str, str]) -> None:
    """An order with a line for each seller."""
    page = window.page
    await page.goto("/orders")
    await page.get_by_role("link", name="New order").first.click()
    await expect(page.get_by_role("heading", name="New order")).to_be_visible()
    await page.get_by_label("Reference", exact=True).fill(reference)
    await page.get_by_label("Buyer’s name").fill("Lena Hoffmann")
    await page.get_by_label("Buyer’s e-mail").fill("lena@buyers.example")
    for number, (seller, amount) in enumerate(lines.items(), 1):
        line = page.get_by_role("group", name=f"Line {number}")
        await line.get_by_label("Seller").select_option(label=seller)
        await line.get_by_label("What").fill(f"Goods of {seller}")
        await line.get_by_label("Amount").fill(amount)
    await page.get_by_role("button", name="Create order").click()
    await expect(page.get_by_text("Awaiting payment")).to_be_visible()
    await expect(page.locator(".ph")).to_contain_text(reference)


async def pay(window: Window, amount: Money, *, card: str = CHALLENGED) -> str:
    """The buyer pays on the provider's own page and comes back; gives the address of the payment's page."""
    page, shown = window.page, amount.format()
    await page.get_by_role("button", name="Collect payment").click()
    if not window.scripts:
        await page.get_by_role("link", name="Go to the payment page").click()
    await expect(page).to_have_url(re.compile(re.escape(window.house.simulator_url)))
    await page.get_by_label("Card number").fill(card)
    await page.get_by_role("button", name=f"Pay {shown}").click()
    if card == CHALLENGED:
        await page.get_by_label("Code").fill("000000")
        await page.get_by_role("button", name=f"Confirm {shown}").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await page.get_by_label("Code").fill("123456")
        await page.get_by_role("button", name=f"Confirm {shown}").click()
    await expect(page).to_have_url(re.compile(rf"{re.escape(window.house.url)}/payments/pay_\w+/return"))
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await page.get_by_role("link", name="Show the payment").click()
    await expect(page).to_have_url(re.compile(r"/payments/pay_\w+$"))
    return page.url


async def wallets(window: Window) -> dict[str, str]:
    """What is pending for each seller, as the list of wallets says it."""
    await window.page.goto("/wallets")
    rows = window.page.locator("#wallet-rows tr")
    return {await row.locator(".rl").inner_text(): (await row.locator(".c-st").inner_text()).split()[0] for row in await rows.all()}


def books(window: Window, person: Resident) -> dict[str, int]:
    """The accounts of a merchant that are not at zero, after making sure that every transaction is balanced."""
    merchant_id = window.house.merchant_id(person)
    by_transaction = "select txn_id from ledger.entry where merchant_id = %s group by 1 having sum(side * amount) <> 0"
    assert window.house.query(by_transaction, merchant_id) == []
    by_account = (
        "select a.code, sum(e.side * e.amount)::bigint from ledger.entry e join ledger.account a"
        " on a.merchant_id = e.merchant_id and a.id = e.account_id where e.merchant_id = %s group by 1"
    )
    return {str(code): int(str(minor)) for code, minor in window.house.query(by_account, merchant_id) if minor}
