"""The toy application and browsers on it."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from litestar import Litestar

from app.core.embedded import Urls
from app.core.ids import PersonId
from app.web import limits
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.toy import create_toy_app
from tests.support.web import Browser


@pytest.fixture(scope="session")
def app(urls: Urls) -> Litestar:
    return create_toy_app()


@pytest_asyncio.fixture
async def open_browser(app: Litestar, database: Urls) -> AsyncIterator[Callable[..., Browser]]:
    limits.forget_leases()
    opened: list[Browser] = []

    def make(address: str = "192.0.2.10") -> Browser:
        opened.append(Browser(app, address=address))
        return opened[-1]

    yield make
    for browser in opened:
        await browser.close()


@pytest_asyncio.fixture
async def tenant(database: Urls) -> Tenant:
    return await make_tenant()


@pytest_asyncio.fixture
async def browser(open_browser: Callable[..., Browser]) -> Browser:
    return open_browser()


@pytest_asyncio.fixture
async def owner(open_browser: Callable[..., Browser], tenant: Tenant) -> Browser:
    browser = open_browser()
    await browser.adopt(PersonId(tenant.owner.id), merchant_id=tenant.id)
    await browser.get("/security")
    return browser
