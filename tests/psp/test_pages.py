"""The pages of connections as a person sees them: forms from Config, keys never shown, two people where two are asked for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
import pytest_asyncio
from litestar import Litestar
from psycopg import Connection as Sql

from app.core.clock import travel
from app.core.embedded import Urls
from app.core.ids import PersonId
from app.core.settings import settings
from app.psp import api, pages
from app.psp.simulator.domain import DECLINES
from app.tenancy.domain import Role
from app.web import limits
from tests.support.console import soup, words
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.simulator import SimulatedAccount
from tests.support.toy import create_toy_app
from tests.support.web import Browser, text_of

Open = Callable[..., Awaitable[Browser]]


@pytest.fixture(scope="module")
def app(urls: Urls) -> Litestar:
    return create_toy_app(*api.ROUTES, *pages.ROUTES)


@pytest_asyncio.fixture
async def tenant(database: Urls) -> Tenant:
    limits.forget_leases()
    return await make_tenant()


@pytest_asyncio.fixture
async def enter(app: Litestar, tenant: Tenant) -> AsyncIterator[Open]:
    """Open a browser as the owner, or as a new member with a role."""
    opened: list[Browser] = []

    async def open_as(role: Role = Role.OWNER) -> Browser:
        person = tenant.owner if role is Role.OWNER else await make_member(tenant, role)
        browser = Browser(app)
        opened.append(browser)
        await browser.adopt(PersonId(person.id), merchant_id=tenant.id)
        await browser.get("/connections")
        return browser

    yield open_as
    for browser in opened:
        await browser.close()


async def connect(browser: Browser, account: SimulatedAccount, *, name: str = "Main") -> str:
    """Add a connection through the form; gives its path."""
    await browser.get("/connections/new/simulated")
    answer = await browser.post("/connections/new/simulated", {"name": name, **account.settings})
    assert answer.status_code == 303, answer.text
    path: str = answer.headers["location"]
    return path


class TestListConnections:
    async def test_an_empty_list_teaches_the_next_step(self, enter: Open) -> None:
        assert "Connect your first provider" in text_of(await (await enter()).get("/connections"))

    async def test_it_shows_each_connection_with_its_health(self, enter: Open, account: SimulatedAccount) -> None:
        browser = await enter()
        path = await connect(browser, account)
        await browser.post(f"{path}/test")
        page = await browser.get("/connections")
        assert "100.0%" in text_of(page)
        assert path in page.text

    async def test_a_viewer_sees_but_cannot_change(self, enter: Open, account: SimulatedAccount) -> None:
        path = await connect(await enter(), account)
        viewer = await enter(Role.VIEWER)
        shown = await viewer.get(path)
        if shown.status_code == 200:
            assert "Settings and keys" not in shown.text
        for target in (f"{path}/enable", f"{path}/test", f"{path}/settings", "/connections/new/simulated", "/connections/policy"):
            assert (await viewer.post(target, account.settings)).status_code == 403, target


class TestAddConnection:
    async def test_the_form_has_every_field_of_config(self, enter: Open, account: SimulatedAccount) -> None:
        page = await (await enter()).get("/connections/new/simulated")
        for name in (*account.settings, "name"):
            assert f'name="{name}"' in page.text

    async def test_mistakes_are_said_beside_their_fields_and_secrets_are_not_repeated(self, enter: Open) -> None:
        browser = await enter()
        await browser.get("/connections/new/simulated")
        bad = {
            "name": "Main",
            "api_base_url": "nonsense",
            "account": "kept",
            "secret_key": "sk_sim_typedtypedtyped",
            "webhook_secret": "wrong-typed",
        }
        answer = await browser.post("/connections/new/simulated", bad)
        assert answer.status_code == 422
        assert 'value="kept"' in answer.text
        assert "Write it like https://api.example.com" in text_of(answer)
        assert "typedtyped" not in answer.text
        assert "wrong-typed" not in answer.text

    async def test_an_unknown_provider_is_refused(self, enter: Open) -> None:
        assert (await (await enter()).get("/connections/new/acme")).status_code == 422


class TestShowConnection:
    async def test_the_whole_way_from_draft_to_active(self, enter: Open, account: SimulatedAccount) -> None:
        browser = await enter()
        path = await connect(browser, account)
        assert "Not tested yet" in text_of(await browser.get(path))
        tested = await browser.follow(await browser.post(f"{path}/test"))
        assert "The last test succeeded" in text_of(tested)
        enabled = await browser.follow(await browser.post(f"{path}/enable"))
        assert "Active" in text_of(enabled)
        assert f"/webhooks{path.removeprefix('/connections')}" in enabled.text
        disabled = await browser.follow(await browser.post(f"{path}/disable"))
        assert "Disabled" in text_of(disabled)

    async def test_a_failed_test_says_why(self, enter: Open, account: SimulatedAccount) -> None:
        browser = await enter()
        account.secret_key = "sk_sim_unknownunknown"
        path = await connect(browser, account)
        shown = text_of(await browser.follow(await browser.post(f"{path}/test")))
        assert "The last test failed" in shown
        assert "This secret key is not known" in shown

    async def test_no_page_shows_a_key(self, enter: Open, account: SimulatedAccount) -> None:
        browser = await enter()
        path = await connect(browser, account)
        for where in ("/connections", path, f"{path}/settings", "/connections/new", "/connections/new/simulated"):
            page = await browser.get(where)
            assert page.status_code == 200, where
            assert account.secret_key not in page.text
            assert account.webhook_secret not in page.text
        assert f"…{account.secret_key[-4:]}" in (await browser.get(path)).text

    async def test_another_merchant_finds_nothing(self, app: Litestar, enter: Open, account: SimulatedAccount) -> None:
        path = await connect(await enter(), account)
        other = await make_tenant()
        stranger = Browser(app)
        await stranger.adopt(PersonId(other.owner.id), merchant_id=other.id)
        await stranger.get("/connections")
        for target in (path, f"{path}/settings"):
            assert (await stranger.get(target)).status_code == 404
        for target in ("test", "enable", "disable", "settings"):
            assert (await stranger.post(f"{path}/{target}", account.settings)).status_code == 404, target
        await stranger.close()


class TestStepUp:
    async def test_writes_need_a_fresh_factor_and_carry_no_secret_through_the_dialog(
        self, enter: Open, account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = await enter()
        path = await connect(browser, account)
        monkeypatch.setenv("COUNTINGHOUSE_STEP_UP_MINUTES", "1")
        settings.cache_clear()
        try:
            with travel(timedelta(minutes=2)):
                typed = {**account.settings, "secret_key": "sk_sim_typedtyped"}
                for answer in (await browser.get(f"{path}/settings"), await browser.post(f"{path}/settings", typed)):
                    assert answer.status_code == 403
                    assert "typedtyped" not in answer.text
                assert (await browser.post(f"{path}/enable")).status_code == 403
                assert (await browser.get(path)).status_code == 200
        finally:
            monkeypatch.undo()
            settings.cache_clear()


class TestTwoPeople:
    async def test_one_proposes_and_another_approves(self, enter: Open, account: SimulatedAccount, superuser: Sql) -> None:
        browser, second = await enter(), await enter(Role.ADMIN)
        path = await connect(browser, account)
        await browser.post("/connections/policy", {"policy": "four_eyes"})
        await browser.get(f"{path}/settings")
        new = {"api_base_url": account.simulator.url, "account": account.name, "secret_key": "sk_sim_thenewsecretkey", "webhook_secret": ""}
        shown = await browser.follow(await browser.post(f"{path}/settings", new))
        assert "New settings wait for approval" in text_of(shown)
        assert "thenewsecretkey" not in shown.text
        assert "/approve" not in shown.text
        page = await second.get(path)
        digest = page.text.split('name="digest" value="')[1].split('"')[0]
        action = page.text.split('action="')
        approve = next(part.split('"')[0] for part in action if part.split('"')[0].endswith("/approve"))
        assert (await browser.post(approve, {"digest": digest})).status_code == 403
        assert (await second.post(approve, {"digest": "0" * 64})).status_code == 409
        assert (await second.post(approve, {"digest": digest})).status_code == 303
        assert superuser.execute("select credentials_version from psp_connection").fetchone() == (2,)
        assert "wait for approval" not in text_of(await browser.get(path))


class TestListEvents:
    async def test_nothing_is_said_of_references_that_are_not_ours(self, enter: Open) -> None:
        page = await (await enter()).get("/psp-events?reference=att_1")
        assert "Nothing received yet" in text_of(page)

    async def test_without_a_reference_everything_is_told_page_by_page(
        self, enter: Open, account: SimulatedAccount, superuser: Sql, tenant: Tenant
    ) -> None:
        browser = await enter()
        await connect(browser, account)
        superuser.execute(
            "insert into psp_event (merchant_id, id, connection_id, provider_event_id, kind, provider_reference, payload, body, status, occurred_at, received_at)"
            " select c.merchant_id, new_id(at), c.id, 'evt_' || n, 'payment.captured', 'sim_1', '{}', '', case when n %% 20 = 0 then 'failed' else 'applied' end, at, at"
            " from psp_connection c, generate_series(1, 60) n, lateral (select now() - (100 - n) * interval '1 minute' as at) t where c.merchant_id = %s",
            (tenant.id,),
        )
        told: list[str] = []
        path: str | None = "/psp-events"
        while path:
            page = soup(await browser.get(path))
            told += [words(event).split()[1] for event in page.select("#psp-events li")]
            following = page.select_one("#psp-events a[rel=next]")
            path = following["href"] if following else None
        assert told == [f"evt_{n}" for n in range(60, 0, -1)]
        back = soup(await browser.get(page.select_one("#psp-events a[rel=prev]")["href"]))
        assert words(back.select_one("#psp-events li")).split()[1] == "evt_35"
        failed = soup(await browser.get(page.select_one(".tabs a[href*=failed]")["href"]))
        assert [words(event).split()[1] for event in failed.select("#psp-events li")] == ["evt_60", "evt_40", "evt_20"]

    async def test_another_merchants_events_are_not_told(self, enter: Open, account: SimulatedAccount, superuser: Sql) -> None:
        await connect(await enter(), account)
        superuser.execute(
            "insert into psp_event (merchant_id, id, connection_id, provider_event_id, kind, provider_reference, payload, body, status, occurred_at, received_at)"
            " select merchant_id, gen_random_uuid(), id, 'evt_1', 'payment.captured', 'sim_1', '{}', '', 'failed', now(), now() from psp_connection"
        )
        other = await make_tenant()
        stranger = Browser((await enter()).app)
        await stranger.adopt(PersonId(other.owner.id), merchant_id=other.id)
        for path in ("/psp-events", "/psp-events?status=failed"):
            assert "evt_1" not in (await stranger.get(path)).text
        await stranger.close()


def test_every_decline_of_the_simulator_has_a_message() -> None:
    assert all(decline.message for decline in DECLINES.values())
