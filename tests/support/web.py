"""A browser without a window: cookies are kept, form tokens are read from the page and sent, as a person's browser would."""

import re
from collections.abc import AsyncIterator, Mapping
from functools import cache
from html.parser import HTMLParser
from typing import Any

import httpx2
from litestar import Litestar

from app.core.db import unit_of_work
from app.core.ids import MerchantId, PersonId
from app.identity.domain import Factor
from app.main import create_app
from app.web import cookies, sessions
from tests.support.headers import wrong_with

HOST = "countinghouse.test"
ORIGIN = f"http://{HOST}"


@cache
def whole_app() -> Litestar:
    """Everything app.main puts together, once a test process: reading six hundred handlers takes longer than most tests, and nothing in it changes."""
    return create_app()


async def _check_headers(response: httpx2.Response) -> None:
    wrong = wrong_with(response.headers, path=response.url.path)
    assert not wrong, f"{response.request.method} {response.url.path} answers {response.status_code}: {wrong}"


class Browser:
    """One browser window, in the application's own process."""

    def __init__(self, app: Litestar, *, address: str = "192.0.2.10") -> None:
        self.app = app
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 40000))
        options: dict[str, Any] = {"headers": {"accept": "text/html"}, "event_hooks": {"response": [_check_headers]}}
        self.client = httpx2.AsyncClient(transport=transport, base_url=ORIGIN, follow_redirects=False, **options)
        self.page: httpx2.Response | None = None
        self.entrance: str | None = None
        """The page whose form token is sent when none was opened before."""

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """Open a page."""
        return self._seen(await self.client.get(path, **options))

    async def post(self, path: str, data: Mapping[str, Any] | None = None, *, token: str | None = None, **options: Any) -> httpx2.Response:
        """Send a form with the token of the page that was seen last (or the given one)."""
        if token is None and self.page is None and self.entrance is not None:
            await self.get(self.entrance)
        fields = {"csrf_token": self.token if token is None else token, **(data or {})}
        return self._seen(await self.client.post(path, data=fields, **options))

    async def follow(self, response: httpx2.Response) -> httpx2.Response:
        """Go where the answer sends the browser, until a page is shown."""
        while response.status_code in {301, 302, 303, 307, 308}:
            response = await self.get(response.headers["location"])
        return response

    def _seen(self, response: httpx2.Response) -> httpx2.Response:
        if response.headers.get("content-type", "").startswith("text/html") and 'name="csrf_token"' in response.text:
            self.page = response
        return response

    @property
    def token(self) -> str:
        """The form token on the page seen last."""
        found = re.search(r'name="csrf_token" value="([^"]*)"', self.page.text) if self.page else None
        return found.group(1) if found else ""

    @property
    def session_cookie(self) -> str | None:
        """The session id that the browser holds."""
        return self.client.cookies.get(cookies.session_name())

    async def adopt(self, person_id: PersonId, *, merchant_id: MerchantId | None = None, factor: bool = True) -> None:
        """Hold a session of this person, as after a sign-in; without `factor` only the password was shown."""
        async with unit_of_work(None) as session:
            token = await sessions.open_session(
                session, person_id=person_id, address="192.0.2.10", user_agent="test", merchant_id=merchant_id
            )
            if factor:
                found = (await sessions.sessions_of(session, person_id))[0]
                token = await sessions.prove_factor(session, found.id, factor=Factor.TOTP)
        self.hold(token)

    def hold(self, token: str) -> None:
        """Hold this session id in the cookie."""
        self.client.cookies.set(cookies.session_name(), token, domain=HOST, path="/")

    async def close(self) -> None:
        """Close the window."""
        await self.client.aclose()


async def open_browsers(app: Litestar) -> AsyncIterator[list[Browser]]:
    """A list whose browsers are closed at the end."""
    opened: list[Browser] = []
    yield opened
    for browser in opened:
        await browser.close()


class _Words(HTMLParser):
    """The texts of a page, apart where a tag or a comment stands between them."""

    UNREAD = frozenset({"script", "style", "template"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.unread = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.unread += tag in self.UNREAD
        self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self.unread -= tag in self.UNREAD
        self.parts.append(" ")

    def handle_comment(self, data: str) -> None:
        self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self.unread:
            self.parts.append(data)


def text_of(response: httpx2.Response) -> str:
    """What a page says, without its markup; no tree is built for it."""
    words = _Words()
    words.feed(response.text)
    words.close()
    return " ".join("".join(words.parts).split())
