"""Fixtures of the payout tests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from psycopg import Connection

from app.core.clock import now, travel
from app.payouts.service import policies, sending
from tests.support.console import app, call_api, open_as, owner, psp, shop, stranger
from tests.support.factories.payouts import ScriptedBank, Till, open_till, scripted
from tests.support.shop import Shop, balances

__all__ = ["app", "call_api", "open_as", "owner", "psp", "shop", "stranger"]

Books = Callable[[], dict[tuple[str, str], int]]


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> ScriptedBank:
    """A bank that answers what the test scripts."""
    made = ScriptedBank()
    for module in (sending, policies):
        monkeypatch.setattr(module, "RAILS", scripted(made))
    return made


@pytest.fixture(autouse=True)
def a_weekday() -> Iterator[None]:
    """It is noon on a bank day, whenever the tests run."""
    moment = now()
    while moment.weekday() >= 5:
        moment += timedelta(days=1)
    with travel(datetime(moment.year, moment.month, moment.day, 12, tzinfo=UTC)):
        yield


@contextmanager
def later(**span: float) -> Iterator[None]:
    """Some time passes."""
    with travel(timedelta(**span)):
        yield


@pytest_asyncio.fixture
async def till(database: object, shop: Shop, bank: ScriptedBank) -> Till:
    """A merchant that can pay out; Anna has 1,000.00."""
    return await open_till(shop, bank)


@pytest.fixture
def books(shop: Shop, superuser: Connection) -> Books:
    """The balances of the merchant by code, with its sellers by name; wallets that were filled by the test aside."""
    names = {str(shop.anna): "anna", str(shop.bert): "bert"}

    def read() -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for (code, owner_id), minor in balances(superuser, shop.merchant_id).items():
            key = (code, names.get(owner_id, ""))
            found[key] = found.get(key, 0) + minor
        return {key: minor for key, minor in found.items() if minor}

    return read
