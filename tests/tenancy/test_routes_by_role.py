"""The route × role table: what is written, what the guards say and what the server answers are the same."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from app.core.embedded import Urls
from app.core.ids import PersonId
from app.main import create_app
from app.tenancy.domain import Role, permissions_of
from app.web.guards import Guard, declaration_of, declared_routes
from tests.support.factories.api_access import make_key
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.samples import path_with_unknown_ids
from tests.support.web import Browser
from tests.tenancy.routes_by_role import ROUTES_BY_ROLE

HINT = "write a row into tests/tenancy/routes_by_role.py"


@pytest.fixture(scope="session")
def whole_app(urls: Urls) -> Litestar:
    return create_app()


def routes(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler, Guard]]:
    """Every route with its declaration."""
    found = [(method, path, handler, declaration_of(handler)) for method, path, handler in declared_routes(app)]
    return [(method, path, handler, guard) for method, path, handler, guard in found if guard is not None]


def declared(path: str, guard: Guard) -> str:
    """The row that a route's declaration amounts to."""
    if guard.permission is None:
        return {"public": "everybody", "signed_in": "signed-in", "password_proven": "password"}[guard.audience]
    if path.startswith("/v1/"):
        return f"key {guard.permission}"
    live = [role.value for role in Role if guard.permission in permissions_of(role, sandbox=False)]
    sandbox = [f"+{role}" for role in Role if guard.permission in permissions_of(role, sandbox=True) and role not in live]
    return " ".join(live + sandbox)


class TestTable:
    def test_every_route_has_a_name_and_a_row(self, whole_app: Litestar) -> None:
        missing = [
            f"{method} {path} ({handler.name})" for method, path, handler, _ in routes(whole_app) if handler.name not in ROUTES_BY_ROLE
        ]
        assert not missing, f"{HINT}: {missing}"

    def test_every_row_has_a_route(self, whole_app: Litestar) -> None:
        assert ROUTES_BY_ROLE.keys() <= {handler.name for _, _, handler, _ in routes(whole_app)}

    def test_the_rows_say_what_the_guards_say(self, whole_app: Litestar) -> None:
        wrong = {
            handler.name: {"table": ROUTES_BY_ROLE[handler.name], "guard": declared(path, guard)}
            for _, path, handler, guard in routes(whole_app)
            if handler.name in ROUTES_BY_ROLE and ROUTES_BY_ROLE[handler.name] != declared(path, guard)
        }
        assert not wrong

    def test_nothing_that_writes_is_open_to_everybody(self, whole_app: Litestar) -> None:
        opened = {handler.name for method, path, handler, guard in routes(whole_app) if method != "GET" and guard.audience == "public"}
        assert opened <= {
            "identity:check_password",
            "passkeys:ask_anybody",
            "passkeys:sign_in",
            "passwords:ask",
            "invitations:join",
            "passwords:reset",
            "psp:webhook",
            "patterns:submit",
            "static/head",
        }

    def test_money_and_keys_need_a_fresh_factor(self, whole_app: Litestar) -> None:
        sensitive = {
            "payments.capture",
            "payments.void",
            "payments.refund",
            "api_clients.write",
            "team.write",
            "payouts.request",
            "payouts.approve",
        }
        stale = [
            handler.name
            for method, path, handler, guard in routes(whole_app)
            if method != "GET" and guard.permission in sensitive and not path.startswith("/v1/") and not guard.fresh
        ]
        assert not stale


class TestOverHttp:
    @pytest_asyncio.fixture
    async def world(self, database: Urls) -> AsyncIterator[Tenant]:
        return await make_tenant()

    @pytest.mark.parametrize("sandbox", [False, True])
    @pytest.mark.parametrize("role", list(Role))
    async def test_a_role_reaches_its_routes_and_no_other(self, whole_app: Litestar, world: Tenant, role: Role, sandbox: bool) -> None:
        person = await make_member(world, role, sandbox=sandbox)
        browser = Browser(whole_app)
        await browser.adopt(PersonId(person.id))
        await browser.get("/security")
        wrong = []
        for method, path, handler, guard in routes(whole_app):
            if guard.permission is None or path.startswith("/v1/"):
                continue
            row = ROUTES_BY_ROLE.get(handler.name or "", "").split()
            allowed = role.value in row or (sandbox and f"+{role}" in row)
            answer = await (browser.get if method == "GET" else browser.post)(
                path_with_unknown_ids(path), headers={"accept": "application/json"}
            )
            refused = answer.status_code == 403
            if refused is allowed or answer.status_code in {401, 500}:
                wrong.append((method, path, answer.status_code, answer.text[:300]))
        await browser.close()
        assert not wrong

    async def test_a_key_reaches_its_scopes_and_no_other(self, whole_app: Litestar, world: Tenant) -> None:
        browser, wrong = Browser(whole_app), []
        everything = [guard.permission for _, path, _, guard in routes(whole_app) if path.startswith("/v1/") and guard.permission]
        for method, path, _, guard in routes(whole_app):
            if not path.startswith("/v1/") or guard.permission is None:
                continue
            others = sorted(set(everything) - {guard.permission})
            for scopes, allowed in (([guard.permission], True), (others, False)):
                _, key = await make_key(world.id, scopes=scopes)
                answer = await browser.client.request(
                    method, path_with_unknown_ids(path), headers={"authorization": f"Bearer {key}", "idempotency-key": "k"}, json={}
                )
                if (answer.status_code == 403) is allowed or answer.status_code in {401, 500}:
                    wrong.append((method, path, scopes, answer.status_code, answer.text[:300]))
        await browser.close()
        assert not wrong

    async def test_nobody_reaches_anything_but_what_is_public(self, whole_app: Litestar, world: Tenant) -> None:
        browser, wrong = Browser(whole_app), []
        await browser.get("/sign-in")
        for method, path, _, guard in routes(whole_app):
            if guard.audience == "public":
                continue
            answer = await (browser.get if method == "GET" else browser.post)(path_with_unknown_ids(path))
            turned_away = (
                answer.status_code == 401
                if path.startswith("/v1/")
                else (answer.status_code == 303 and answer.headers["location"].startswith("/sign-in"))
            )
            if not turned_away:
                wrong.append((method, path, answer.status_code))
        await browser.close()
        assert not wrong

    async def test_every_unsafe_page_route_refuses_a_foreign_form(self, whole_app: Litestar, world: Tenant) -> None:
        browser, wrong, tried = Browser(whole_app), [], 0
        await browser.adopt(PersonId(world.owner.id))
        for method, path, _, guard in routes(whole_app):
            if method in {"GET", "HEAD"} or path.startswith("/v1/") or guard.machine:
                continue
            tried += 1
            for options in ({"data": {}}, {"data": {"csrf_token": "0" * 64}}, {"headers": {"sec-fetch-site": "cross-site"}}):
                answer = await browser.client.request(method, path_with_unknown_ids(path), **options)  # type: ignore[arg-type]
                if answer.status_code != 403 or "cross_site_request" not in answer.text:
                    wrong.append((method, path, answer.status_code))
        await browser.close()
        assert not wrong
        assert tried > 20
