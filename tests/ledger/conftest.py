"""Fixtures of the ledger's tests."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from litestar import Litestar

from app.core.embedded import Urls
from app.core.ids import MerchantId, new_id
from tests.web.conftest import browser, open_browser, owner, tenant

__all__ = ["app", "browser", "connect", "connection", "merchant", "open_browser", "owner", "tenant"]

Connect = Callable[[], psycopg.Connection]


@pytest.fixture
def merchant(database: Urls) -> MerchantId:
    """A merchant with an empty book."""
    return MerchantId(new_id())


@pytest.fixture
def connect(database: Urls) -> Iterator[Connect]:
    """Connections as the application's role, closed at the end."""
    opened: list[psycopg.Connection] = []

    def open_one() -> psycopg.Connection:
        opened.append(psycopg.connect(database.app, options="-c lock_timeout=15000"))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(connect: Connect) -> psycopg.Connection:
    """One connection as the application's role."""
    return connect()


@pytest.fixture(scope="session")
def app(urls: Urls) -> Litestar:
    """The whole application."""
    from tests.support.web import whole_app

    return whole_app()
