"""Rate limits: never more than the limit, in however many processes, and closed when the database is."""

import asyncio
import multiprocessing
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from app.core import clock
from app.core.settings import settings
from app.web import limits, requests
from tests.support.factories.api_access import make_key
from tests.support.factories.tenancy import Tenant
from tests.support.web import Browser

OpenBrowser = Callable[..., Browser]


@pytest.fixture(autouse=True)
def _empty(database: object) -> None:
    limits.forget_leases()


def _burst(number: int, url: str, moment: str, answers: "multiprocessing.SimpleQueue[int]") -> None:
    """In a process of its own: forty requests at once against a limit of fifty."""
    import os
    from datetime import datetime

    os.environ["DATABASE_URL"] = url
    settings.cache_clear()

    async def run() -> int:
        limit = limits.Limit(name="test", requests=50, chunk=7)
        with clock.travel(datetime.fromisoformat(moment)):
            verdicts = [await limits.count(limit, "somebody") for _ in range(40)]
        return sum(verdict.admitted for verdict in verdicts)

    answers.put(asyncio.run(run()))


class TestCount:
    @pytest.mark.parametrize("chunk", [1, 3, 10, 100])
    async def test_no_more_than_the_limit(self, chunk: int) -> None:
        limit = limits.Limit(name="test", requests=20, chunk=chunk)
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=5)):
            admitted = [(await limits.count(limit, "a")).admitted for _ in range(60)]
        assert admitted == [True] * 20 + [False] * 40

    async def test_concurrent_requests_of_one_process(self) -> None:
        limit = limits.Limit(name="test", requests=20)
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=5)):
            verdicts = await asyncio.gather(*(limits.count(limit, "a") for _ in range(100)))
        assert sum(verdict.admitted for verdict in verdicts) == 20

    async def test_several_processes(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        answers = spawn.SimpleQueue()
        moment = (limits.window_of(clock.now(), 60) + timedelta(minutes=2)).isoformat()
        workers = [spawn.Process(target=_burst, args=(n, settings().database_url, moment, answers)) for n in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            await asyncio.to_thread(worker.join)
        admitted = sum(answers.get() for _ in workers)
        # what a process leased and did not use is lost, never used twice
        assert 50 - 3 * 6 <= admitted <= 50

    async def test_the_next_window_starts_fresh(self) -> None:
        limit = limits.Limit(name="test", requests=2)
        now = limits.window_of(clock.now(), 60)
        with clock.travel(now + timedelta(seconds=59)):
            assert [(await limits.count(limit, "a")).admitted for _ in range(3)] == [True, True, False]
        with clock.travel(now + timedelta(seconds=60)):
            assert (await limits.count(limit, "a")).admitted

    async def test_a_clock_that_is_behind_counts_in_the_others_window(self) -> None:
        limit, start = limits.Limit(name="test", requests=3), limits.window_of(clock.now(), 60)
        admitted = []
        for seconds in (60, 59, 60, 59, 61):
            with clock.travel(start + timedelta(seconds=seconds)):
                admitted.append((await limits.count(limit, "a")).admitted)
        assert admitted == [True, True, True, False, False]

    async def test_a_clock_that_was_far_ahead_locks_nobody_out(self) -> None:
        limit = limits.Limit(name="test", requests=1)
        with clock.travel(timedelta(days=300)):
            assert (await limits.count(limit, "a")).admitted
        assert (await limits.count(limit, "a")).admitted

    async def test_others_are_counted_apart(self) -> None:
        limit = limits.Limit(name="test", requests=1)
        assert (await limits.count(limit, "a")).admitted
        assert (await limits.count(limit, "b")).admitted

    async def test_most_requests_ask_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked, lookup = [], limits.call

        async def counted(*args: object) -> object:
            asked.append(1)
            return await lookup(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(limits, "call", counted)
        limit = limits.Limit(name="test", requests=1000, chunk=100)
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=5)):
            for _ in range(300):
                await limits.count(limit, "a")
        assert len(asked) == 3


class TestOverHttp:
    async def test_an_address_is_turned_away_with_a_time_to_come_back(
        self, open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(requests, "settings", lambda: msgspec.structs.replace(settings(), requests_per_minute=3))
        browser, neighbour = open_browser("198.51.100.1"), open_browser("198.51.100.2")
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=20)):
            answers = [await browser.get("/sign-in", headers={"x-forwarded-for": f"192.0.2.{n}"}) for n in range(5)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429], "a made-up X-Forwarded-For helps nobody"
            assert 39 <= int(answers[-1].headers["retry-after"]) <= 41
            assert answers[0].headers["ratelimit-remaining"] == "2"
            assert (await neighbour.get("/sign-in")).status_code == 200

    async def test_a_key_has_its_own_budget(self, open_browser: OpenBrowser, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests, "settings", lambda: msgspec.structs.replace(settings(), api_requests_per_minute=2))
        browser, keys = open_browser(), [(await make_key(tenant.id))[1] for _ in range(2)]
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=5)):
            statuses = [
                (await browser.get("/v1/toys/one", headers={"authorization": f"Bearer {keys[n // 3]}"})).status_code for n in range(6)
            ]
        assert statuses == [200, 200, 429, 200, 200, 429]

    async def test_guessing_keys_costs_an_address_a_wait_and_no_valid_key_there(
        self, open_browser: OpenBrowser, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(requests, "settings", lambda: msgspec.structs.replace(settings(), requests_per_minute=3))
        browser, neighbour, key = open_browser("198.51.100.3"), open_browser("198.51.100.4"), (await make_key(tenant.id))[1]
        tries = ["", "Basic eDp5", "Bearer guessed", "Bearer ch_test_guessed", "Bearer ch_live_guessed"]
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=20)):
            answers = [await browser.get("/v1/toys/one", headers={"authorization": one}) for one in tries]
            assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
            refused = answers[-1]
            assert refused.headers["content-type"].startswith("application/problem+json")
            assert refused.json()["code"] == "too_many_requests"
            assert 39 <= int(refused.headers["retry-after"]) <= 41
            assert (await browser.get("/v1/toys/one", headers={"authorization": f"Bearer {key}"})).status_code == 200, "a key that is known"
            assert (await browser.get("/sign-in")).status_code == 200, "people in the same office go on working"
            assert (await neighbour.get("/v1/toys/one")).status_code == 401

    async def test_a_guess_that_is_turned_away_asks_for_no_limit_again(
        self, open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, lookup = [], limits.call

        async def counted(*args: object) -> object:
            asked.append(1)
            return await lookup(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(limits, "call", counted)
        monkeypatch.setattr(requests, "settings", lambda: msgspec.structs.replace(settings(), requests_per_minute=2))
        browser = open_browser("198.51.100.5")
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=20)):
            for _ in range(20):
                await browser.get("/v1/toys/one")
        assert len(asked) == 2

    async def test_without_the_database_nobody_is_admitted(self, open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
        from sqlalchemy.exc import OperationalError

        async def gone(*_: object) -> None:
            raise OperationalError("select", {}, Exception("the connection is lost"))

        monkeypatch.setattr(limits, "call", gone)
        answer = await open_browser().get("/sign-in", headers={"accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert "connection is lost" not in answer.text
