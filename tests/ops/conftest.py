"""Fixtures of the repair tests."""

import psycopg
import pytest_asyncio
from litestar import Litestar

from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import PersonId
from tests.support.console import app, open_as, psp, shop
from tests.support.factories.identity import make_operator, make_person
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.web import Browser

__all__ = ["app", "open_as", "psp", "shop"]

REASON = "Ticket 4711: jobs stuck since the outage"


@pytest_asyncio.fixture
async def tenant(database: Urls) -> Tenant:
    """A merchant whose jobs got stuck."""
    return await make_tenant()


@pytest_asyncio.fixture
async def operator(app: Litestar, database: Urls, superuser: psycopg.Connection) -> Browser:
    """Somebody who runs the platform, at the console, without a visit."""
    async with unit_of_work(None) as session:
        person = await make_person(session, name="Mara Voss")
    make_operator(superuser, person.id)
    browser = Browser(app)
    await browser.adopt(PersonId(person.id))
    await browser.get("/operator")
    return browser


def trail(superuser: psycopg.Connection, tenant: Tenant) -> list[tuple[str, str, str, str]]:
    """What a merchant reads of operators: kind and name of who, what and why."""
    superuser.commit()
    found = superuser.execute(
        "select actor_kind, actor_name, action, reason from audit_entry where merchant_id = %s and actor_kind = 'operator' order by at, id",
        [tenant.id],
    ).fetchall()
    return [(str(kind), str(name), str(action), str(reason)) for kind, name, action, reason in found]
