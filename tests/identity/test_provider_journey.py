"""From the sign-in page through the provider's own pages and the second step to the console, in a real browser."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pyotp
import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from app.core.embedded import Urls
from app.core.ids import public_id
from app.core.settings import settings
from app.identity import oauth
from app.web import limits
from tests.support import chromium
from tests.support.accessibility import violations_of
from tests.support.factories.identity import PASSWORD, totp_code
from tests.support.factories.sso import SETTINGS, enforce, make_provider
from tests.support.factories.tenancy import Tenant
from tests.support.foreign_provider import CLIENT, SECRET, ForeignProvider, started
from tests.support.served import served
from tests.support.web import whole_app

pytestmark = pytest.mark.browser


@pytest_asyncio.fixture
async def house(
    urls: Urls, database: Urls, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, ForeignProvider]]:
    limits.forget_leases()
    async with served(whole_app()) as address:
        home = f"{address}/sign-in"
        provider: Iterator[ForeignProvider] = started(
            tmp_path_factory.mktemp("acme"),
            redirect_uris=[f"{home}/with/acme/callback"],
            logout_uri=f"{home}/with/acme/signed-out",
            back=f"{home}/signed-out",
        )
        acme = next(provider)
        given = {"key": "acme", "name": "Acme", "issuer": acme.issuer, "client_id": CLIENT, "client_secret": SECRET}
        with monkeypatch.context() as patch:
            patch.setenv("COUNTINGHOUSE_SIGN_IN_PROVIDERS", json.dumps([given]))
            patch.setenv("COUNTINGHOUSE_PUBLIC_URL", address)
            settings.cache_clear()
            oauth.forget()
            yield address, acme
        settings.cache_clear()
        next(provider, None)


async def nobody_is_kept_out(page: Page) -> None:
    assert await violations_of(page) == []


async def at_the_provider(page: Page, login: str) -> None:
    """Sign in on the provider's own pages."""
    await page.get_by_role("link", name="Continue with Acme").click()
    await page.get_by_placeholder("Enter any login").fill(login)
    await page.get_by_placeholder("and password").fill("anything")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()


@asynccontextmanager
async def window(address: str) -> AsyncIterator[Page]:
    """A browser's page; what its console complained about on our pages fails the test."""
    complaints: list[str] = []
    async with async_playwright() as driver:
        chrome = await driver.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        page = await (await chrome.new_context(base_url=address)).new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" and address in page.url else None)
        yield page
        await chrome.close()
    assert complaints == []


async def test_through_the_provider_into_the_console(house: tuple[str, ForeignProvider], tenant: Tenant) -> None:
    address, _ = house
    async with window(address) as page:
        await page.goto("/sign-in")
        await nobody_is_kept_out(page)
        await at_the_provider(page, tenant.owner.email)
        await expect(page.get_by_text("One more step")).to_be_visible()
        await nobody_is_kept_out(page)
        await page.get_by_label("E-mail").fill(tenant.owner.email)
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_label("6-digit code").fill(totp_code(steps=-1))
        await page.get_by_role("button", name="Verify").click()
        await expect(page.get_by_role("heading", name="Connect Acme", exact=True)).to_be_visible()
        await nobody_is_kept_out(page)
        await page.get_by_role("button", name="Connect").click()
        await expect(page.get_by_role("button", name="Disconnect")).to_be_visible()
        await nobody_is_kept_out(page)
        await page.context.clear_cookies()
        await page.goto("/sign-in?next=/team")
        await at_the_provider(page, tenant.owner.email)
        await page.get_by_label("6-digit code").fill(totp_code())
        await page.get_by_role("button", name="Verify").click()
        await expect(page).to_have_url(re.compile("/team$"))


async def test_a_team_s_own_provider_lets_somebody_join_and_is_their_only_way(house: tuple[str, ForeignProvider], tenant: Tenant) -> None:
    address, acme = house
    given = msgspec.structs.replace(SETTINGS, issuer=acme.issuer, client_id=CLIENT)
    provider = await make_provider(tenant.actor(), given, secret=SECRET)
    await acme.accept_redirect(f"{address}/sign-in/sso/{public_id('sso', provider.id)}/callback")
    await enforce(tenant.actor(), provider.id, break_glass=tenant.owner.id)
    async with window(address) as page:
        await page.goto("/sign-in?next=/team")
        await page.get_by_role("link", name="Single sign-on of your team").click()
        await nobody_is_kept_out(page)
        await page.get_by_label("Work e-mail").fill("rosa@corp.test")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("link", name="Continue with Acme")).to_be_visible()
        await nobody_is_kept_out(page)
        await at_the_provider(page, "rosa@corp.test")
        secret = ((await page.locator("[data-secret]").text_content()) or "").replace(" ", "")
        await nobody_is_kept_out(page)
        await page.get_by_label("6-digit code").fill(pyotp.TOTP(secret).now())
        await page.get_by_role("button", name="Turn on").click()
        await page.get_by_role("link", name="I have kept them").click()
        await expect(page).to_have_url(re.compile("/team$"))
        await expect(page.get_by_text("rosa@corp.test").first).to_be_visible()
