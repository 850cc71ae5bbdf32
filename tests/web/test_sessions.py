"""Sessions: nobody's id is adopted, ids change when somebody proves who they are, and every session ends."""

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from litestar import Litestar

from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import PersonId, public_id
from app.identity import service
from app.tenancy.domain import Role
from app.web import cookies, sessions
from tests.support.factories.identity import PASSWORD, totp_code
from tests.support.factories.tenancy import Tenant, make_member
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


async def sign_in(browser: Browser, email: str, *, steps: int = 0) -> None:
    await browser.get("/sign-in")
    answer = await browser.post("/sign-in", {"email": email, "password": PASSWORD})
    await browser.follow(answer)
    answer = await browser.post("/sign-in/second-factor", {"code": totp_code(steps=steps)})
    assert answer.status_code == 303, text_of(answer)


class TestFixation:
    async def test_a_planted_id_is_never_adopted(self, browser: Browser, tenant: Tenant, owner: Browser) -> None:
        planted = "attackerchosen" * 3
        browser.hold(planted)
        answer = await browser.get("/sign-in")
        assert f"{cookies.session_name()}=;" in answer.headers["set-cookie"], "the browser must be told to forget it"
        browser.hold(planted)
        await sign_in(browser, tenant.owner.email)
        assert browser.session_cookie not in {planted, None}
        other = browser.__class__(browser.app)
        other.hold(planted)
        assert (await other.get("/security")).headers["location"].startswith("/sign-in")
        await other.close()

    async def test_the_id_changes_at_the_password_and_at_the_second_factor(self, browser: Browser, tenant: Tenant) -> None:
        await browser.get("/sign-in")
        await browser.follow(await browser.post("/sign-in", {"email": tenant.owner.email, "password": PASSWORD}))
        after_password = browser.session_cookie
        await browser.post("/sign-in/second-factor", {"code": totp_code()})
        after_factor = browser.session_cookie
        assert after_password
        assert after_factor
        assert after_password != after_factor
        browser.hold(after_password)
        assert (await browser.get("/security")).status_code == 303, "the id from before the second factor is dead"

    async def test_only_the_hash_is_stored(self, owner: Browser, superuser: psycopg.Connection) -> None:
        cookie = owner.session_cookie
        assert cookie is not None
        stored = superuser.execute("select count(*) from web_session where digest = sha256(%s::bytea)", [cookie.encode()]).fetchone()
        dump = superuser.execute("select string_agg(web_session::text, ' ') from web_session").fetchone()
        assert stored == (1,)
        assert dump is not None
        assert cookie not in dump[0]
        assert cookie.encode().hex() not in dump[0]


class TestEnds:
    async def test_after_fifteen_quiet_minutes(self, owner: Browser) -> None:
        with clock.travel(timedelta(minutes=14, seconds=58)):
            assert (await owner.get("/security")).status_code == 200
            # that visit counts: the quiet time starts again
            with clock.travel(timedelta(minutes=14, seconds=58)):
                assert (await owner.get("/security")).status_code == 200
                with clock.travel(timedelta(minutes=15, seconds=1)):
                    assert (await owner.get("/security")).headers["location"] == "/sign-in?next=/security"

    async def test_after_an_hour_where_the_person_may_only_read(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        reader = await make_member(tenant, Role.VIEWER)
        browser = open_browser()
        await browser.adopt(PersonId(reader.id), merchant_id=tenant.id)
        with clock.travel(timedelta(minutes=59, seconds=58)):
            page = text_of(await browser.get("/security"))
            assert "ends after 60 quiet minutes, and after 12 hours" in page
        with clock.travel(timedelta(minutes=120)):
            assert (await browser.get("/security")).status_code == 303

    async def test_the_shorter_time_holds_at_once_when_one_role_anywhere_may_do_more(
        self, open_browser: OpenBrowser, tenant: Tenant
    ) -> None:
        reader = await make_member(tenant, Role.VIEWER)
        browser = open_browser()
        await browser.adopt(PersonId(reader.id), merchant_id=tenant.id)
        await make_member(tenant, Role.FINANCE, sandbox=True, person=reader)
        assert "ends after 15 quiet minutes, the shorter time" in text_of(await browser.get("/security"))
        with clock.travel(timedelta(minutes=15, seconds=1)):
            assert (await browser.get("/security")).status_code == 303

    async def test_after_twelve_hours_however_busy(self, owner: Browser) -> None:
        for minutes in range(10, 12 * 60, 10):
            with clock.travel(timedelta(minutes=minutes)):
                assert (await owner.get("/security")).status_code == 200, minutes
        with clock.travel(timedelta(hours=12, seconds=1)):
            assert (await owner.get("/security")).status_code == 303

    async def test_when_the_person_is_disabled(self, owner: Browser, tenant: Tenant) -> None:
        async with unit_of_work(None) as session:
            await service.disable_person(session, PersonId(tenant.owner.id))
        assert (await owner.get("/security")).status_code == 303

    async def test_at_sign_out_on_the_server_too(self, owner: Browser) -> None:
        cookie = owner.session_cookie
        answer = await owner.post("/sign-out")
        assert answer.headers["clear-site-data"] == '"cache", "storage"'
        assert owner.session_cookie is None
        owner.hold(str(cookie))
        assert (await owner.get("/security")).status_code == 303, "a replayed cookie is worth nothing"


class TestListAndRevoke:
    async def test_one_other_session_is_ended(self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        phone = open_browser()
        await phone.adopt(PersonId(tenant.owner.id), merchant_id=tenant.id)
        async with unit_of_work(None) as session:
            newest = max(await sessions.sessions_of(session, PersonId(tenant.owner.id)), key=lambda row: row.created_at)
        page = await owner.get("/security")
        assert public_id("ses", newest.id) in page.text
        answer = await owner.post(f"/security/sessions/{public_id('ses', newest.id)}/end")
        assert answer.status_code == 303
        assert (await phone.get("/security")).status_code == 303, "the phone is out"
        assert (await owner.get("/security")).status_code == 200, "this browser is not"

    async def test_all_others_are_ended(self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        others = [open_browser() for _ in range(3)]
        for other in others:
            await other.adopt(PersonId(tenant.owner.id))
        await owner.post("/security/sessions/end-others")
        assert [(await other.get("/security")).status_code for other in others] == [303, 303, 303]
        assert (await owner.get("/security")).status_code == 200

    async def test_somebody_elses_session_is_not_found(self, owner: Browser, open_browser: OpenBrowser) -> None:
        from tests.support.factories.tenancy import make_tenant

        stranger = await make_tenant()
        other = open_browser()
        await other.adopt(PersonId(stranger.owner.id))
        async with unit_of_work(None) as session:
            row = (await sessions.sessions_of(session, PersonId(stranger.owner.id)))[0]
        answer = await owner.post(f"/security/sessions/{public_id('ses', row.id)}/end")
        assert answer.status_code == 404
        assert (await other.get("/security")).status_code == 200


class TestCookie:
    async def test_flags_on_http(self, browser: Browser, tenant: Tenant) -> None:
        await browser.get("/sign-in")
        answer = await browser.post("/sign-in", {"email": tenant.owner.email, "password": PASSWORD})
        cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("countinghouse="))
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie

    async def test_over_https_the_name_binds_it_to_this_host(
        self, monkeypatch: pytest.MonkeyPatch, browser: Browser, tenant: Tenant
    ) -> None:
        monkeypatch.setattr(cookies, "secure", lambda: True)
        page = await browser.get("/sign-in")
        seed = page.headers["set-cookie"]
        assert seed.startswith("__Host-countinghouse-form=")
        assert "; Secure" in seed
        assert "Domain" not in seed
        assert "; Path=/;" in seed
        # the client keeps Secure cookies from http to itself, so they are sent by hand
        sent = {"cookie": seed.split(";")[0]}
        answer = await browser.post("/sign-in", {"email": tenant.owner.email, "password": PASSWORD}, headers=sent)
        cookie = next(c for c in answer.headers.get_list("set-cookie") if "countinghouse=" in c)
        assert cookie.startswith("__Host-countinghouse=")
        assert "; Secure" in cookie
        assert "HttpOnly" in cookie
        assert "Path=/" in cookie

    async def test_the_id_stands_in_no_page(self, owner: Browser) -> None:
        cookie = owner.session_cookie
        assert cookie
        assert cookie not in (await owner.get("/security")).text

    async def test_production_refuses_to_start_on_http(self, monkeypatch: pytest.MonkeyPatch, app: Litestar) -> None:
        import msgspec

        from app.core.settings import settings
        from app.web import requests
        from tests.support.toy import create_toy_app

        production = msgspec.structs.replace(settings(), environment="production")
        monkeypatch.setattr(requests, "settings", lambda: production)
        with pytest.raises(RuntimeError, match="https"):
            create_toy_app()
