"""A browser window on the house that notices everything a page must not do."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from tests.support.accessibility import bring_to, violations_of
from tests.support.house import House, Resident

# the browser notes every 4xx answer; a refused form, a step-up and an unknown page are some on purpose
_ON_PURPOSE = re.compile(r"the server responded with a status of 4(03|04|09|22)")
_LOCAL = ("data:", "blob:", "about:")
PATIENCE = 20_000
REPEATED = ["tbody tr:nth-child(n+5)"]
"""Rows of a list after the fourth; one template writes them all, so the first ones speak for them."""
FRAME = ["aside", "#palette", "#shortcuts"]
"""What stands around every page alike."""
expect.set_options(timeout=PATIENCE)


class Window:
    """One visitor's window; remembers complaints of the console and requests that left the house."""

    def __init__(self, house: House, context: BrowserContext, page: Page, *, scripts: bool) -> None:
        self.house, self.context, self.page, self.scripts = house, context, page, scripts
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("request", self._asked)

    @classmethod
    @asynccontextmanager
    async def opened(cls, chrome: Browser, house: House, *, scripts: bool = True, **options: Any) -> AsyncIterator[Self]:
        """A new window; closing it fails when there was a complaint."""
        options = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"} | options
        context = await chrome.new_context(base_url=house.url, java_script_enabled=scripts, **options)
        context.set_default_timeout(PATIENCE)
        window = cls(house, context, await context.new_page(), scripts=scripts)
        yield window
        await context.close()
        assert window.complaints == []

    async def beside(self) -> Self:
        """A second page of the same visitor; its complaints count with the first one's."""
        other = type(self)(self.house, self.context, await self.context.new_page(), scripts=self.scripts)
        other.complaints = self.complaints
        return other

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not _ON_PURPOSE.search(message.text):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.house.url, self.house.simulator_url, *_LOCAL)):
            self.complaints.append(f"{self.page.url} asked {request.url}")

    async def prove_password(self, person: Resident, *, at: str = "/sign-in") -> None:
        """The first step of signing in, wherever the house asks for it."""
        await self.page.goto(at)
        await self.page.get_by_label("E-mail").fill(person.email)
        await self.page.get_by_label("Password", exact=True).fill(person.password)
        await self.page.get_by_role("button", name="Continue").click()

    async def sign_in(self, person: Resident, *, at: str = "/") -> None:
        """Both steps, to the page that was wanted."""
        self.house.forget_codes(person)
        await self.prove_password(person, at=at)
        await self.page.get_by_label("6-digit code").fill(person.code())
        await self.page.get_by_role("button", name="Verify").click()
        await expect(self.page).to_have_url(f"{self.house.url}{at}")
        await self.page.wait_for_load_state()  # before that no script listens for a key

    async def step_up(self, person: Resident) -> None:
        """Confirm in the dialog that interrupts what was asked."""
        await expect(self.page.get_by_role("heading", name="Confirm it is you")).to_be_visible()
        self.house.forget_codes(person)
        await self.page.get_by_label("6-digit code").fill(person.code())
        await self.page.get_by_role("button", name="Confirm and go on").click()

    async def see(self, what: Locator) -> None:
        """Wait for something to appear; a page without scripts is asked again, as a person would."""
        if not self.scripts:
            for _ in range(50):
                if await what.count():
                    break
                await self.page.reload()
        await expect(what).to_be_visible(timeout=PATIENCE)

    async def will_look(self) -> None:
        """Make ready for looking at many pages."""
        await bring_to(self.context)

    async def look(self, *, only: Sequence[str] = (), frame: bool = True) -> list[str]:
        """What on the page keeps people out, or does not fit the window; with `only`, by these rules alone, without `frame` not around it."""
        await self.page.evaluate("document.getAnimations().forEach(one => one.finish())")  # colours that change are judged as they end
        found = await violations_of(self.page, only=only, excluded=REPEATED if frame else REPEATED + FRAME)
        return found + await self.too_wide()

    async def too_wide(self) -> list[str]:
        """Tell when the page is wider than the window."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return [f"{wide} px wider than the window"] if wide > 0 else []
