"""Signing in over HTTP: two factors, codes that work once, waits that grow, and answers that tell nothing."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from time import perf_counter
from typing import ClassVar

import psycopg
import pytest

from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.identity.models import Person
from tests.support.factories.identity import PASSWORD, TOTP_SECRET, make_person, totp_code
from tests.support.factories.tenancy import Tenant
from tests.support.post import letters
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


async def newcomer() -> Person:
    async with unit_of_work(None) as session:
        return await make_person(session, enrolled=False)


async def enter_password(browser: Browser, email: str, password: str = PASSWORD) -> int:
    await browser.get("/sign-in")
    answer = await browser.post("/sign-in", {"email": email, "password": password})
    await browser.follow(answer)
    return answer.status_code


class TestPassword:
    async def test_the_address_is_read_without_regard_to_case(self, browser: Browser, tenant: Tenant) -> None:
        assert await enter_password(browser, f"  {tenant.owner.email.upper()} ") == 303

    @pytest.mark.parametrize("password", [PASSWORD.upper(), PASSWORD + "x", PASSWORD[:-1], "x" * 256])
    async def test_the_password_is_read_exactly(self, browser: Browser, tenant: Tenant, password: str) -> None:
        assert await enter_password(browser, tenant.owner.email, password) == 422

    async def test_spaces_and_any_letters_belong_to_it(self, browser: Browser) -> None:
        password = "  Žluťoučký kůň 🐎 " + "long" * 25 + "  "
        async with unit_of_work(None) as session:
            person = await make_person(session, password=password)
        assert await enter_password(browser, person.email, password.strip()) == 422
        assert await enter_password(browser, person.email, password) == 303

    async def test_an_old_password_is_still_one(self, browser: Browser, tenant: Tenant) -> None:
        with clock.travel(timedelta(days=400)):
            assert await enter_password(browser, tenant.owner.email) == 303

    async def test_unknown_and_wrong_look_the_same(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        texts, headers = [], []
        for email in (tenant.owner.email, "nobody@example.test"):
            browser = open_browser()
            await browser.get("/sign-in")
            answer = await browser.post("/sign-in", {"email": email, "password": "not the password"})
            texts.append(text_of(answer).replace(email, "X"))
            headers.append((answer.status_code, sorted(answer.headers.keys())))
        assert texts[0] == texts[1]
        assert headers[0] == headers[1]
        assert "The e-mail address or the password is wrong." in texts[0]

    async def test_unknown_and_wrong_take_the_same_time(self, database: object, tenant: Tenant) -> None:
        from app.identity import service

        async def spent(password_hash: str | None) -> float:
            times = []
            for _ in range(7):
                started = perf_counter()
                assert not await service.password_matches("not the password", password_hash)
                times.append(perf_counter() - started)
            return median(times)

        await service.password_matches("warm up", None)
        known, unknown = await spent(tenant.owner.password_hash), await spent(None)
        assert 0.4 < known / unknown < 2.5, (known, unknown)

    async def test_the_hash_is_argon2id_with_enough_memory(self, tenant: Tenant) -> None:
        found = re.match(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=1\$", tenant.owner.password_hash)
        assert found
        assert int(found[1]) >= 19 * 1024
        assert int(found[2]) >= 2

    async def test_signing_in_again_leaves_the_first_session(self, owner: Browser, tenant: Tenant) -> None:
        first = owner.session_cookie
        await owner.post("/sign-in", {"email": tenant.owner.email, "password": PASSWORD})
        owner.hold(str(first))
        assert (await owner.get("/security")).status_code == 303

    async def test_a_disabled_person_is_nobody(self, browser: Browser, tenant: Tenant) -> None:
        from app.identity import service

        async with unit_of_work(None) as session:
            await service.disable_person(session, PersonId(tenant.owner.id))
        assert await enter_password(browser, tenant.owner.email) == 422


class TestSecondFactor:
    async def test_a_code_completes_the_sign_in(self, browser: Browser, tenant: Tenant) -> None:
        await enter_password(browser, tenant.owner.email)
        answer = await browser.post("/sign-in/second-factor", {"code": totp_code(), "next": "/team"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/team")
        assert (await browser.get("/team")).status_code == 200

    @pytest.mark.parametrize("steps", [-2, 2, 5])
    async def test_an_old_or_early_code_is_refused(self, browser: Browser, tenant: Tenant, steps: int) -> None:
        await enter_password(browser, tenant.owner.email)
        assert (await browser.post("/sign-in/second-factor", {"code": totp_code(steps=steps)})).status_code == 422

    async def test_the_same_code_works_once(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        code, statuses = totp_code(), []
        for _ in range(2):
            browser = open_browser()
            await enter_password(browser, tenant.owner.email)
            statuses.append((await browser.post("/sign-in/second-factor", {"code": code})).status_code)
        assert statuses == [303, 422]

    async def test_forty_at_once_are_one(self, database: object, tenant: Tenant) -> None:
        from app.identity import service
        from app.identity.domain import CodeRefused

        code = totp_code()

        async def use() -> bool:
            try:
                async with unit_of_work(None) as session:
                    await service.use_totp(session, PersonId(tenant.owner.id), code=code)
            except CodeRefused:
                return False
            return True

        assert sum(await asyncio.gather(*(use() for _ in range(40)))) == 1

    async def test_wrong_codes_cost_a_wait(self, browser: Browser, tenant: Tenant) -> None:
        await enter_password(browser, tenant.owner.email)
        statuses = [(await browser.post("/sign-in/second-factor", {"code": "000000"})).status_code for _ in range(6)]
        assert statuses == [422] * 5 + [429]

    async def test_the_secret_is_sealed(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        stored = superuser.execute("select totp_secret from person where id = %s", [tenant.owner.id]).fetchone()
        assert stored
        assert stored[0].startswith("v1.")
        assert TOTP_SECRET not in stored[0]

    async def test_a_secret_moved_to_another_person_does_not_open(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        from app.core.secrets import SecretUnreadable
        from app.identity import service

        async with unit_of_work(None) as session:
            other = await make_person(session)
        superuser.execute(
            "update person set totp_secret = (select totp_secret from person where id = %s) where id = %s", [tenant.owner.id, other.id]
        )
        with pytest.raises(SecretUnreadable):
            async with unit_of_work(None) as session:
                await service.use_totp(session, PersonId(other.id), code=totp_code())


class TestEnrolment:
    async def test_nothing_else_is_open_before_it_is_done(self, browser: Browser, database: object) -> None:
        person = await newcomer()
        await enter_password(browser, person.email)
        for path in ("/", "/team", "/security", "/sign-in/second-factor"):
            assert (await browser.get(path)).headers["location"].startswith("/sign-in/enrol"), path

    async def test_a_first_code_turns_it_on_and_shows_the_recovery_codes_once(self, browser: Browser, database: object) -> None:
        person = await newcomer()
        await enter_password(browser, person.email)
        page = await browser.get("/sign-in/enrol")
        assert "<svg" in page.text
        assert "style=" not in page.text
        secret = re.findall(r"data-secret>([A-Z2-7 ]+)<", page.text)[0].replace(" ", "")
        assert len(secret) == 32
        assert (await browser.post("/sign-in/enrol", {"code": "000000"})).status_code == 422
        shown = await browser.post("/sign-in/enrol", {"code": totp_code(secret)})
        codes = re.findall(r"\b[a-z2-9]{6}(?:-[a-z2-9]{6}){3}\b", shown.text)
        assert shown.status_code == 200
        assert len(codes) == 10
        assert (await browser.get("/security")).status_code == 200
        again = await browser.get("/sign-in/enrol")
        assert again.status_code == 303, "the secret is not shown again"
        assert secret not in (await browser.get("/security")).text

    async def test_the_code_that_turned_it_on_is_used(self, open_browser: OpenBrowser, database: object) -> None:
        person, browser, second = await newcomer(), open_browser(), open_browser()
        await enter_password(browser, person.email)
        page = await browser.get("/sign-in/enrol")
        secret = re.findall(r"data-secret>([A-Z2-7 ]+)<", page.text)[0].replace(" ", "")
        # one code for both: on a slow machine the next one may be due before the second browser is there
        code = totp_code(secret)
        await browser.post("/sign-in/enrol", {"code": code})
        await enter_password(second, person.email)
        assert (await second.post("/sign-in/second-factor", {"code": code})).status_code == 422


class TestRecovery:
    async def codes(self, tenant: Tenant) -> list[str]:
        from app.identity import service

        async with unit_of_work(None) as session:
            return await service.renew_recovery_codes(session, PersonId(tenant.owner.id))

    async def test_each_works_once(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        codes, statuses = await self.codes(tenant), []
        for code in (codes[0], codes[0], codes[1].upper().replace("-", " ")):
            browser = open_browser()
            await enter_password(browser, tenant.owner.email)
            await browser.get("/sign-in/recovery")
            statuses.append((await browser.post("/sign-in/recovery", {"code": code})).status_code)
        assert statuses == [303, 422, 303]

    async def test_forty_at_once_are_one(self, tenant: Tenant) -> None:
        from app.identity import service
        from app.identity.domain import CodeRefused

        code = (await self.codes(tenant))[0]

        async def use() -> bool:
            try:
                async with unit_of_work(None) as session:
                    await service.use_recovery_code(session, PersonId(tenant.owner.id), code=code)
            except CodeRefused:
                return False
            return True

        assert sum(await asyncio.gather(*(use() for _ in range(40)))) == 1

    async def test_new_ones_replace_the_old(self, tenant: Tenant, owner: Browser, open_browser: OpenBrowser) -> None:
        old = (await self.codes(tenant))[0]
        shown = await owner.post("/security/recovery-codes")
        new = re.findall(r"\b[a-z2-9]{6}(?:-[a-z2-9]{6}){3}\b", shown.text)
        assert len(new) == 10
        assert (await letters(to=tenant.owner.email))[0].subject == "New recovery codes"
        browser = open_browser()
        await enter_password(browser, tenant.owner.email)
        await browser.get("/sign-in/recovery")
        assert (await browser.post("/sign-in/recovery", {"code": old})).status_code == 422
        assert (await browser.post("/sign-in/recovery", {"code": new[0]})).status_code == 303

    async def test_only_hashes_are_stored(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        codes = await self.codes(tenant)
        dump = str(superuser.execute("select string_agg(recovery_code::text, ' ') from recovery_code").fetchone())
        assert not any(code in dump or code.replace("-", "").encode().hex() in dump for code in codes)

    async def test_it_is_no_step_up(self, owner: Browser, tenant: Tenant) -> None:
        code = (await self.codes(tenant))[0]
        with clock.travel(timedelta(minutes=16)):
            from sqlalchemy import text

            async with unit_of_work(None) as session:
                await session.execute(text("update web_session set last_seen_at = :now"), {"now": clock.now()})
            assert (await owner.post("/toys/rename", {"name": "x", "step_up_code": code})).status_code == 403


class TestChangePassword:
    FORM: ClassVar = {"current_password": PASSWORD, "password": "seven blue kettles hum"}

    async def test_with_the_old_one_and_a_code(self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        phone = open_browser()
        await phone.adopt(PersonId(tenant.owner.id))
        answer = await owner.post("/security/password", self.FORM | {"code": totp_code()})
        assert answer.status_code == 303
        assert (await owner.get("/security")).status_code == 200, "this session goes on"
        assert (await phone.get("/security")).status_code == 303, "the others do not"
        browser = open_browser()
        assert await enter_password(browser, tenant.owner.email) == 422
        assert await enter_password(browser, tenant.owner.email, self.FORM["password"]) == 303

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"current_password": "wrong"}, "present password"),
            ({"code": "000000"}, "code"),
            ({"password": "passwordpassword"}, "tried first"),
            ({"password": "short"}, "at least 15"),
        ],
    )
    async def test_refusals_change_nothing_and_show_no_password(
        self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant, change: dict[str, str], word: str
    ) -> None:
        answer = await owner.post("/security/password", self.FORM | {"code": totp_code()} | change)
        assert answer.status_code == 422
        assert word in text_of(answer)
        assert PASSWORD not in answer.text
        assert self.FORM["password"] not in answer.text
        assert await enter_password(open_browser(), tenant.owner.email) == 303

    async def test_passwords_that_will_not_do_use_up_no_tries(self, owner: Browser, tenant: Tenant) -> None:
        for _ in range(6):
            answer = await owner.post("/security/password", self.FORM | {"code": "000000", "password": "passwordpassword"})
            assert (answer.status_code, "tried first" in text_of(answer)) == (422, True)
        assert (await owner.post("/security/password", self.FORM | {"code": totp_code()})).status_code == 303


class TestPreferences:
    async def test_the_theme_is_kept_for_the_next_page(self, owner: Browser) -> None:
        assert (await owner.post("/preferences/theme", {"theme": "dark", "next": "/team"})).headers["location"] == "/team"
        assert 'data-theme="dark"' in (await owner.get("/team")).text

    async def test_density_too(self, owner: Browser) -> None:
        await owner.post("/preferences/density", {"density": "comfortable"})
        assert 'class="comfortable"' in (await owner.get("/team")).text

    async def test_an_unknown_theme_is_refused(self, owner: Browser) -> None:
        assert (await owner.post("/preferences/theme", {"theme": "purple"})).status_code == 422


class TestNewPeople:
    async def test_an_address_is_taken_once_however_written(self, tenant: Tenant) -> None:
        from app.identity.domain import PersonExists

        with pytest.raises(PersonExists):
            async with unit_of_work(None) as session:
                await make_person(session, email=tenant.owner.email.upper())


class TestTidy:
    async def test_what_has_ended_is_forgotten_and_nothing_else(self, owner: Browser, superuser: psycopg.Connection) -> None:
        from app.identity import flows

        await enter_password(owner, "nobody@example.test", "wrong")
        counts = "select (select count(*) from web_session), (select count(*) from sign_in_throttle), (select count(*) from rate_limit)"
        await flows.tidy()
        assert superuser.execute(counts).fetchone() == (1, 3, 1)
        with clock.travel(timedelta(days=2)):
            await flows.tidy()
        assert superuser.execute(counts).fetchone() == (0, 0, 0)
