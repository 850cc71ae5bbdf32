"""API keys: shown once, stored as a hash, scoped, dead at once when revoked."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec
import psycopg
import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given
from hypothesis import strategies as st

from app.api_access import queries, service
from app.api_access.domain import SCOPES, ApiKeyNotFound, check_scopes, may_come_from, read_networks
from app.core import clock
from app.core.actors import Actor, ActorKind
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.ids import PersonId, public_id
from app.core.settings import settings
from app.tenancy.domain import PERMISSIONS, Role
from app.web import addresses
from tests.support.factories.api_access import make_key, make_token
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.statements import counted
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]
ORDER = "/v1/toys/one"
"""What a program with `orders.read` may look at."""


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

    async def test_what_needs_a_person_cannot_be_given(self, owner: Browser) -> None:
        for scopes in ([], ["team.write"], ["payouts.approve"], ["nonsense"]):
            answer = await owner.post("/api-clients", {"name": "Shop", "scopes": scopes, "expires": "90"})
            assert answer.status_code == 422, scopes
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
    async def test_no_or_a_wrong_key(self, browser: Browser, tenant: Tenant) -> None:
        wrong = ["", "Bearer", "Bearer ", "Basic Y2g6Y2g=", "Bearer ch_live_wrong", "Bearer nonsense", "Bearer ch_live_" + "x" * 5000]
        for header in (*wrong, "bearer\tch_live_x", "Bearer ch_live_\u00fc"):
            answer = await browser.client.get("/v1/toys/one", headers={"authorization": header.encode()} if header else {})
            assert answer.status_code == 401, header
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


class TestAddresses:
    async def test_a_key_works_from_its_addresses_only_whatever_a_header_says(
        self, open_browser: OpenBrowser, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, key = await make_key(tenant.id, networks="198.51.100.0/24, 2001:db8:1::/48")

        async def status(address: str, **headers: str) -> int:
            client = open_browser(address).client
            return (await client.get("/v1/toys/one", headers=bearer(key) | headers)).status_code

        inside, outside = "198.51.100.7", "192.0.2.10"
        assert [await status(one) for one in (inside, "2001:db8:1::5", "::ffff:198.51.100.7")] == [200, 200, 200]
        assert [await status(one) for one in (outside, "2001:db8:2::5", "::ffff:192.0.2.10")] == [401, 401, 401]
        assert await status(outside, **{"x-forwarded-for": inside, "forwarded": f"for={inside}", "x-real-ip": inside}) == 401
        monkeypatch.setattr(addresses, "settings", lambda: msgspec.structs.replace(settings(), trusted_proxies="203.0.113.1"))
        assert await status("203.0.113.1", **{"x-forwarded-for": inside}) == 200
        assert await status("203.0.113.1", **{"x-forwarded-for": f"{inside}, {outside}"}) == 401

    async def test_the_refusal_names_the_address(self, browser: Browser, tenant: Tenant) -> None:
        _, key = await make_key(tenant.id, networks="198.51.100.7")
        answer = await browser.client.get("/v1/toys/one", headers=bearer(key))
        assert answer.json()["detail"] == "This API key may not be used from 192.0.2.10."

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", []),
            ("203.0.113.7", ["203.0.113.7/32"]),
            ("::ffff:203.0.113.0/120", ["203.0.113.0/24"]),
            ("203.0.113.0/24,\n 2001:DB8::/48; 203.0.113.0/24", ["203.0.113.0/24", "2001:db8::/48"]),
        ],
    )
    def test_lists_are_read(self, text: str, found: list[str]) -> None:
        assert read_networks(text) == found

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("203.0.113.7/24", "Write 203.0.113.0/24"),
            ("example.com", "neither an address nor a network"),
            ("0.0.0.0/0", "every address"),
            ("::/0", "every address"),
            ("::ffff:0:0/96", "every address"),
            ("203.0.113.256", "neither"),
            (" ".join(f"10.0.0.{n}" for n in range(51)), "at most 50"),
        ],
    )
    def test_what_is_wrong_with_a_list_is_said(self, text: str, why: str) -> None:
        with pytest.raises(Invalid) as refused:
            read_networks(text)
        assert why in refused.value.fields["networks"]

    @given(st.ip_addresses(), st.ip_addresses())
    @example(IPv6Address("::ffff:192.0.2.1"), IPv4Address("192.0.2.2"))
    def test_an_address_is_allowed_where_it_is_listed(self, one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address) -> None:
        listed = read_networks(str(one))
        same = {getattr(address, "ipv4_mapped", None) or address for address in (one, other)}
        assert may_come_from(str(one), listed)
        assert may_come_from(str(other), listed) is (len(same) == 1)
        assert not may_come_from("nobody", listed)


class TestRotateKey:
    async def test_the_old_key_goes_on_for_the_overlap(self, owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
        row, old = await make_key(tenant.id, name="Shop server", scopes=["orders.read"], networks="192.0.2.0/24")
        path = f"/api-clients/{public_id('key', row.id)}/rotate"
        assert "The old key ends" in text_of(await owner.get(path))
        answer = await owner.post(path, {"overlap": "1", "expires": "90"})
        new = re.findall(r"ch_live_[A-Za-z0-9_-]{32}", answer.text)[0]

        async def statuses() -> list[int]:
            return [(await owner.client.get("/v1/toys/one", headers=bearer(key))).status_code for key in (old, new)]

        assert await statuses() == [200, 200]
        with clock.travel(timedelta(hours=1, seconds=1)):
            assert await statuses() == [401, 200]
            again = await owner.post(path, {"overlap": "1", "expires": "90"})
            assert (again.status_code, "no longer works" in text_of(again)) in {(409, True), (303, False)}
        kept = superuser.execute("select name, scopes, networks from api_key order by id").fetchall()
        assert kept[0] == kept[1]
        assert superuser.execute("select count(*) from audit_entry where action = 'api_key.rotated'").fetchone() == (1,)

    async def test_at_once_and_only_by_who_may_give_its_scopes(self, tenant: Tenant, browser: Browser) -> None:
        row, old = await make_key(tenant.id, scopes=["payments.refund"])
        admin = Actor(kind=ActorKind.USER, name="Admin", merchant_id=tenant.id, permissions=frozenset(["api_clients.write"]))
        async with unit_of_work(tenant.id) as session:
            with pytest.raises(Invalid, match="may not do yourself"):
                await service.rotate_key(session, admin, key_id=row.id, overlap=timedelta(), expires_at=None)
        async with unit_of_work(tenant.id) as session:
            await service.rotate_key(session, Actor.system(tenant.id), key_id=row.id, overlap=timedelta(), expires_at=None)
        assert (await browser.client.get("/v1/toys/one", headers=bearer(old))).status_code == 401


class TestEditKey:
    async def test_it_holds_from_the_next_request_on(
        self, owner: Browser, browser: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        row, key = await make_key(tenant.id, name="Shop", scopes=["orders.read", "payments.read"])
        path, headers = f"/api-clients/{public_id('key', row.id)}/edit", {"authorization": f"Bearer {key}"}
        await owner.get(path)
        assert (await browser.client.get(ORDER, headers=headers)).status_code == 200
        changed = {"name": "Till", "scopes": ["payments.read"], "expires": "30", "networks": "192.0.2.10"}
        assert (await owner.post(path, changed)).status_code == 303
        assert (await browser.client.get(ORDER, headers=headers)).status_code == 403
        entry = superuser.execute("select before, after from audit_entry where action = 'api_key.changed'").fetchone()
        assert entry is not None
        assert (entry[0]["name"], entry[0]["expires_at"], entry[1]["name"], entry[1]["networks"]) == (
            "Shop",
            None,
            "Till",
            ["192.0.2.10/32"],
        )
        assert entry[1]["expires_at"] is not None
        kept = changed | {"expires": "keep", "networks": "203.0.113.9"}
        assert (await owner.post(path, kept)).status_code == 303
        assert (await browser.client.get(ORDER, headers=headers)).status_code == 401

    async def test_who_lacks_what_a_key_may_can_narrow_it_and_not_widen_it(self, tenant: Tenant) -> None:
        row, _ = await make_key(tenant.id, name="Shop", scopes=["orders.read", "payments.refund"], networks="192.0.2.0/24")
        admin = tenant.actor(Role.ADMIN)

        async def change(**values: object) -> None:
            whole: dict[str, Any] = {
                "name": "Shop",
                "scopes": row.scopes,
                "networks": "192.0.2.0/24",
                "requests_per_minute": None,
                "ends": None,
            }
            async with unit_of_work(tenant.id) as session:
                await service.change_key(session, admin, key_id=row.id, **(whole | values))

        await change(name="Till", networks="192.0.2.7")
        for wider in ({"networks": ""}, {"networks": "198.51.100.1"}, {"scopes": [*row.scopes, "sellers.read"]}):
            with pytest.raises(Invalid, match="may not do yourself"):
                await change(**wider)
        await change(scopes=["orders.read"], networks="192.0.2.7")
        await change(scopes=["orders.read", "sellers.read"], networks="")


class TestList:
    async def test_it_is_filtered_and_paged(self, owner: Browser, tenant: Tenant) -> None:
        async with unit_of_work(tenant.id) as session:
            made = [await service.issue_key(session, tenant.actor(), name=f"Number {n:02}", scopes=["orders.read"]) for n in range(27)]
            await service.revoke_key(session, tenant.actor(), key_id=made[26][0].id, name="Number 26")
        first = await owner.get("/api-clients")
        assert first.text.count("ch_live_") == 25
        rest = BeautifulSoup(first.text, "html.parser").find("a", href=re.compile("after="))
        assert rest is not None
        assert "Number 01" in text_of(await owner.get(str(rest["href"])))
        assert text_of(await owner.get("/api-clients?state=revoked")).count("Number ") == 1
        assert "Number 13" in text_of(await owner.get(f"/api-clients?q={made[13][1][:12]}"))
        assert "No key matches" in text_of(await owner.get("/api-clients?q=%25"))


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_request_asks_once_who_it_is(browser: Browser, tenant: Tenant, kind: str) -> None:
    secret = (await make_key(tenant.id))[1] if kind == "key" else await make_token(tenant.id)
    assert (await browser.client.get("/v1/toys/one", headers=bearer(secret))).status_code == 200
    with counted() as sent:
        await browser.client.get("/v1/toys/one", headers=bearer(secret))
    asked = [statement for statement in sent if not statement.lower().startswith(("insert into rate_limit", "begin", "commit"))]
    assert len(asked) == 1, asked
    assert "api_key_holders" in asked[0]
