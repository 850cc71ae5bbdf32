"""Passkeys in a real browser with a virtual key: added, the second step, a sign-in of their own, copied, removed."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import CDPSession, Page, async_playwright, expect

from app.core.embedded import Urls
from app.core.settings import settings
from app.web import limits
from tests.support import chromium
from tests.support.factories.identity import PASSWORD, totp_code
from tests.support.factories.tenancy import Tenant
from tests.support.served import served
from tests.support.web import whole_app

pytestmark = pytest.mark.browser


@pytest_asyncio.fixture
async def place(urls: Urls, database: Urls, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    limits.forget_leases()
    async with served(whole_app()) as address:
        # a key answers to a name, never to a number
        named = address.replace("127.0.0.1", "localhost")
        monkeypatch.setenv("COUNTINGHOUSE_PUBLIC_URL", named)
        settings.cache_clear()
        yield named
    monkeypatch.undo()
    settings.cache_clear()


async def virtual_key(page: Page) -> tuple[CDPSession, str]:
    """A key in the browser that is always touched and always knows its owner."""
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
    made = await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options | {"automaticPresenceSimulation": True}})
    return cdp, made["authenticatorId"]


async def sign_out(page: Page) -> None:
    await page.locator("form[action='/sign-out'] button").evaluate("button => button.form.submit()")
    await expect(page).to_have_url(re.compile("/sign-in"))


async def test_a_passkey_from_its_making_to_its_end(place: str, tenant: Tenant, superuser: psycopg.Connection) -> None:
    complaints: list[str] = []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        page = await browser.new_page(base_url=place)
        page.on(
            "console", lambda message: complaints.append(message.text) if "Content" in message.text or "Trusted" in message.text else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        cdp, key = await virtual_key(page)

        await page.goto("/sign-in")
        await page.get_by_label("E-mail").fill(tenant.owner.email)
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_label("6-digit code").fill(totp_code())
        await page.get_by_role("button", name="Verify").click()

        await page.goto("/security")
        await page.get_by_role("link", name="Add a passkey").click()
        await page.get_by_label("Name").fill("Work laptop")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("cell", name="Work laptop", exact=True)).to_be_visible()
        assert superuser.execute("select name, last_used_at from passkey").fetchall() == [("Work laptop", None)]

        # the second step, after a password
        await sign_out(page)
        await page.get_by_label("E-mail").fill(tenant.owner.email)
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()

        # and alone
        await sign_out(page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        what = [row[0] for row in superuser.execute("select note from person_event where what = 'signed_in' order by id").fetchall()]
        assert what == ["totp", "passkey", "passkey"]

        # a copy answers with an older counter
        superuser.execute("update passkey set counter = 1000")
        await sign_out(page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("counter went back").first).to_be_visible()
        assert superuser.execute("select count(*) from person_event where what = 'passkey_copied'").fetchone() == (1,)
        assert superuser.execute("select count(*) from mail where subject = 'A passkey may have been copied'").fetchone() == (1,)

        # answers are good once, and for nobody else's question
        superuser.execute("update passkey set counter = 0")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.post_data or "") if request.url.endswith("/sign-in/passkey") else None)
        await page.goto("/sign-in")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        await refused_again(page, sent[-1], superuser)
        await cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key})
        await browser.close()
    assert complaints == []


async def refused_again(page: Page, body: str, superuser: psycopg.Connection) -> None:
    """The same answer, sent again with a form token of today, opens nothing."""
    from urllib.parse import parse_qs

    await sign_out(page)
    superuser.execute("update passkey set counter = 0")
    (answer,) = parse_qs(body)["answer"]
    token = await page.locator("input[name=csrf_token]").first.input_value()
    again: Any = await page.request.post("/sign-in/passkey", form={"csrf_token": token, "answer": answer})
    assert again.status == 422
    assert json.loads(answer)["id"]
