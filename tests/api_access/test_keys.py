"""API keys: shown once, stored as a hash, scoped, dead at once when revoked."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from app.api_access import queries, service
from app.api_access.domain import SCOPES, ApiKeyNotFound, check_scopes
from app.core import clock
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.ids import PersonId, public_id
from app.tenancy.domain import PERMISSIONS, Role
from tests.support.factories.api_access import make_key
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class TestIssueKey:
    async def test_it_is_shown_once_and_works(self, owner: Browser) -> None:
        answer = await owner.post("/api-clients", {"name": "Shop server", "scopes": ["orders.read"], "expires": "90"})
        key = re.findall(r"ch_live_[A-Za-z0-9_-]{32}", answer.text)[0]
        assert (await owner.client.get("/v1/toys/one", headers=bearer(key))).status_code == 200
        page = await owner.get("/api-clients")
        assert key not in page.text
        assert key[:12] in page.text

    async def test_a_sandbox_key_says_so(self, tenant: Tenant) -> None:
        assert (await make_key(tenant.sandbox_id))[1].startswith("ch_test_")
        assert (await make_key(tenant.id))[1].startswith("ch_live_")

    async def test_only_its_hash_is_stored_and_nothing_of_it_in_the_audit_trail(
        self, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        _, key = await make_key(tenant.id)
        dump = str(
            superuser.execute(
                "select (select string_agg(k::text, ' ') from api_key k), (select string_agg(a::text, ' ') from audit_entry a)"
            ).fetchone()
        )
        assert key not in dump
        assert key[12:] not in dump

    @pytest.mark.parametrize("scopes", [[], ["team.write"], ["payouts.approve"], ["nonsense"]])
    async def test_what_needs_a_person_cannot_be_given(self, owner: Browser, scopes: list[str]) -> None:
        answer = await owner.post("/api-clients", {"name": "Shop", "scopes": scopes, "expires": "90"})
        assert answer.status_code == 422
        assert "ch_live_" not in answer.text

    async def test_nobody_gives_what_they_may_not_do(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        admin = open_browser()
        await admin.adopt(PersonId((await make_member(tenant, Role.ADMIN)).id))
        await admin.get("/api-clients/new")
        answer = await admin.post("/api-clients", {"name": "Shop", "scopes": ["payments.refund"], "expires": "90"})
        assert answer.status_code == 422
        assert "may not do yourself" in text_of(answer)

    def test_every_scope_is_a_permission(self) -> None:
        assert SCOPES.keys() <= PERMISSIONS.keys()

    def test_scopes_keep_their_order_and_come_once(self) -> None:
        assert check_scopes(["payments.read", "orders.read", "payments.read"], allowed=SCOPES) == ["orders.read", "payments.read"]
        with pytest.raises(Invalid):
            check_scopes([], allowed=SCOPES)


class TestUse:
    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Bearer",
            "Bearer ",
            "Basic Y2g6Y2g=",
            "Bearer ch_live_wrong",
            "Bearer nonsense",
            "Bearer ch_live_" + "x" * 5000,
            "bearer\tch_live_x",
            "Bearer ch_live_\u00fc",
        ],
    )
    async def test_no_or_a_wrong_key(self, browser: Browser, tenant: Tenant, header: str) -> None:
        answer = await browser.client.get("/v1/toys/one", headers={"authorization": header.encode()} if header else {})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="countinghouse", error="invalid_token"'
        assert answer.headers["content-type"].startswith("application/problem+json")

    async def test_a_missing_scope(self, browser: Browser, tenant: Tenant) -> None:
        _, key = await make_key(tenant.id, scopes=["payments.read"])
        answer = await browser.client.get("/v1/toys/one", headers=bearer(key))
        assert (answer.status_code, answer.json()["code"], answer.json()["permission"]) == (403, "permission_missing", "orders.read")

    async def test_an_unknown_id_is_a_problem_too(self, browser: Browser, tenant: Tenant) -> None:
        _, key = await make_key(tenant.id)
        answer = await browser.client.get("/v1/toys/two", headers=bearer(key))
        assert (answer.status_code, answer.json()["code"]) == (404, "toy_missing")

    async def test_a_key_opens_no_page(self, browser: Browser, tenant: Tenant) -> None:
        _, key = await make_key(tenant.id)
        assert (await browser.get("/team", headers=bearer(key))).status_code == 303

    async def test_it_ends(self, browser: Browser, tenant: Tenant) -> None:
        async with unit_of_work(tenant.id) as session:
            _, key = await service.issue_key(
                session, tenant.actor(), name="Short", scopes=["orders.read"], expires_at=clock.now() + timedelta(days=30)
            )
        assert (await browser.client.get("/v1/toys/one", headers=bearer(key))).status_code == 200
        with clock.travel(timedelta(days=30, seconds=1)):
            answer = await browser.client.get("/v1/toys/one", headers=bearer(key))
            assert answer.status_code == 401
            assert "expired" in answer.json()["detail"]

    async def test_its_use_is_noted_at_most_once_a_minute(self, browser: Browser, tenant: Tenant) -> None:
        row, key = await make_key(tenant.id)

        async def noted() -> object:
            await browser.client.get("/v1/toys/one", headers=bearer(key))
            async with unit_of_work(tenant.id) as session:
                return (await queries.api_key(session, tenant.actor(), key_id=row.id)).last_used_at

        first = await noted()
        assert first is not None
        with clock.travel(timedelta(seconds=59)):
            assert await noted() == first
        with clock.travel(timedelta(seconds=61)):
            assert await noted() != first


class TestRevokeKey:
    async def test_the_next_request_is_refused(self, owner: Browser, tenant: Tenant) -> None:
        row, key = await make_key(tenant.id, name="Shop server")
        assert (await owner.client.get("/v1/toys/one", headers=bearer(key))).status_code == 200
        answer = await owner.post(f"/api-clients/{public_id('key', row.id)}/revoke", {"name": "Shop server"})
        assert answer.status_code == 303
        assert (await owner.client.get("/v1/toys/one", headers=bearer(key))).status_code == 401
        assert "Revoked" in text_of(await owner.get("/api-clients"))

    async def test_the_name_must_be_typed(self, owner: Browser, tenant: Tenant) -> None:
        row, key = await make_key(tenant.id, name="Shop server")
        answer = await owner.post(f"/api-clients/{public_id('key', row.id)}/revoke", {"name": "shop"})
        assert answer.status_code == 422
        assert (await owner.client.get("/v1/toys/one", headers=bearer(key))).status_code == 200

    async def test_twice_is_once(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        row, _ = await make_key(tenant.id)

        async def revoke() -> None:
            async with unit_of_work(tenant.id) as session:
                await service.revoke_key(session, tenant.actor(), key_id=row.id, name=row.name)

        await asyncio.gather(*(revoke() for _ in range(8)))
        assert superuser.execute("select count(*) from audit_entry where action = 'api_key.revoked'").fetchone() == (1,)

    async def test_somebody_elses_key_is_not_there(self, tenant: Tenant) -> None:
        row, _ = await make_key(tenant.id)
        stranger = await make_tenant()
        async with unit_of_work(stranger.id) as session:
            with pytest.raises(ApiKeyNotFound):
                await service.revoke_key(session, stranger.actor(), key_id=row.id, name=row.name)
