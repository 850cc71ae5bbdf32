"""Coming in by a merchant's own provider of foreign make: into that merchant, by its rule, and nowhere else."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

import httpx2
import msgspec
import psycopg
import pytest
import pytest_asyncio

from app.core.db import unit_of_work
from app.core.ids import PersonId, public_id
from app.identity import oauth
from app.identity.domain import Factor
from app.identity.models import Person
from app.tenancy import queries as teams
from app.tenancy import service as members
from app.tenancy.domain import Role
from app.tenancy.models import SsoProvider
from app.tenancy.sso import service as sso
from app.web import sessions
from app.web.sessions import Bound
from tests.identity.test_providers import come_back
from tests.support.factories.identity import PASSWORD, make_operator, make_person, totp_code
from tests.support.factories.sso import SETTINGS, enforce, make_provider
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.foreign_provider import CLIENT, SECRET, ForeignProvider
from tests.support.post import letters
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


def key_of(row: SsoProvider) -> str:
    return public_id("sso", row.id)


async def connect_provider(acme: ForeignProvider, tenant: Tenant, **settings: object) -> SsoProvider:
    """The foreign provider as this merchant's own, with everything that it takes for people to sign in."""
    given = msgspec.structs.replace(SETTINGS, issuer=acme.issuer, client_id=CLIENT, **settings)
    row = await make_provider(tenant.actor(), given, secret=SECRET)
    await acme.accept_redirect(f"http://127.0.0.1:8000/sign-in/sso/{key_of(row)}/callback")
    return row


@pytest_asyncio.fixture
async def provider(acme: ForeignProvider, tenant: Tenant) -> AsyncIterator[SsoProvider]:
    oauth.forget()
    yield await connect_provider(acme, tenant)
    oauth.forget()


async def begin(browser: Browser, row: SsoProvider, *, after: str = "/team") -> str:
    answer = await browser.get(f"/sign-in/sso/{key_of(row)}?next={after}")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def sign_in(browser: Browser, acme: ForeignProvider, row: SsoProvider, account: str) -> httpx2.Response:
    return await come_back(browser, await acme.sign_in(await begin(browser, row), account))


async def newcomer(email: str = "newcomer@corp.test") -> Person:
    async with unit_of_work(None) as session:
        return await make_person(session, email=email)


async def link(row: SsoProvider, person: Person, subject: str = "newcomer") -> None:
    """As after proving both."""
    with psycopg.connect(oauth.settings().owner_database_url) as connection:
        values = (row.merchant_id, row.id, subject, person.id, person.email)
        fields = "merchant_id, provider_id, subject, person_id, email, created_at"
        connection.execute(f"insert into sso_identity ({fields}) values (%s, %s, %s, %s, %s, now())", values)


async def password_sign_in(browser: Browser, email: str, *, after: str = "/team") -> httpx2.Response:
    await browser.get("/sign-in")
    await browser.follow(await browser.post("/sign-in", {"email": email, "password": PASSWORD, "next": after}))
    return await browser.post("/sign-in/second-factor", {"code": totp_code(steps=-1), "next": after})


class TestTheWay:
    async def test_the_domain_leads_there_whoever_asks(self, provider: SsoProvider, browser: Browser) -> None:
        await newcomer()
        await browser.get("/sign-in/sso")
        pages = [
            re.sub(r"newcomer|nobody|csrf_token\" value=\"[^\"]+|nonce=\"[^\"]+|data-request=\"[^\"]+", "", answer.text)
            for answer in [await browser.post("/sign-in/sso", {"email": f"{who}@Corp.test"}) for who in ("newcomer", "nobody")]
        ]
        assert f"/sign-in/sso/{key_of(provider)}" in pages[0]
        assert pages[0] == pages[1], "whether there is such a person does not show"
        answer = await browser.post("/sign-in/sso", {"email": "somebody@elsewhere.test"})
        assert (answer.status_code, "No single sign-on for elsewhere.test" in text_of(answer)) == (200, True)

    async def test_somebody_new_joins_by_the_rule_and_enrols(
        self, provider: SsoProvider, acme: ForeignProvider, browser: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        answer = await sign_in(browser, acme, provider, "newcomer")
        assert answer.headers["location"].startswith("/sign-in/enrol")
        page = await browser.follow(answer)
        secret = re.sub(r"\s", "", re.findall(r"(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}", text_of(page))[0])
        await browser.post("/sign-in/enrol", {"code": totp_code(secret), "next": "/team"})
        assert (await browser.get("/team")).status_code == 200
        joined = "select m.role from membership m join person p on p.id = m.person_id where p.email = 'newcomer@corp.test'"
        assert superuser.execute(joined).fetchall() == [("finance",)], "one of its groups"
        told = superuser.execute("select actor_name from audit_entry where action = 'member.added' order by id desc limit 1").fetchone()
        assert told == ("Single sign-on",)

    @pytest.mark.parametrize("account", ["stranger", "unproven"])
    async def test_nobody_joins_with_another_domain_or_an_address_that_is_not_verified(
        self, provider: SsoProvider, acme: ForeignProvider, browser: Browser, superuser: psycopg.Connection, account: str
    ) -> None:
        answer = await sign_in(browser, acme, provider, account)
        assert (answer.status_code, browser.session_cookie) == (422, None)
        assert "Nobody in this team is connected" in text_of(answer)
        assert superuser.execute("select count(*) from person where email like %s", [f"{account}@%"]).fetchone() == (0,)
        await newcomer("stranger@elsewhere.test")
        again = await sign_in(browser, acme, provider, account)
        assert (again.status_code, "Nobody in this team is connected" in text_of(again)) == (422, True), "whose an address is, is not told"

    async def test_who_is_signed_in_connects_an_account_with_any_address(
        self, provider: SsoProvider, acme: ForeignProvider, browser: Browser, superuser: psycopg.Connection
    ) -> None:
        person = await newcomer("consultant@private.test")
        await browser.adopt(PersonId(person.id))
        answer = await sign_in(browser, acme, provider, "stranger")
        assert answer.headers["location"] == "/security/sso/confirm"
        assert "consultant@private.test" in text_of(await browser.follow(answer))
        assert (await browser.post("/security/sso/confirm")).status_code == 200
        assert superuser.execute("select person_id, subject from sso_identity").fetchall() == [(person.id, "stranger")]
        assert (await letters(to=person.email))[0].subject == "A way to sign in was added"

    async def test_what_another_provider_proved_is_not_connected_to_this_one(
        self, provider: SsoProvider, acme: ForeignProvider, browser: Browser, superuser: psycopg.Connection
    ) -> None:
        person = await newcomer("consultant@private.test")
        await browser.adopt(PersonId(person.id))
        await browser.follow(await sign_in(browser, acme, provider, "stranger"))
        superuser.execute("update sso_provider set issuer = 'https://another.test'")
        superuser.commit()
        assert (await browser.post("/security/sso/confirm")).status_code == 422
        assert superuser.execute("select count(*) from sso_identity").fetchone() == (0,)

    async def test_two_first_sign_ins_at_one_moment_end_in_one_account(
        self, provider: SsoProvider, acme: ForeignProvider, open_browser: OpenBrowser, superuser: psycopg.Connection
    ) -> None:
        browsers = [open_browser(), open_browser()]
        ways = [(one, await acme.sign_in(await begin(one, provider), "newcomer")) for one in browsers]
        answers = await asyncio.gather(*(come_back(one, address) for one, address in ways))
        assert [answer.status_code for answer in answers] == [303, 303]
        counts = "select (select count(*) from person where email = 'newcomer@corp.test'), (select count(*) from sso_identity)"
        assert superuser.execute(counts).fetchone() == (1, 1)

    async def test_who_is_here_already_proves_both(
        self, provider: SsoProvider, acme: ForeignProvider, open_browser: OpenBrowser, superuser: psycopg.Connection
    ) -> None:
        await newcomer()
        browser = open_browser()
        answer = await sign_in(browser, acme, provider, "newcomer")
        assert (browser.session_cookie, answer.headers["location"]) == (None, "/sign-in?next=/security/sso/confirm")
        page = await browser.follow(await password_sign_in(browser, "newcomer@corp.test", after="/security/sso/confirm"))
        assert "You have proven both" in text_of(page)
        assert "Continue with Acme" in text_of(await browser.post("/security/sso/confirm"))
        assert (await browser.post("/security/sso/confirm")).status_code == 422, "once"
        again = open_browser()
        answer = await sign_in(again, acme, provider, "newcomer")
        assert answer.headers["location"].startswith("/sign-in/second-factor"), "the provider is one factor"
        await again.follow(answer)
        await again.post("/sign-in/second-factor", {"code": totp_code(), "next": "/team"})
        assert (await again.get("/team")).status_code == 200


class TestWalls:
    async def test_a_provider_of_one_merchant_signs_nobody_in_at_another(
        self, acme: ForeignProvider, tenant: Tenant, open_browser: OpenBrowser, superuser: psycopg.Connection
    ) -> None:
        oauth.forget()
        row = await connect_provider(acme, tenant, accept_mfa=True)
        other, person = await make_tenant(), await newcomer("strong@example.test")
        await make_member(other, Role.OWNER, person=person)
        await make_member(tenant, Role.VIEWER, person=person)
        await link(row, person, "strong")
        make_operator(superuser, person.id)
        browser = open_browser()
        assert (await sign_in(browser, acme, row, "strong")).headers["location"] == "/team", "its second factor counts there"
        page = await browser.get("/team")
        assert tenant.live.name in page.text
        assert other.live.name not in page.text
        entered = await browser.post(f"/merchants/{public_id('mer', other.id)}/enter")
        assert entered.status_code == 404
        own = open_browser()
        await own.adopt(PersonId(person.id), merchant_id=other.id)
        assert other.live.name in (await own.get("/team")).text, "the positive control"
        # what is the person's everywhere asks for a factor of their own
        for refused in (await browser.get("/security"), await browser.post("/security/recovery-codes")):
            assert (refused.status_code, "Confirm it is you" in refused.text) == (403, True)
        answer = await browser.post("/security/recovery-codes", {"step_up_code": totp_code()})
        assert answer.status_code == 200
        found = await teams.visitor(browser.session_cookie or "")
        assert found is not None
        assert found.operating is None, "and the console stays closed"

    async def test_an_answer_is_good_at_the_provider_that_was_asked(
        self, provider: SsoProvider, acme: ForeignProvider, browser: Browser
    ) -> None:
        other = await make_tenant()
        theirs = await make_provider(
            other.actor(), msgspec.structs.replace(SETTINGS, issuer=acme.issuer, client_id=CLIENT), domain="b.test"
        )
        address = await acme.sign_in(await begin(browser, provider), "newcomer")
        crossed = address.replace(key_of(provider), key_of(theirs))
        assert (await come_back(browser, crossed)).status_code == 422
        assert (await come_back(browser, address)).status_code == 303

    async def test_who_was_taken_out_of_the_team_stays_out(
        self, provider: SsoProvider, acme: ForeignProvider, open_browser: OpenBrowser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        assert (await sign_in(open_browser(), acme, provider, "newcomer")).status_code == 303
        found = superuser.execute("select m.id from membership m join person p on p.id = m.person_id where p.email = 'newcomer@corp.test'")
        member = found.fetchone()
        assert member
        async with unit_of_work(tenant.id) as session:
            await members.remove_member(session, tenant.actor(), member_id=member[0])
        answer = await sign_in(open_browser(), acme, provider, "newcomer")
        assert (answer.status_code, "taken out of this team" in text_of(answer)) == (422, True)

    async def test_a_disabled_provider_opens_nothing_and_its_sessions_end(
        self, provider: SsoProvider, acme: ForeignProvider, browser: Browser, tenant: Tenant
    ) -> None:
        await browser.follow(await sign_in(browser, acme, provider, "newcomer"))
        async with unit_of_work(tenant.id) as session:
            await sso.disable(session, tenant.actor(), provider_id=provider.id)
        assert (await browser.get("/sign-in/enrol")).status_code == 303
        assert (await browser.get(f"/sign-in/sso/{key_of(provider)}")).status_code == 404

    async def test_signing_out_offers_to_sign_out_there_and_goes_on_without_the_provider(
        self, provider: SsoProvider, acme: ForeignProvider, open_browser: OpenBrowser, superuser: psycopg.Connection
    ) -> None:
        for gone in (False, True):
            browser = open_browser()
            await browser.follow(await sign_in(browser, acme, provider, "newcomer"))
            answer = await browser.post("/sign-out")
            if gone:
                superuser.execute("update sso_provider set status = 'disabled'")
            page = await browser.follow(answer)
            assert ("You are signed out" if gone else "Sign out of Acme too") in text_of(page)
        answer = await open_browser().post(f"/sign-in/sso/{key_of(provider)}/signed-out", {"logout_token": "x"})
        assert answer.status_code == 404


class TestAbsence:
    async def test_who_stayed_away_is_told_whom_to_ask(
        self, provider: SsoProvider, acme: ForeignProvider, browser: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        person = await make_member(tenant, Role.VIEWER, person=await newcomer())
        await link(provider, person)
        superuser.execute("update person set status = 'unused' where id = %s", [person.id])
        superuser.commit()
        answer = await sign_in(browser, acme, provider, "newcomer")
        assert (answer.status_code, "Ask an owner or admin of your team to let you in again" in text_of(answer)) == (422, True)


class TestEnforced:
    async def test_people_of_the_domain_come_in_by_it_only(
        self, provider: SsoProvider, acme: ForeignProvider, open_browser: OpenBrowser, tenant: Tenant
    ) -> None:
        person, colleague = await newcomer(), await newcomer("omar@private.test")
        for one in (person, colleague):
            await make_member(tenant, Role.VIEWER, person=one)
            await make_member(tenant, Role.VIEWER, sandbox=True, person=one)
        await link(provider, person)
        browser = open_browser()
        assert (await browser.follow(await password_sign_in(browser, person.email))).status_code == 200
        await enforce(tenant.actor(), provider.id, break_glass=tenant.owner.id)
        refused = await browser.get("/team")
        assert (refused.status_code, "No merchant lets you in this way" in text_of(refused)) == (403, True)
        assert "Continue with Acme" in text_of(await browser.get("/sign-in/sso")), "and it says which way does"
        sandbox = await browser.post(f"/merchants/{public_id('mer', tenant.sandbox_id)}/enter")
        assert sandbox.status_code == 404, "its sandbox neither"
        through = open_browser()
        await through.follow(await sign_in(through, acme, provider, "newcomer"))
        await through.post("/sign-in/second-factor", {"code": totp_code(), "next": "/team"})
        assert (await through.get("/team")).status_code == 200
        second = await make_provider(tenant.actor(), msgspec.structs.replace(SETTINGS, name="Second"), domain="second.test")
        async with unit_of_work(None) as session:
            bound = Bound(merchant_id=tenant.id, provider_id=second.id)
            token = await sessions.open_session(
                session, person_id=PersonId(person.id), address=None, user_agent="", factor=Factor.TOTP, bound=bound
            )
        by_another = open_browser()
        by_another.hold(token)
        assert (await by_another.get("/team")).status_code == 403, "another provider, though the merchant’s own"
        for who in (colleague, tenant.owner):
            free = open_browser()
            await free.adopt(PersonId(who.id), merchant_id=tenant.id)
            assert (await free.get("/team")).status_code == 200, "of no proven domain, or the owner for the day it breaks"
        async with unit_of_work(tenant.id) as session:
            await sso.relax(session, tenant.actor(), provider_id=provider.id)
        assert (await browser.get("/team")).status_code == 200
