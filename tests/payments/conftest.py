"""Fixtures of the payment tests."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from litestar import Litestar
from psycopg import Connection

from app.core.embedded import Urls
from app.psp.service import connections
from app.web import limits
from tests.payments.client import Api
from tests.support.factories.api_access import make_key
from tests.support.shop import ScriptedPsp, Shop, balances, open_shop
from tests.support.web import ORIGIN, whole_app

NOT_COUNTED = {"rate_limit", "rate_lease"}


@pytest.fixture
def psp(monkeypatch: pytest.MonkeyPatch) -> ScriptedPsp:
    """A PSP that answers what the test scripts."""
    scripted = ScriptedPsp()

    async def adapter_for(*_args: object, **_options: object) -> ScriptedPsp:
        return scripted

    monkeypatch.setattr(connections, "adapter_for", adapter_for)
    monkeypatch.setattr(connections, "adapter_of", lambda _connection: scripted)
    return scripted


@pytest_asyncio.fixture
async def shop(database: object, psp: ScriptedPsp) -> Shop:
    """A merchant that can take payments."""
    return await open_shop(psp)


Books = Callable[[], dict[tuple[str, str], int]]


@pytest.fixture
def books(shop: Shop, superuser: Connection) -> Books:
    """The balances of the shop, with its sellers and the connection by name."""
    names = {str(shop.anna): "anna", str(shop.bert): "bert", str(shop.connection_id): "psp"}

    def read() -> dict[tuple[str, str], int]:
        return {(code, names.get(owner, "")): minor for (code, owner), minor in balances(superuser, shop.merchant_id).items()}

    return read


@pytest.fixture(scope="session")
def app(urls: Urls) -> Litestar:
    return whole_app()


@pytest_asyncio.fixture
async def api(app: Litestar, shop: Shop) -> AsyncIterator[Api]:
    limits.forget_leases()
    _, key = await make_key(shop.merchant_id)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url=ORIGIN) as client:
        yield Api(client, key)


@pytest_asyncio.fixture
async def stranger(shop: Shop, psp: ScriptedPsp) -> Shop:
    """Another merchant, with a shop like ours."""
    return await open_shop(psp)


@pytest.fixture
def nothing_written(superuser: Connection) -> Any:
    """A block in which no row may appear or vanish in any table."""
    tables = [
        row[0]
        for row in superuser.execute(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and n.nspname in ('public', 'ledger') order by 1"
        ).fetchall()
        if row[0].removeprefix("public.") not in NOT_COUNTED
    ]
    count = " union all ".join(f"select '{table}', count(*) from {table}" for table in tables)

    @contextmanager
    def block() -> Iterator[None]:
        # by name: several processes of the server may count, and answer in any order
        before = dict(superuser.execute(count).fetchall())
        yield
        assert dict(superuser.execute(count).fetchall()) == before

    return block
