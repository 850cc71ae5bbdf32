"""Keys and clients whose makers left or may do less: they go on working, the pages say so, and the owners get a notice."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest

from app.api_access import service
from app.api_access.service import clients
from app.core import clock
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import PersonId, parse_id, public_id
from app.core.money import Money
from app.tenancy import queries as people
from app.tenancy import service as teams
from app.tenancy.domain import Role
from app.tenancy.members import service as members
from app.tenancy.roles import service as roles
from tests.support.factories.tenancy import Tenant, make_member
from tests.support.post import letters
from tests.support.web import Browser, text_of
from workers.jobs import JOBS, Message, load_jobs
from workers.routes import ROUTES

OpenBrowser = Callable[..., Browser]
TOPIC = "member.rights_lost"


@pytest.fixture(autouse=True)
def _jobs() -> None:
    load_jobs()


async def work(superuser: psycopg.Connection) -> int:
    """Do what a worker does with the events; gives how many there were."""
    rows = superuser.execute("delete from outbox where topic = %s returning id, merchant_id, payload", [TOPIC]).fetchall()
    for event_id, merchant_id, payload in rows:
        for actor in ROUTES[TOPIC]:
            message = Message(event_id=event_id, topic=TOPIC, merchant_id=merchant_id, payload=msgspec.convert(payload, dict))
            await JOBS[actor](message)
    return len(rows)


async def member_of(tenant: Tenant, role: Role) -> tuple[Actor, UUID]:
    """Somebody of the team with the role: as an actor, and the membership's id."""
    person = await make_member(tenant, role)
    async with unit_of_work(tenant.id) as session:
        actor = await people.colleague(session, tenant.id, person.id)
        found = [row for row in (await people.team(session, tenant.actor())).members if row.email == person.email]
    assert actor is not None
    return actor, parse_id("mem", found[0].id)


async def key_of(actor: Actor, *scopes: str) -> tuple[str, str]:
    """A key that the actor made: its public id and the key."""
    async with unit_of_work(actor.merchant) as session:
        row, key = await service.issue_key(session, actor, name="Shop", scopes=scopes)
    return public_id("key", row.id), key


async def test_who_leaves_leaves_keys_to_renew(owner: Browser, browser: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    leaver, member = await member_of(tenant, Role.OWNER)
    _, key = await key_of(leaver, "orders.read")
    assert "Renew" not in text_of(await owner.get("/api-clients"))
    async with unit_of_work(tenant.id) as session:
        await teams.remove_member(session, tenant.actor(), member_id=member)
    assert await work(superuser) == 1

    page = text_of(await owner.get("/api-clients"))
    assert f"Renew {leaver.name} knows it and has left" in page
    (mail,) = await letters(to=tenant.owner.email)
    assert f"Key “Shop”: {leaver.name} knows it and has left" in mail.text
    assert "/api-clients" in mail.text
    assert await letters(to=(await _email(superuser, leaver))) == [], "who left is no owner any more"
    noted = superuser.execute("select actor_kind, after ->> 'reason' from audit_entry where action = 'api_key.renewal_due'").fetchall()
    assert noted == [("system", f"{leaver.name} knows it and has left")]
    answer = await browser.get("/v1/toys/one", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, "the shop goes on"


async def _email(superuser: psycopg.Connection, actor: Actor) -> str:
    row = superuser.execute("select email from person where id = %s", [actor.id]).fetchone()
    assert row is not None
    return str(row[0])


async def test_a_renewed_key_is_nobody_elses(owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    leaver, member = await member_of(tenant, Role.OWNER)
    key_id, _ = await key_of(leaver, "orders.read")
    async with unit_of_work(tenant.id) as session:
        await teams.remove_member(session, tenant.actor(), member_id=member)
    await owner.get("/api-clients")
    await owner.post(f"/api-clients/{key_id}/rotate", {"overlap": "0", "expires": "90"})
    assert "Renew" not in text_of(await owner.get("/api-clients"))


async def test_a_smaller_role_says_what_is_lacking(owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    other, member = await member_of(tenant, Role.OWNER)
    await key_of(other, "orders.read", "payments.refund")
    await key_of(tenant.actor(), "payments.refund")
    async with unit_of_work(tenant.id) as session:
        await teams.change_role(session, tenant.actor(), member_id=member, role=Role.ADMIN)
    assert await work(superuser) == 1
    assert text_of(await owner.get("/api-clients")).count("knows it and lacks payments.refund") == 1
    assert len(await letters(to=tenant.owner.email)) == 1


async def test_a_smaller_role_that_still_holds_all_of_it_is_no_news(tenant: Tenant, owner: Browser, superuser: psycopg.Connection) -> None:
    other, member = await member_of(tenant, Role.OWNER)
    await key_of(other, "orders.read")
    async with unit_of_work(tenant.id) as session:
        await teams.change_role(session, tenant.actor(), member_id=member, role=Role.ADMIN)
    assert await work(superuser) == 1
    assert await letters() == []
    assert "Renew" not in text_of(await owner.get("/api-clients"))


async def test_a_greater_role_is_no_event(tenant: Tenant, superuser: psycopg.Connection) -> None:
    _, member = await member_of(tenant, Role.VIEWER)
    async with unit_of_work(tenant.id) as session:
        await teams.change_role(session, tenant.actor(), member_id=member, role=Role.ADMIN)
    assert await work(superuser) == 0


async def test_a_first_limit_counts_since_no_key_knows_one(tenant: Tenant, owner: Browser, superuser: psycopg.Connection) -> None:
    other, member = await member_of(tenant, Role.OWNER)
    await key_of(other, "payments.refund")
    for currency in ("EUR", "USD"):
        async with unit_of_work(tenant.id) as session:
            limit = Money(10_000, currency)
            await members.set_limit(session, tenant.actor(), member_id=member, permission="payments.refund", most=limit)
    assert await work(superuser) == 1, "the second one takes nothing away that a key could have"
    assert "knows it and lacks payments.refund" in text_of(await owner.get("/api-clients"))


async def test_a_narrowed_role_of_the_merchants_own(tenant: Tenant, owner: Browser, superuser: psycopg.Connection) -> None:
    allowed = ["team.read", "api_clients.read", "api_clients.write", "orders.read", "payments.refund"]
    async with unit_of_work(tenant.id) as session:
        role = await roles.create_role(session, tenant.actor(), name="Shop desk", summary="", permissions=allowed)
    other, member = await member_of(tenant, Role.OWNER)
    async with unit_of_work(tenant.id) as session:
        await teams.change_role(session, tenant.actor(), member_id=member, role=role.id)
        holder = await people.colleague(session, tenant.id, other.id or UUID(int=0))
    assert holder is not None
    await key_of(holder, "payments.refund")
    await work(superuser)
    assert await letters() == []
    async with unit_of_work(tenant.id) as session:
        await roles.change_role(session, tenant.actor(), role_id=role.id, name="Shop desk", summary="", permissions=allowed[:-1])
    assert await work(superuser) == 1
    assert "knows it and lacks payments.refund" in text_of(await owner.get("/api-clients"))
    async with unit_of_work(tenant.id) as session:
        await roles.change_role(session, tenant.actor(), role_id=role.id, name="Front desk", summary="", permissions=allowed[:-1])
    assert await work(superuser) == 0, "another name takes nothing away"


async def test_a_clients_old_secret_counts_while_it_works(tenant: Tenant, owner: Browser, superuser: psycopg.Connection) -> None:
    leaver, member = await member_of(tenant, Role.OWNER)
    async with unit_of_work(tenant.id) as session:
        row, _ = await clients.add_client(session, leaver, name="Warehouse", scopes=["orders.read"])
        await teams.remove_member(session, tenant.actor(), member_id=member)
    await work(superuser)
    at, told = f"/api-clients/oauth/{public_id('cli', row.id)}", f"{leaver.name} knows it and has left"
    assert told in text_of(await owner.get("/api-clients/oauth"))
    assert f"New secret needed {told}" in text_of(await owner.get(at))
    assert "Client “Warehouse”" in (await letters(to=tenant.owner.email))[0].text
    async with unit_of_work(tenant.id) as session:
        await clients.rotate_secret(session, tenant.actor(), client_id=row.id, overlap=timedelta(hours=1))
    assert told in text_of(await owner.get(at))
    with clock.travel(timedelta(hours=2)):
        window = Browser(owner.app)
        await window.adopt(PersonId(tenant.owner.id), merchant_id=tenant.id)
        assert told not in text_of(await window.get(at))
        await window.close()


async def test_what_does_not_work_needs_no_renewal(tenant: Tenant, owner: Browser, superuser: psycopg.Connection) -> None:
    leaver, member = await member_of(tenant, Role.OWNER)
    key_id, _ = await key_of(leaver, "orders.read")
    await owner.get("/api-clients")
    assert (await owner.post(f"/api-clients/{key_id}/revoke", {"name": "Shop"})).status_code == 303
    async with unit_of_work(tenant.id) as session:
        await teams.remove_member(session, tenant.actor(), member_id=member)
    assert await work(superuser) == 1
    assert await letters() == []
    assert "Renew" not in text_of(await owner.get("/api-clients"))
