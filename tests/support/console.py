"""The whole application and browsers signed in to it, for tests of pages."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
import pytest_asyncio
from bs4 import BeautifulSoup
from litestar import Litestar

from app.core.embedded import Urls
from app.core.ids import MerchantId, PersonId
from app.tenancy.domain import Role
from app.web import limits
from tests.payments.conftest import psp, shop
from tests.support.factories.api_access import make_key
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.shop import Shop
from tests.support.web import ORIGIN, Browser, whole_app

__all__ = ["CallApi", "OpenAs", "app", "call_api", "open_as", "owner", "psp", "rows", "shop", "soup", "stranger", "words"]

OpenAs = Callable[..., Awaitable[Browser]]
CallApi = Callable[..., Awaitable[httpx2.Response]]


@pytest.fixture(scope="session")
def app(urls: Urls) -> Litestar:
    """Everything app.main puts together."""
    return whole_app()


@pytest_asyncio.fixture
async def stranger(database: Urls) -> Tenant:
    """Another merchant."""
    return await make_tenant(name="Somebody else")


@pytest_asyncio.fixture
async def open_as(app: Litestar, database: Urls) -> AsyncIterator[OpenAs]:
    """Opens a browser signed in as the owner of a tenant, or as somebody with another role."""
    limits.forget_leases()
    opened: list[Browser] = []

    async def sign_in(tenant: Tenant, role: Role = Role.OWNER) -> Browser:
        person = tenant.owner if role is Role.OWNER else await make_member(tenant, role)
        browser = Browser(app)
        opened.append(browser)
        await browser.adopt(PersonId(person.id), merchant_id=tenant.id)
        browser.entrance = "/security"
        return browser

    yield sign_in
    for browser in opened:
        await browser.close()


@pytest_asyncio.fixture
async def owner(open_as: OpenAs, shop: Shop) -> Browser:
    """The shop's owner."""
    return await open_as(shop.tenant)


@pytest_asyncio.fixture
async def call_api(app: Litestar, database: Urls) -> AsyncIterator[CallApi]:
    """Calls the API with a new key of a merchant."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:

        async def call(
            merchant_id: MerchantId, method: str, path: str, *, scopes: list[str] | None = None, json: object = None
        ) -> httpx2.Response:
            _, key = await make_key(merchant_id, scopes=scopes)
            return await client.request(method, path, json=json, headers={"authorization": f"Bearer {key}"})

        yield call


def soup(response: httpx2.Response) -> BeautifulSoup:
    """The page, to look into."""
    assert response.headers["content-type"].startswith("text/html"), response.text
    return BeautifulSoup(response.text, "html.parser")


def words(node: object) -> str:
    """What a part of the page says."""
    return " ".join(node.get_text(" ").split())  # type: ignore[attr-defined]


def rows(page: BeautifulSoup, selector: str) -> list[str]:
    """What the rows of a table say."""
    return [words(row) for row in page.select(f"{selector} tr")]
