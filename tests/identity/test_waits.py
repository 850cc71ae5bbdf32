"""Guessing passwords: tries that cost a wait, per account and per address, and never those of somebody else."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from app.core import clock
from app.core.db import unit_of_work
from tests.identity.test_sign_in import enter_password
from tests.support.factories.identity import PASSWORD, make_person
from tests.support.factories.tenancy import Tenant
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


def _tomorrow() -> datetime:
    """The beginning of a day in UTC, so that a test of some hours does not see two of them."""
    return clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


class TestThrottle:
    async def test_the_fifth_wrong_try_costs_a_wait_that_ends(self, browser: Browser, tenant: Tenant) -> None:
        statuses = [await enter_password(browser, tenant.owner.email, "wrong") for _ in range(6)]
        assert statuses == [422] * 5 + [429]
        answer = await browser.post("/sign-in", {"email": tenant.owner.email, "password": PASSWORD})
        assert answer.status_code == 429, "the right password waits as well"
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        assert "Too many wrong tries" in text_of(answer)
        with clock.travel(timedelta(seconds=6)):
            assert await enter_password(browser, tenant.owner.email) == 303

    async def test_ten_wrong_tries_cost_half_an_hour(self, browser: Browser, tenant: Tenant) -> None:
        passed = timedelta(0)
        for _ in range(10):
            passed += timedelta(minutes=2)
            with clock.travel(passed):
                assert await enter_password(browser, tenant.owner.email, "wrong") == 422
        with clock.travel(passed + timedelta(minutes=29, seconds=59)):
            assert await enter_password(browser, tenant.owner.email) == 429
        with clock.travel(passed + timedelta(minutes=30, seconds=2)):
            assert await enter_password(browser, tenant.owner.email) == 303
            assert await enter_password(browser, tenant.owner.email, "wrong") == 422, "and the count begins anew"

    async def test_a_wait_is_not_prolonged_from_outside(self, browser: Browser, tenant: Tenant) -> None:
        for _ in range(6):
            await enter_password(browser, tenant.owner.email, "wrong")
        with clock.travel(timedelta(seconds=2)):
            assert [await enter_password(browser, tenant.owner.email, "wrong") for _ in range(5)] == [429] * 5
        with clock.travel(timedelta(seconds=6)):
            assert await enter_password(browser, tenant.owner.email) == 303

    async def test_a_hundred_at_once_are_five_tries(self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        from app.identity import flows, service
        from app.identity.domain import SignInRefused, TooManyTries

        # at once means at one moment, however long a slow machine takes for it: the wait after the fifth is four seconds
        moment = clock.now()
        monkeypatch.setattr(service, "now", lambda: moment)

        async def guess(number: int) -> type[Exception]:
            try:
                await flows.sign_in(email=tenant.owner.email, password=f"guess {number}", address=f"198.51.100.{number}", user_agent="")
            except (SignInRefused, TooManyTries) as refused:
                return type(refused)
            raise AssertionError("a guess got in")

        outcomes = await asyncio.gather(*(guess(number) for number in range(100)))
        assert outcomes.count(SignInRefused) == 5

    async def test_nobody_else_is_kept_out(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        attacker, other = open_browser("203.0.113.1"), open_browser("203.0.113.2")
        for _ in range(6):
            await enter_password(attacker, tenant.owner.email, "wrong")
        async with unit_of_work(None) as session:
            person = await make_person(session)
        assert await enter_password(other, person.email) == 303

    async def test_one_address_cannot_try_many_accounts(self, open_browser: OpenBrowser) -> None:
        attacker = open_browser("203.0.113.7")
        statuses = [await enter_password(attacker, f"person-{n}@example.test", "wrong") for n in range(25)]
        assert 429 in statuses
        assert statuses[:15] == [422] * 15

    async def test_an_account_of_ones_own_pays_for_no_tries_against_others(
        self, open_browser: OpenBrowser, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every second try is somebody's own right password, which must not make the address look new."""
        from app.identity import service

        statuses = []
        # at one moment, however long a slow machine takes for it: the first wait is four seconds
        moment = clock.now()
        monkeypatch.setattr(service, "now", lambda: moment)
        for number in range(26):
            attacker = open_browser("203.0.113.8")
            statuses.append(await enter_password(attacker, f"stranger-{number}@example.test", "wrong"))
            statuses.append(await enter_password(attacker, tenant.owner.email))
        assert statuses.count(422) <= 20, "as many as without an account of one's own"
        assert statuses[-2:] == [429, 429]

    async def test_tries_while_an_address_waits_are_no_credit_for_it(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        attacker, passed = open_browser("203.0.113.9"), _tomorrow()
        for number in range(26):
            with clock.travel(passed := passed + timedelta(minutes=1)):
                await enter_password(attacker, f"stranger-{number}@example.test", "wrong")
        for _ in range(10):
            with clock.travel(passed := passed + timedelta(minutes=1)):
                assert await enter_password(attacker, tenant.owner.email) == 429
        passed += timedelta(minutes=31)
        with clock.travel(passed):
            assert await enter_password(open_browser("203.0.113.9"), tenant.owner.email) == 303
        with clock.travel(passed + timedelta(minutes=1)):
            assert await enter_password(open_browser("203.0.113.9"), "stranger-1@example.test", "wrong") == 422
            assert await enter_password(open_browser("203.0.113.9"), "stranger-2@example.test", "wrong") == 429, (
                "the wait is as long as before"
            )

    async def test_an_office_is_forgiven_its_slips(self, open_browser: OpenBrowser) -> None:
        for _ in range(8):
            async with unit_of_work(None) as session:
                person = await make_person(session)
            browser = open_browser("203.0.113.10")
            statuses = [await enter_password(browser, person.email, password) for password in ("a slip", "another slip", PASSWORD)]
            assert statuses == [422, 422, 303]

    async def test_an_address_starts_anew_each_day(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        """Otherwise an office that is busy around the clock would wait for the typing errors of weeks."""
        start = _tomorrow()
        for number in range(26):
            with clock.travel(start + timedelta(minutes=35 * number)):
                browser = open_browser("203.0.113.11")
                assert await enter_password(browser, f"stranger-{number}@example.test", "wrong") == 422
        with clock.travel(start + timedelta(hours=24)):
            assert await enter_password(open_browser("203.0.113.11"), "stranger-26@example.test", "wrong") == 422
            assert await enter_password(open_browser("203.0.113.11"), tenant.owner.email) == 303

    async def test_the_addresses_of_one_network_count_together(self, open_browser: OpenBrowser) -> None:
        statuses = [await enter_password(open_browser(f"2001:db8:1:2::{n:x}"), f"stranger-{n}@example.test", "wrong") for n in range(1, 26)]
        assert 429 in statuses
