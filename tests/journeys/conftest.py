"""A house of real processes with the demo's data, shared by the journeys of one test process, and a browser to visit it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.journeys.window import Window
from tests.support import chromium
from tests.support.house import House, running_house

DAYS = 3


@pytest.fixture(scope="package")
def house() -> Iterator[House]:
    """Web, worker, relay, scheduler, simulator and database, with a few days of business."""
    with running_house(days=DAYS) as house:
        yield house


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chrome() -> AsyncIterator[Browser]:
    """One browser for all."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(params=[True, False], ids=["scripts", "no-scripts"])
async def window(request: pytest.FixtureRequest, chrome: Browser, house: House) -> AsyncIterator[Window]:
    """A window with scripts, and once more without; whatever its console complained about fails the test."""
    async with Window.opened(chrome, house, scripts=request.param) as window:
        yield window


@pytest_asyncio.fixture
async def scripted(chrome: Browser, house: House) -> AsyncIterator[Window]:
    """A window with scripts."""
    async with Window.opened(chrome, house) as window:
        yield window
