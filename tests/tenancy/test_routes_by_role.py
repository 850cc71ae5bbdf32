"""The route × role table: what is written, what the guards say and what the server answers are the same."""

from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import PersonId
from app.identity.models import Person
from app.tenancy import service as teams
from app.tenancy.domain import FRESH_MINUTES, PERMISSIONS, Role, permissions_of
from app.tenancy.roles import service as roles
from app.web.guards import Guard, declaration_of, declared_routes
from tests.support import web
from tests.support.factories.api_access import make_key, make_token
from tests.support.factories.identity import make_operator, make_person
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.samples import path_with_unknown_ids
from tests.support.web import Browser
from tests.tenancy.routes_by_role import ROUTES_BY_ROLE

# what moves no money, opens no door and can be taken back
NEEDS_NO_FRESH_FACTOR = {
    "approvals:withdraw",
    "wallets:withdraw_write_off",
    "connections:test",
    "orders:create",
    "psp_events:retry",
    "reconciliation:add_mapping",
    "reconciliation:add_source",
    "reconciliation:chosen",
    "reconciliation:chosen_do",
    "reconciliation:claim",
    "reconciliation:compare",
    "reconciliation:fetch",
    "reconciliation:park",
    "reconciliation:prove",
    "reconciliation:read_again",
    "reconciliation:set_feed",
    "reconciliation:unpark",
    "reconciliation:upload",
    "sellers:add",
    "sellers:block",
    "sellers:edit",
    "sellers:unblock",
    "tenancy:change_profile",
}
OAUTH = {"oauth:token", "oauth:revoke", "oauth:introspect"}
"""A client proves itself within the call, or nothing is written."""
HINT = "write a row into tests/tenancy/routes_by_role.py"


@pytest.fixture(scope="session")
def whole_app(urls: Urls) -> Litestar:
    return web.whole_app()


def routes(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler, Guard]]:
    """Every route with its declaration."""
    found = [(method, path, handler, declaration_of(handler)) for method, path, handler in declared_routes(app)]
    return [(method, path, handler, guard) for method, path, handler, guard in found if guard is not None]


def declared(path: str, guard: Guard) -> str:
    """The row that a route's declaration amounts to."""
    if guard.audience == "operator":
        return "operator visiting" if guard.visiting else "operator"
    if guard.permission is None:
        return {"public": "everybody", "signed_in": "signed-in", "password_proven": "password"}[guard.audience]
    if path.startswith("/v1/"):
        return f"key {guard.permission}"
    live = [role.value for role in Role if guard.permission in permissions_of(role, sandbox=False)]
    sandbox = [f"+{role}" for role in Role if guard.permission in permissions_of(role, sandbox=True) and role not in live]
    return " ".join(live + sandbox)


async def wrongly_answered(app: Litestar, person: Person, allowed: set[str]) -> list[tuple[str, str, int, str]]:
    """The pages that refuse the person though they are allowed, or the other way round."""
    browser, wrong = Browser(app), []
    await browser.adopt(PersonId(person.id))
    await browser.get("/security")
    for method, path, handler, guard in routes(app):
        if guard.permission is None or path.startswith("/v1/"):
            continue
        answer = await (browser.get if method == "GET" else browser.post)(
            path_with_unknown_ids(path), headers={"accept": "application/json"}
        )
        if (answer.status_code == 403) is (handler.name in allowed) or answer.status_code in {401, 500}:
            wrong.append((method, path, answer.status_code, answer.text[:300]))
    await browser.close()
    return wrong


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
            "admissions:find",
            "admissions:signed_out_there",
            "passkeys:ask_anybody",
            "passkeys:sign_in",
            "passwords:ask",
            "invitations:join",
            "passwords:reset",
            "providers:signed_out_there",
            "psp:webhook",
            "patterns:submit",
            "static/head",
            "violations:report",
            *OAUTH,
        }

    def test_every_act_under_a_permission_that_asks_for_a_fresh_factor_asks_for_it(self, whole_app: Litestar) -> None:
        acts = {
            handler.name: guard.fresh
            for method, path, handler, guard in routes(whole_app)
            if guard.permission in FRESH_MINUTES
            and not path.startswith("/v1/")
            and (method != "GET" or guard.permission == "reports.export")
        }
        assert {name for name, fresh in acts.items() if not fresh} == NEEDS_NO_FRESH_FACTOR


class TestOverHttp:
    @pytest_asyncio.fixture
    async def world(self, database: Urls) -> AsyncIterator[Tenant]:
        return await make_tenant()

    # the sandbox differs for developers only; the table of the guards, above, says so for every role
    @pytest.mark.parametrize(("role", "sandbox"), [*((role, False) for role in Role), (Role.DEVELOPER, True), (Role.VIEWER, True)])
    async def test_a_role_reaches_its_routes_and_no_other(self, whole_app: Litestar, world: Tenant, role: Role, sandbox: bool) -> None:
        person = await make_member(world, role, sandbox=sandbox)
        rows = {name: row.split() for name, row in ROUTES_BY_ROLE.items()}
        allowed = {name for name, row in rows.items() if role.value in row or (sandbox and f"+{role}" in row)}
        assert not await wrongly_answered(whole_app, person, allowed)

    async def test_a_role_of_the_merchants_own_reaches_what_it_names_and_no_more(self, whole_app: Litestar, world: Tenant) -> None:
        # every other permission: what the house's roles never put together
        held = set(sorted(PERMISSIONS)[::2])
        async with unit_of_work(world.id) as session:
            role = await roles.create_role(session, world.actor(), name="Odd", summary="", permissions=held)
            person = await make_person(session)
            await teams.add_member(session, world.actor(), merchant_id=world.id, person_id=PersonId(person.id), role=role.id)
        allowed = {handler.name or "" for _, _, handler, guard in routes(whole_app) if guard.permission in held}
        assert not await wrongly_answered(whole_app, person, allowed)

    async def test_an_operator_reaches_the_console_and_no_merchant_and_members_reach_no_console(
        self, whole_app: Litestar, world: Tenant, superuser: psycopg.Connection
    ) -> None:
        async with unit_of_work(None) as session:
            person = await make_person(session)
        make_operator(superuser, person.id)
        assert not await wrongly_answered(whole_app, person, set()), "a merchant's pages are closed to operators"
        console = [(method, path, guard) for method, path, _, guard in routes(whole_app) if guard.audience == "operator"]
        for who, without_visit, with_visit in ((person, 403, 200), (world.owner, 404, 404)):
            browser = Browser(whole_app)
            await browser.adopt(PersonId(who.id))
            await browser.get("/security")
            for method, path, guard in console:
                answer = await (browser.get if method == "GET" else browser.post)(
                    path_with_unknown_ids(path), headers={"accept": "application/json"}
                )
                if guard.visiting or who is not person:
                    assert answer.status_code == without_visit, (method, path, answer.status_code)
                else:
                    assert answer.status_code in {with_visit, 303, 422}, (method, path, answer.status_code)
            await browser.close()

    @pytest.mark.parametrize("kind", ["key", "token"])
    async def test_a_program_reaches_its_scopes_and_no_other(self, whole_app: Litestar, world: Tenant, kind: str) -> None:
        browser, wrong, made = Browser(whole_app), [], {}
        everything = [guard.permission for _, path, _, guard in routes(whole_app) if path.startswith("/v1/") and guard.permission]
        for method, path, _, guard in routes(whole_app):
            if not path.startswith("/v1/") or guard.permission is None:
                continue
            others = sorted(set(everything) - {guard.permission})
            for scopes, allowed in (([guard.permission], True), (others, False)):
                name = " ".join(scopes)
                if name not in made:
                    made[name] = (
                        (await make_key(world.id, scopes=scopes))[1] if kind == "key" else await make_token(world.id, scopes=scopes)
                    )
                answer = await browser.client.request(
                    method, path_with_unknown_ids(path), headers={"authorization": f"Bearer {made[name]}", "idempotency-key": "k"}, json={}
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
