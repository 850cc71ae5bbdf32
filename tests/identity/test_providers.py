"""Signing in through a provider of foreign make: what it proves is believed, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg
import pytest
import pytest_asyncio

from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.core.settings import settings
from app.identity import oauth
from app.identity.domain.providers import Proof, Provider
from app.identity.models import Person
from app.identity.providers import service
from app.identity.service.events import Place
from app.tenancy.domain import Role
from tests.identity.conftest import LOGOUT_PORT, addresses
from tests.support.factories.identity import PASSWORD, make_person, totp_code
from tests.support.factories.tenancy import Tenant, make_member
from tests.support.foreign_provider import CLIENT, SECRET, ForeignProvider, query_of, started
from tests.support.post import letters
from tests.support.soft_key import SoftKey
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignProvider]:
    yield from started(tmp_path_factory.mktemp("other"), **addresses())


def configure(monkeypatch: pytest.MonkeyPatch, *providers: dict[str, object]) -> None:
    given = [{"client_id": CLIENT, "client_secret": SECRET, "name": str(one["key"]).title()} | one for one in providers]
    monkeypatch.setenv("COUNTINGHOUSE_SIGN_IN_PROVIDERS", json.dumps(given))
    settings.cache_clear()


@pytest.fixture
def providers(acme: ForeignProvider, monkeypatch: pytest.MonkeyPatch, database: object) -> Iterator[None]:
    with monkeypatch.context() as patch:
        configure(
            patch,
            {"key": "acme", "issuer": acme.issuer, "new_people": True, "domains": ["corp.test"]},
            {"key": "lax", "issuer": acme.issuer, "accept_mfa": True, "acr_values": "urn:two-factors", "mfa_acr": ["urn:two-factors"]},
        )
        oauth.forget()
        yield
    settings.cache_clear()
    oauth.forget()


@pytest_asyncio.fixture
async def ines(database: object) -> Person:
    async with unit_of_work(None) as session:
        return await make_person(session, email="ines@example.test")


async def begin(browser: Browser, key: str = "acme") -> str:
    answer = await browser.get(f"/sign-in/with/{key}?next=/security")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def come_back(browser: Browser, address: str) -> httpx2.Response:
    parts = urlsplit(address)
    return await browser.get(f"{parts.path}?{parts.query}")


async def sign_in(browser: Browser, provider: ForeignProvider, account: str, key: str = "acme") -> httpx2.Response:
    return await come_back(browser, await provider.sign_in(await begin(browser, key), account))


async def connect(browser: Browser, provider: ForeignProvider, account: str, key: str = "acme") -> None:
    """Prove both sides: the account at the provider, then password and code here."""
    answer = await sign_in(browser, provider, account, key)
    assert answer.headers["location"] == "/sign-in?next=/security/providers/confirm"
    await browser.follow(answer)
    email = f"{account}@example.test"
    await browser.follow(await browser.post("/sign-in", {"email": email, "password": PASSWORD, "next": "/security/providers/confirm"}))
    answer = await browser.post("/sign-in/second-factor", {"code": totp_code(steps=-1), "next": "/security/providers/confirm"})
    page = await browser.follow(answer)
    assert f"{account}@example.test" in text_of(page)
    assert (await browser.post("/security/providers/confirm")).status_code == 303


class TestAbsence:
    async def test_who_stayed_away_is_told_whom_to_ask(
        self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser, ines: Person, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        await connect(open_browser(), acme, "ines")
        superuser.execute("update person set status = 'unused' where id = %s", [ines.id])
        superuser.commit()
        away = open_browser()
        answer = await sign_in(away, acme, "ines")
        assert answer.status_code == 303, "who works for nobody waits for nobody"
        await make_member(tenant, Role.VIEWER, person=ines)
        superuser.execute("update person set status = 'unused' where id = %s", [ines.id])
        superuser.commit()
        answer = await sign_in(open_browser(), acme, "ines")
        assert (answer.status_code, "to let you in again" in text_of(answer)) == (422, True)
        superuser.execute("update person set status = 'disabled' where id = %s", [ines.id])
        superuser.commit()
        assert "Nobody here is connected" in text_of(await sign_in(open_browser(), acme, "ines"))


class TestConnecting:
    async def test_the_same_address_alone_opens_nothing(
        self, providers: None, acme: ForeignProvider, browser: Browser, ines: Person, superuser: psycopg.Connection
    ) -> None:
        answer = await sign_in(browser, acme, "ines")
        assert browser.session_cookie is None
        assert "One more step" in text_of(await browser.follow(answer))
        assert superuser.execute("select count(*) from person_identity").fetchone() == (0,)

    async def test_it_takes_both_and_then_the_second_factor_is_still_asked(
        self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser, ines: Person
    ) -> None:
        await connect(open_browser(), acme, "ines")
        assert (await letters(to=ines.email))[0].subject == "A way to sign in was added"
        browser = open_browser()
        answer = await sign_in(browser, acme, "ines")
        assert answer.headers["location"].startswith("/sign-in/second-factor")
        assert (await browser.get("/security")).status_code == 303, "the provider alone is one factor"
        await browser.follow(answer)
        answer = await browser.post("/sign-in/second-factor", {"code": totp_code(), "next": "/security"})
        assert answer.headers["location"] == "/security"
        page = await browser.get("/security/providers")
        assert "Acme" in text_of(page)
        path = page.text.partition('action="/security/providers/idn_')[2].partition('"')[0]
        assert (await browser.post(f"/security/providers/idn_{path}")).status_code == 303
        assert (await browser.get("/security")).status_code == 303, "the session came from what was disconnected"

    async def test_another_browser_cannot_finish_it(
        self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser, ines: Person
    ) -> None:
        first, second = open_browser(), open_browser()
        await sign_in(first, acme, "ines")
        await second.adopt(PersonId(ines.id))
        await second.get("/security")
        assert (await second.post("/security/providers/confirm")).status_code == 422


class TestNewPeople:
    async def test_somebody_of_the_right_domain_becomes_a_person_who_enrols(
        self, providers: None, acme: ForeignProvider, browser: Browser
    ) -> None:
        answer = await sign_in(browser, acme, "newcomer")
        assert answer.headers["location"].startswith("/sign-in/enrol")
        assert "Set up the second step" in text_of(await browser.follow(answer))
        again = await browser.post("/sign-in", {"email": "newcomer@corp.test", "password": "the password of nobody"})
        assert again.status_code == 422, "there is no password"

    @pytest.mark.parametrize("account", ["stranger", "unproven"])
    async def test_nobody_else_does(self, providers: None, acme: ForeignProvider, browser: Browser, account: str) -> None:
        answer = await sign_in(browser, acme, account)
        assert answer.status_code == 422
        assert "Nobody here is connected" in text_of(answer)

    async def test_the_last_way_in_stays(
        self, providers: None, acme: ForeignProvider, browser: Browser, superuser: psycopg.Connection
    ) -> None:
        await sign_in(browser, acme, "newcomer")
        row = superuser.execute("select id from person where email = 'newcomer@corp.test'").fetchone()
        assert row
        await browser.adopt(row[0])
        page = await browser.get("/security/providers")
        path = page.text.partition('action="/security/providers/idn_')[2].partition('"')[0]
        answer = await browser.post(f"/security/providers/idn_{path}")
        assert answer.status_code == 409
        assert "Set a password" in text_of(answer)


class TestTheAnswer:
    async def test_it_counts_once_and_in_this_browser_only(self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser) -> None:
        browser, thief = open_browser(), open_browser()
        address = await acme.sign_in(await begin(browser), "newcomer")
        await begin(thief)
        assert (await come_back(thief, address)).status_code == 422
        assert (await come_back(browser, address.replace("state=", "state=x"))).status_code == 422
        assert (await come_back(browser, address)).status_code == 303
        assert (await come_back(browser, address)).status_code == 422, "replayed"

    async def test_it_must_come_in_time_and_from_whom_was_asked(self, providers: None, acme: ForeignProvider, browser: Browser) -> None:
        address = await acme.sign_in(await begin(browser), "newcomer")
        with clock.travel(timedelta(minutes=11)):
            assert (await come_back(browser, address)).status_code == 422
        assert query_of(address)["iss"] == acme.issuer
        address = await acme.sign_in(await begin(browser), "newcomer")
        assert (await come_back(browser, address.replace("iss=", "iss=x"))).status_code == 422
        address = await acme.sign_in(await begin(browser), "newcomer")
        assert (await come_back(browser, address.partition("&iss=")[0])).status_code == 422, "it promised to name itself"
        address = await acme.sign_in(await begin(browser), "newcomer")
        assert (await come_back(browser, address.replace("code=", "code=x"))).status_code == 422, "a code it never gave"

    async def test_a_code_that_was_spent_elsewhere_is_worth_nothing(
        self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser
    ) -> None:
        mine, victim = open_browser(), open_browser()
        stolen = query_of(await acme.sign_in(await begin(mine), "newcomer"))["code"]
        honest = query_of(await acme.sign_in(await begin(victim), "newcomer"))
        answer = await victim.get("/sign-in/with/acme/callback", params=honest | {"code": stolen})
        assert answer.status_code == 422, "PKCE binds the code to the browser that asked"

    async def test_a_code_that_has_expired_at_the_provider_is_refused(
        self, providers: None, acme: ForeignProvider, browser: Browser
    ) -> None:
        address = await acme.sign_in(await begin(browser), "newcomer")
        await acme.shift_clock(seconds=61)
        try:
            answer = await come_back(browser, address)
        finally:
            await acme.shift_clock(seconds=0)
        assert answer.status_code == 422
        assert "used already, or it is too old" in text_of(answer)

    async def test_two_first_sign_ins_at_one_moment_make_one_person(self, database: object, superuser: psycopg.Connection) -> None:
        provider = Provider(key="acme", name="Acme", client_id="c", client_secret="s", new_people=True, domains=["corp.test"])
        proof = Proof(issuer="https://idp.example", subject="1", email="new@corp.test", email_verified=True)

        async def arrive() -> Person | None:
            async with unit_of_work(None) as session:
                return await service.person_for(session, provider, proof)

        async with unit_of_work(None) as session:
            first = await service.person_for(session, provider, proof)
            second = asyncio.create_task(arrive())
            waiting = "select count(*) from pg_locks where not granted and locktype = 'transactionid'"
            while superuser.execute(waiting).fetchone() == (0,):
                await asyncio.sleep(0.005)
        found = await second
        assert first is not None
        assert found is not None
        assert found.id == first.id
        assert superuser.execute("select count(*) from person where email_lc = 'new@corp.test'").fetchone() == (1,)

    async def test_two_providers_are_not_mixed_up(
        self, providers: None, acme: ForeignProvider, other: ForeignProvider, monkeypatch: pytest.MonkeyPatch, browser: Browser
    ) -> None:
        rule = {"new_people": True, "domains": ["corp.test"]}
        with monkeypatch.context() as patch:
            configure(patch, {"key": "acme", "issuer": acme.issuer, **rule}, {"key": "other", "issuer": other.issuer, **rule})
            asked = query_of(await begin(browser, "acme"))
            theirs = await other.sign_in(await begin(browser, "other"), "newcomer")
            mixed = query_of(theirs) | {"state": asked["state"]}
            assert (await browser.get("/sign-in/with/acme/callback", params=mixed)).status_code == 422
            crossed = query_of(theirs)
            assert (await browser.get("/sign-in/with/acme/callback", params=crossed)).status_code == 422
            assert (await come_back(browser, theirs)).status_code == 303

    async def test_an_address_after_it_stays_ours(self, providers: None, acme: ForeignProvider, browser: Browser) -> None:
        answer = await browser.get("/sign-in/with/acme?next=https://evil.example/")
        address = await acme.sign_in(answer.headers["location"], "newcomer")
        assert (await come_back(browser, address)).headers["location"] == "/sign-in/enrol?next=/"


class TestSecondFactorElsewhere:
    async def test_a_provider_that_ignores_what_was_asked_does_not_get_away_with_it(
        self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser, ines: Person
    ) -> None:
        await connect(open_browser(), acme, "ines", "lax")
        browser = open_browser()
        assert "acr_values" in query_of(await begin(browser, "lax"))
        answer = await sign_in(browser, acme, "ines", "lax")
        assert answer.headers["location"].startswith("/sign-in/second-factor")

    async def test_one_that_is_proven_counts_where_it_may(self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser) -> None:
        async with unit_of_work(None) as session:
            await make_person(session, email="strong@example.test")
        await connect(open_browser(), acme, "strong", "lax")
        trusting, strict = open_browser(), open_browser()
        assert (await sign_in(trusting, acme, "strong", "lax")).headers["location"] == "/security"
        assert (await trusting.get("/security")).status_code == 200
        assert (await sign_in(strict, acme, "strong", "acme")).headers["location"].startswith("/sign-in/second-factor")

    async def test_its_factor_is_as_old_as_it_says_and_not_as_old_as_the_sign_in(self, ines: Person, superuser: psycopg.Connection) -> None:
        lax = Provider(key="lax", name="Lax", client_id=CLIENT, client_secret=SECRET, issuer="https://lax.test", accept_mfa=True)
        ages = []
        for said in (timedelta(minutes=14), timedelta(seconds=-20)):
            moment = int((clock.now() - said).timestamp())
            proof = Proof(issuer=lax.issuer, subject="7", amr=["mfa"], auth_time=moment)
            async with unit_of_work(None) as session:
                _, complete = await service.open_session(session, lax, proof, ines, place=Place())
            assert complete
            row = superuser.execute("select now() - factor_at from web_session order by created_at desc limit 1").fetchone()
            ages.append(row[0])  # type: ignore[index]
        assert timedelta(minutes=14) <= ages[0] < timedelta(minutes=15)
        assert timedelta(0) <= ages[1] < timedelta(minutes=1), "never in the future, whatever its clock says"

    async def test_a_passkey_completes_it_for_somebody_without_an_app(
        self, providers: None, acme: ForeignProvider, browser: Browser, superuser: psycopg.Connection
    ) -> None:
        async with unit_of_work(None) as session:
            person = await make_person(session, email="ines@example.test", enrolled=False)
            await service.link(session, PersonId(person.id), acme.issuer, "ines", email=person.email)
        key = SoftKey()
        await key.belong_to(PersonId(person.id))
        answer = await sign_in(browser, acme, "ines")
        assert answer.headers["location"].startswith("/sign-in/second-factor")
        assert "Passkey or security key" in text_of(await browser.follow(answer))
        asked = await browser.post("/passkeys/ask")
        answer = await browser.post("/sign-in/second-factor", {"code": key.answer(asked.text), "next": "/security"})
        assert answer.headers["location"] == "/security"
        assert (await browser.get("/security")).status_code == 200


class TestKeys:
    async def test_a_new_key_is_fetched_but_not_again_and_again(
        self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser
    ) -> None:
        assert (await sign_in(open_browser(), acme, "newcomer")).status_code == 303
        await acme.rotate_keys()
        assert (await sign_in(open_browser(), acme, "newcomer")).status_code == 422, "looked a moment ago"
        with clock.travel(timedelta(seconds=31)):
            assert (await sign_in(open_browser(), acme, "newcomer")).status_code == 303


@pytest_asyncio.fixture
async def notices() -> AsyncIterator["asyncio.Queue[str]"]:
    """What the provider posts to the address of its logout notices."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        queue.put_nowait(parse_qs((await reader.readexactly(length)).decode())["logout_token"][0])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", LOGOUT_PORT)
    yield queue
    server.close()
    await server.wait_closed()


class TestSigningOut:
    async def test_here_leads_to_there_and_there_ends_here(
        self, providers: None, acme: ForeignProvider, open_browser: OpenBrowser, notices: "asyncio.Queue[str]"
    ) -> None:
        browser, twin = open_browser(), open_browser()
        async with httpx2.AsyncClient() as window:
            for one in (twin, browser):
                await one.follow(await come_back(one, await acme.sign_in(await begin(one), "newcomer", client=window)))
            page = await browser.follow(await browser.post("/sign-out"))
            assert "Sign out of Acme too" in text_of(page)
            address = page.text.partition(f'href="{acme.issuer}')[2].partition('"')[0].replace("&amp;", "&")
            assert {"id_token_hint", "state", "post_logout_redirect_uri"} <= query_of(address).keys()
            asked = await window.get(acme.issuer + address)
            secret = asked.text.partition('name="xsrf" value="')[2].partition('"')[0]
            answer = await window.post(f"{acme.issuer}/session/end/confirm", data={"xsrf": secret, "logout": "yes"})
            assert answer.headers["location"].startswith("http://127.0.0.1:8000/sign-in/signed-out?state=")
            assert "here and there" in text_of(await browser.follow(await come_back(browser, answer.headers["location"])))
        token = await asyncio.wait_for(notices.get(), 5)
        assert (await twin.get("/sign-in/enrol")).status_code == 200
        notice = await open_browser().post("/sign-in/with/acme/signed-out", {"logout_token": token})
        assert (notice.status_code, notice.headers["cache-control"]) == (200, "no-store")
        assert (await twin.get("/sign-in/enrol")).status_code == 303, "signed out there, so signed out here"
        again = await open_browser().post("/sign-in/with/acme/signed-out", {"logout_token": token})
        assert again.status_code == 400
        assert (await open_browser().post("/sign-in/with/acme/signed-out", {"logout_token": token + "x"})).status_code == 400

    async def test_a_provider_that_was_taken_out_of_the_settings_keeps_nobody_from_leaving(
        self, providers: None, acme: ForeignProvider, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await browser.follow(await sign_in(browser, acme, "newcomer"))
        with monkeypatch.context() as patch:
            configure(patch)
            answer = await browser.follow(await browser.post("/sign-out"))
            assert (answer.status_code, str(answer.url.path)) == (200, "/sign-in")
            assert "You are signed out" in text_of(answer)
