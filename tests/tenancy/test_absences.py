"""People who stayed away are shut out at night and let in again by their team; a door that only they can open stays open."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import psycopg
import pytest

from app.cli import people as command_line
from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import PersonId, new_id
from app.core.settings import settings
from app.identity.models import Person
from app.tenancy import queries as people
from app.tenancy import service as teams
from app.tenancy.domain import Role
from app.tenancy.members import flows
from tests.support.factories.identity import PASSWORD, make_operator, make_person, totp_code
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.post import letters
from tests.support.soft_key import SoftKey
from tests.support.web import Browser, text_of
from workers.jobs import JOBS, Message, load_jobs
from workers.routes import CALENDAR, ROUTES

OpenBrowser = Callable[..., Browser]


def seen(superuser: psycopg.Connection, person: Person, *, days: int) -> None:
    """As if the person had signed in so many days ago for the last time."""
    superuser.execute("update person set last_signed_in_at = now() - make_interval(days => %s) where id = %s", [days, person.id])
    superuser.commit()


def status_of(superuser: psycopg.Connection, person: Person) -> str:
    row = superuser.execute("select status from person where id = %s", [person.id]).fetchone()
    assert row is not None
    return str(row[0])


async def at_night() -> None:
    """What the clock brings."""
    load_jobs()
    assert "clock.absences_due" in CALENDAR
    for actor in ROUTES["clock.absences_due"]:
        await JOBS[actor](Message(event_id=new_id(), topic="clock.absences_due"))


async def enter(browser: Browser, person: Person, password: str = PASSWORD) -> str:
    """Enter a password; gives what the page then says, or where it leads."""
    await browser.get("/sign-in")
    answer = await browser.post("/sign-in", {"email": person.email, "password": password})
    where = answer.headers.get("location")
    await browser.follow(answer)
    return where or text_of(answer)


async def member_id(tenant: Tenant, person: Person) -> str:
    async with unit_of_work(tenant.id) as session:
        return next(row.id for row in (await people.team(session, tenant.actor())).members if row.email == person.email)


async def test_away_for_ninety_days_and_let_in_again(
    owner: Browser, open_browser: OpenBrowser, tenant: Tenant, superuser: psycopg.Connection
) -> None:
    away, lately = [await make_member(tenant, Role.VIEWER) for _ in range(2)]
    there, window = open_browser(), open_browser()
    await there.adopt(PersonId(away.id), merchant_id=tenant.id)
    seen(superuser, away, days=91)
    seen(superuser, lately, days=89)
    await at_night()
    await at_night()
    assert [status_of(superuser, one) for one in (away, lately)] == ["unused", "active"]
    assert (await there.get("/team")).status_code == 303, "whatever session there was has ended"
    assert [letter.subject for letter in await letters(to=away.email)] == ["Your account was shut"], "told once"

    assert "Ask an owner or admin of your team to let you in again" in await enter(window, away)
    assert "e-mail address or the password is wrong" in await enter(window, away, "wrong"), "who does not know it learns nothing"
    assert "second-factor" in await enter(open_browser(), lately)

    assert "Shut out" in text_of(await owner.get("/team"))
    member = await member_id(tenant, away)
    assert "Shut out for staying away" in text_of(await owner.get(f"/team/{member}"))
    assert (await owner.post(f"/team/{member}/let-in")).status_code == 303
    assert "Shut out" not in text_of(await owner.get(f"/team/{member}"))
    assert "second-factor" in await enter(window, away)
    answer = await window.post("/sign-in/second-factor", {"code": totp_code(), "next": "/team"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/team"), "with the factor they had"
    assert [letter.subject for letter in await letters(to=away.email)][-2:] == ["Your account is open again", "Your account was shut"]
    await at_night()
    assert status_of(superuser, away) == "active", "the count began anew"
    acts = superuser.execute("select action from audit_entry where action ~ 'account_|let_in' order by id").fetchall()
    assert [act for (act,) in acts] == ["person.account_unused", "person.account_let_in", "member.let_in"]


async def test_signing_in_is_what_counts(open_browser: OpenBrowser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    person, window = await make_member(tenant, Role.VIEWER), open_browser()
    seen(superuser, person, days=91)
    await enter(window, person)
    await at_night()
    assert status_of(superuser, person) == "unused", "a password alone is no sign-in"
    seen(superuser, person, days=91)
    superuser.execute("update person set status = 'active'")
    superuser.commit()
    await enter(window, person)
    await window.post("/sign-in/second-factor", {"code": totp_code()})
    await at_night()
    assert status_of(superuser, person) == "active"


async def test_an_owner_is_let_in_by_an_owner(
    owner: Browser, open_browser: OpenBrowser, tenant: Tenant, superuser: psycopg.Connection
) -> None:
    away, admin = await make_member(tenant, Role.OWNER), open_browser()
    await admin.adopt(PersonId((await make_member(tenant, Role.ADMIN)).id), merchant_id=tenant.id)
    seen(superuser, away, days=91)
    await at_night()
    member = await member_id(tenant, away)
    await admin.get(f"/team/{member}")
    assert (await admin.post(f"/team/{member}/let-in")).status_code == 422
    assert status_of(superuser, away) == "unused"
    await owner.get(f"/team/{member}")
    assert (await owner.post(f"/team/{member}/let-in")).status_code == 303
    assert (await owner.post(f"/team/{member}/let-in")).status_code == 303, "twice is once"
    assert status_of(superuser, away) == "active"


async def test_who_was_disabled_is_not_let_in_by_the_team(owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    person = await make_member(tenant, Role.VIEWER)
    superuser.execute("update person set status = 'disabled' where id = %s", [person.id])
    superuser.commit()
    member = await member_id(tenant, person)
    await owner.get(f"/team/{member}")
    assert (await owner.post(f"/team/{member}/let-in")).status_code == 303
    assert status_of(superuser, person) == "disabled"


class TestSpared:
    async def test_the_last_owner(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        seen(superuser, tenant.owner, days=400)
        await at_night()
        assert status_of(superuser, tenant.owner) == "active"

    async def test_all_owners_when_none_came(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        second = await make_member(tenant, Role.OWNER)
        for one in (tenant.owner, second):
            seen(superuser, one, days=400)
        await at_night()
        assert [status_of(superuser, one) for one in (tenant.owner, second)] == ["active", "active"]

    async def test_who_owns_another_merchant_alone(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        other = await make_tenant()
        async with unit_of_work(None) as session:
            system = tenant.actor()
            await teams.add_member(session, system, merchant_id=tenant.id, person_id=PersonId(other.owner.id), role=Role.OWNER)
        seen(superuser, other.owner, days=400)
        await at_night()
        assert status_of(superuser, other.owner) == "active"

    async def test_who_gets_in_when_the_provider_does_not(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        second = await make_member(tenant, Role.OWNER)
        seen(superuser, second, days=400)
        superuser.execute(
            "insert into sso_provider (merchant_id, id, name, status, issuer, client_id, sealed_secret, fingerprint, secret_in_body, scopes,"
            " accept_mfa, mfa_acr, role_rules, enforced, break_glass_id, created_at, updated_at) values (%s, gen_random_uuid(), 'Corp',"
            " 'active', 'https://id.example', 'c', 's', 'f', false, 'openid', false, '{}', '{}', true, %s, now(), now())",
            [tenant.id, second.id],
        )
        superuser.commit()
        await at_night()
        assert status_of(superuser, second) == "active"

    async def test_the_last_who_runs_the_platform(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        async with unit_of_work(None) as session:
            first, second = [await make_person(session) for _ in range(2)]
        for one in (first, second):
            make_operator(superuser, one.id)
            seen(superuser, one, days=400)
        await at_night()
        assert [status_of(superuser, one) for one in (first, second)] == ["active", "active"]
        seen(superuser, first, days=1)
        await at_night()
        assert [status_of(superuser, one) for one in (first, second)] == ["active", "unused"]

    async def test_who_works_for_nobody(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        async with unit_of_work(None) as session:
            person = await make_person(session)
        seen(superuser, person, days=400)
        await at_night()
        assert status_of(superuser, person) == "active"

    async def test_everybody_where_the_rule_is_off(
        self, tenant: Tenant, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        person = await make_member(tenant, Role.VIEWER)
        seen(superuser, person, days=400)
        monkeypatch.setattr(flows, "settings", lambda: msgspec.structs.replace(settings(), unused_days=0))
        await at_night()
        assert status_of(superuser, person) == "active"


class TestWaysBack:
    async def test_a_passkey_is_told_too(self, open_browser: OpenBrowser, tenant: Tenant, superuser: psycopg.Connection) -> None:
        person, key, window = await make_member(tenant, Role.VIEWER), SoftKey(), open_browser()
        await key.belong_to(PersonId(person.id))
        seen(superuser, person, days=91)
        await at_night()
        await window.get("/sign-in")
        asked = await window.post("/sign-in/passkey/ask")
        answer = await window.post("/sign-in/passkey", {"answer": key.answer(asked.text)})
        assert (answer.status_code, "to let you in again" in text_of(answer)) == (422, True)

    async def test_the_command_line(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        person = await make_member(tenant, Role.VIEWER)
        seen(superuser, person, days=91)
        await at_night()
        assert await command_line.let_in_again(person.email) is True
        assert await command_line.let_in_again(person.email) is False
        assert status_of(superuser, person) == "active"

    async def test_who_has_no_team_any_more_waits_for_nobody(
        self, open_browser: OpenBrowser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        person = await make_member(tenant, Role.VIEWER)
        seen(superuser, person, days=91)
        await at_night()
        superuser.execute("delete from membership where person_id = %s", [person.id])
        superuser.commit()
        assert "second-factor" in await enter(open_browser(), person)
        assert status_of(superuser, person) == "active"

    async def test_who_runs_the_platform_does_not_let_themselves_in(
        self, open_browser: OpenBrowser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        async with unit_of_work(None) as session:
            first, second = [await make_person(session) for _ in range(2)]
        for one in (first, second):
            make_operator(superuser, one.id)
        seen(superuser, second, days=91)
        await at_night()
        assert "whoever runs this installation" in await enter(open_browser(), second)
        assert status_of(superuser, second) == "unused"


async def test_who_never_signed_in_counts_from_when_they_were_made(tenant: Tenant, superuser: psycopg.Connection) -> None:
    person = await make_member(tenant, Role.VIEWER)
    with clock.travel(timedelta(days=91)):
        seen(superuser, tenant.owner, days=-91)
        await at_night()
    assert status_of(superuser, person) == "unused"
