"""A forgotten password: one link, one use, one hour; nobody learns who is here; the second factor stays."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import psycopg
import pytest

from app.core import clock
from tests.support.factories.identity import PASSWORD, totp_code
from tests.support.factories.tenancy import Tenant
from tests.support.post import letters, link_in_mail
from tests.support.web import Browser, text_of
from workers.jobs import JOBS, Message, load_jobs

OpenBrowser = Callable[..., Browser]
NEW = "nine hats keep a violet tram"


@pytest.fixture(autouse=True)
def _jobs() -> None:
    load_jobs()


async def work(superuser: psycopg.Connection, topic: str) -> None:
    """Do what a worker does with the events of one topic."""
    rows = superuser.execute("delete from outbox where topic = %s returning id, payload", [topic]).fetchall()
    from workers.routes import ROUTES

    for event_id, payload in rows:
        for actor in ROUTES[topic]:
            await JOBS[actor](Message(event_id=event_id, topic=topic, payload=msgspec.convert(payload, dict)))


async def ask(browser: Browser, email: str, superuser: psycopg.Connection) -> str:
    await browser.get("/forgot")
    answer = await browser.post("/forgot", {"email": email})
    assert answer.status_code == 200
    await work(superuser, "person.password_reset_asked")
    return text_of(answer)


async def test_the_link_works_once_and_the_second_factor_is_still_asked(
    browser: Browser, owner: Browser, tenant: Tenant, superuser: psycopg.Connection
) -> None:
    email = tenant.owner.email
    await ask(browser, email, superuser)
    link = await link_in_mail(to=email)
    await browser.get(link)
    key = link.partition("key=")[2]
    assert (await browser.post("/reset", {"key": key, "password": "short"})).status_code == 422, "and the link is not used up by that"
    owned = await browser.post("/reset", {"key": key, "password": f"{tenant.live.name} {tenant.live.name} 2026"})
    assert "This is made of your name" in text_of(owned), "what the merchant is called is no password"
    done = await browser.post("/reset", {"key": key, "password": NEW})
    assert (done.status_code, done.headers["location"]) == (303, "/sign-in")
    assert (await owner.get("/security")).status_code == 303, "every session has ended"
    assert (await browser.get("/security")).headers["location"].startswith("/sign-in")
    await browser.get("/sign-in")
    answer = await browser.post("/sign-in", {"email": email, "password": NEW})
    assert answer.headers["location"] == "/sign-in/second-factor"
    await browser.follow(answer)
    assert (await browser.post("/sign-in/second-factor", {"code": totp_code()})).status_code == 303
    assert (await browser.post("/reset", {"key": key, "password": PASSWORD})).status_code == 422
    assert (await letters(to=email))[-1].subject == "Choose a new password"
    assert [row[0] for row in superuser.execute("select what from person_event order by id limit 2")] == [
        "password_reset_asked",
        "password_reset",
    ]
    seen = superuser.execute("select action from audit_entry where merchant_id = %s and object_type = 'person' order by id", [tenant.id])
    assert ("person.password_reset",) in seen.fetchall(), "the merchant's audit knows"


async def test_an_old_or_replaced_link_is_closed(browser: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    await ask(browser, tenant.owner.email, superuser)
    first = await link_in_mail(to=tenant.owner.email)
    await ask(browser, tenant.owner.email.upper(), superuser)
    second = await link_in_mail(to=tenant.owner.email)
    assert (await browser.get(first)).status_code == 422
    assert (await browser.get(second)).status_code == 200
    with clock.travel(timedelta(minutes=61)):
        assert (await browser.get(second)).status_code == 422


async def test_a_stranger_reads_and_causes_the_same(browser: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    texts = [(await ask(browser, email, superuser)).replace(email, "X") for email in (tenant.owner.email, "nobody@example.test")]
    assert texts[0] == texts[1]
    assert len(await letters()) == 1


async def test_the_key_is_stored_as_a_hash_only(browser: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    await ask(browser, tenant.owner.email, superuser)
    key = (await link_in_mail(to=tenant.owner.email)).partition("key=")[2]
    for table in ("password_reset", "outbox", "job_run", "mail", "person_event", "audit_entry"):
        stored = superuser.execute(f"select coalesce(json_agg(t)::text, '') from {table} t").fetchone()
        assert stored and key not in stored[0], table


async def test_one_mailbox_is_not_flooded(browser: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    await browser.get("/forgot")
    statuses = [(await browser.post("/forgot", {"email": tenant.owner.email})).status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2


async def test_wrong_passwords_are_noted_for_whom_they_were_meant(
    browser: Browser, owner: Browser, tenant: Tenant, superuser: psycopg.Connection
) -> None:
    for email in (tenant.owner.email, "nobody@example.test"):
        await browser.get("/sign-in")
        await browser.post("/sign-in", {"email": email, "password": "wrong"})
    await work(superuser, "person.password_refused")
    assert superuser.execute("select what, host(address::inet) from person_event").fetchall() == [("password_refused", "192.0.2.10")]
    assert "Password refused" in text_of(await owner.get("/security"))
