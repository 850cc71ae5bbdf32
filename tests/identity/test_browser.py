"""Signing in, stepping up and the account's pages in a real browser: no complaint of the content policy, nobody kept out."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from litestar import Litestar
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect
from sqlalchemy import text

from app.core import clock
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.web import limits
from tests.support import chromium
from tests.support.factories.identity import PASSWORD, make_person, totp_code
from tests.support.factories.tenancy import Tenant
from tests.support.served import served
from tests.support.web import whole_app

pytestmark = pytest.mark.browser


@pytest_asyncio.fixture(scope="session")
async def chrome() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def house(urls: Urls, database: Urls) -> AsyncIterator[str]:
    limits.forget_leases()
    whole: Litestar = whole_app()
    async with served(whole) as address:
        yield address


class Window:
    """A browser window that remembers what its console complained about."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context, self.page = context, page
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        # the browser notes every 4xx answer; a refused form and an unknown page are some on purpose
        if message.type in {"error", "warning"} and not re.search(r"status of 4(03|04|22)", message.text):
            self.complaints.append(message.text)

    async def sign_in(self, email: str) -> None:
        await self.page.goto("/team")
        await self.page.get_by_label("E-mail").fill(email)
        await self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        await self.page.get_by_role("button", name="Continue").click()
        await self.page.get_by_label("6-digit code").fill(totp_code())
        await self.page.get_by_role("button", name="Verify").click()
        await expect(self.page).to_have_url(re.compile("/team$"))


@pytest_asyncio.fixture(params=[True, False], ids=["scripts", "no-scripts"])
async def window(request: pytest.FixtureRequest, chrome: Browser, house: str) -> AsyncIterator[Window]:
    context = await chrome.new_context(base_url=house, java_script_enabled=request.param, viewport={"width": 1280, "height": 900})
    made = Window(context, await context.new_page())
    yield made
    await context.close()
    assert made.complaints == []


async def age_factor() -> None:
    """Half an hour of work later: the session lives, the second factor is stale."""
    async with unit_of_work(None) as session:
        await session.execute(text("update web_session set factor_at = factor_at - interval '30 minutes'"))


class TestJourneys:
    async def test_a_newcomer_sets_up_the_second_step(self, window: Window) -> None:
        async with unit_of_work(None) as session:
            person = await make_person(session, enrolled=False)
        page = window.page
        await page.goto("/sign-in")
        await page.get_by_label("E-mail").fill(person.email)
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("img", name="QR code for your authenticator app")).to_be_visible()
        secret = ((await page.locator("[data-secret]").text_content()) or "").replace(" ", "")
        await page.get_by_label("6-digit code").fill(totp_code(secret))
        await page.get_by_role("button", name="Turn on").click()
        codes = (await page.locator("pre").text_content() or "").split()
        assert len(codes) == 10
        await page.goto("/security")
        await expect(page.get_by_role("heading", name="Security", exact=True)).to_be_visible()

    async def test_a_step_up_interrupts_and_the_form_goes_on(self, window: Window, tenant: Tenant) -> None:
        await window.sign_in(tenant.owner.email)
        await age_factor()
        page = window.page
        await page.goto("/invitations")
        await page.get_by_role("link", name="Invite a person").click()
        await page.get_by_label("E-mail").fill("lena.hoffmann@example.com")
        await page.get_by_label("Finance").check()
        await page.get_by_role("button", name="Send the invitation").click()
        await expect(page.get_by_role("heading", name="Confirm it is you")).to_be_visible()
        await page.get_by_label("6-digit code").fill("000000")
        await page.get_by_role("button", name="Confirm and go on").click()
        await expect(page.get_by_text("That code was not accepted")).to_be_visible()
        with clock.travel(timedelta(seconds=31)):
            await page.get_by_label("6-digit code").fill(totp_code())
            await page.get_by_role("button", name="Confirm and go on").click()
            await expect(page.get_by_role("cell", name="lena.hoffmann@example.com")).to_be_visible()
        await expect(page).to_have_url(re.compile("/invitations$"))

    async def test_a_key_is_shown_once(self, window: Window, tenant: Tenant) -> None:
        await window.sign_in(tenant.owner.email)
        page = window.page
        await page.goto("/api-clients")
        await page.get_by_role("link", name="New key").first.click()
        await page.get_by_label("Name", exact=True).fill("Shop server")
        await page.get_by_label("Read orders").check()
        await page.get_by_role("button", name="Issue key").click()
        await expect(page.get_by_text(re.compile("ch_live_")).first).to_be_visible()
        await page.get_by_role("link", name="I have kept it").click()
        await expect(page.get_by_role("cell", name="Shop server")).to_be_visible()
        assert "ch_live_" in await page.content()
        assert not re.search(r"ch_live_[A-Za-z0-9_-]{20}", await page.content())

    async def test_signing_out_ends_it(self, window: Window, tenant: Tenant) -> None:
        await window.sign_in(tenant.owner.email)
        await window.page.locator("form[action='/sign-out'] button").evaluate("button => button.form.submit()")
        await expect(window.page).to_have_url(re.compile("/sign-in"))
        await window.page.goto("/team")
        await expect(window.page).to_have_url(re.compile("/sign-in"))
