"""Roles of a merchant's own and limits of members: nobody gives what they do not hold, and changes hold from the next request on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from app.core.actors import Actor, ActorKind, LimitExceeded
from app.core.db import unit_of_work
from app.core.ids import PersonId, parse_id, public_id
from app.core.money import Money
from app.identity.models import Person
from app.tenancy import queries, service
from app.tenancy.domain import PERMISSIONS, PermissionNotHeld, Role, RoleInUse
from app.tenancy.members import service as members
from app.tenancy.roles import service as roles
from tests.support.factories.identity import make_person
from tests.support.factories.tenancy import Tenant, make_member
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]
Act = Callable[..., Awaitable[object]]


async def make_role(tenant: Tenant, *permissions: str, name: str = "Cashier") -> UUID:
    async with unit_of_work(tenant.id) as session:
        row = await roles.create_role(session, tenant.actor(), name=name, summary="", permissions=permissions)
    return row.id


async def join(tenant: Tenant, role: Role | UUID) -> tuple[Person, UUID]:
    async with unit_of_work(None) as session:
        person = await make_person(session)
        row = await service.add_member(session, Actor.system(None, "Test"), merchant_id=tenant.id, person_id=PersonId(person.id), role=role)
    return person, row.id


async def do(tenant: Tenant, act: Act, actor: Actor | None = None, **values: object) -> object:
    async with unit_of_work(tenant.id) as session:
        return await act(session, actor or tenant.actor(), **values)


class TestOwnRoles:
    async def test_one_that_only_reads_lets_a_session_be_quiet_for_longer(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        lasts = []
        for number, permission in enumerate(("orders.read", "payments.refund")):
            person, _ = await join(tenant, await make_role(tenant, "merchant.read", permission, name=f"Role {number}"))
            browser = open_browser()
            await browser.adopt(PersonId(person.id))
            seen = await queries.visitor(browser.session_cookie or "")
            assert seen is not None
            lasts.append(seen.idle_minutes)
        assert lasts == [60, 15]

    async def test_made_given_changed_and_deleted_on_the_pages(self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        form = {"name": "Cashier", "summary": "Takes orders", "permissions": ["merchant.read", "orders.read", "team.read"]}
        assert (await owner.post("/team/roles", form)).status_code == 303
        page = await owner.get("/team/roles")
        assert "Cashier" in text_of(page)
        role = next(word for word in page.text.replace("/", '"').split('"') if word.startswith("rol_"))
        person, _ = await join(tenant, parse_id("rol", role))
        browser = open_browser()
        await browser.adopt(PersonId(person.id))
        assert "Cashier" in text_of(await browser.get("/team"))
        assert (await browser.get("/invitations/new")).status_code == 403
        changed = {"name": "Cashier", "permissions": ["merchant.read"]}
        assert (await owner.post(f"/team/roles/{role}/edit", changed)).status_code == 303
        assert (await browser.get("/team")).status_code == 403, "it holds from the next request on"
        assert (await owner.post(f"/team/roles/{role}/delete")).status_code == 409
        member = next(m.id for m in (await do(tenant, queries.team)).members if m.email == person.email)  # type: ignore[attr-defined]
        assert (await owner.get(f"/team/{member}")).status_code == 200
        assert (await owner.post(f"/team/{member}/role", {"role": "viewer"})).status_code == 303
        assert (await owner.post(f"/team/roles/{role}/delete")).status_code == 303
        assert (await owner.get(f"/team/roles/{role}/edit")).status_code == 404
        trail = text_of(await owner.get("/audit"))
        assert all(action in trail for action in ("role.created", "role.changed", "role.deleted"))

    @pytest.mark.parametrize(
        "form",
        [
            {"name": "", "permissions": ["orders.read"]},
            {"name": "Owner", "permissions": ["orders.read"]},
            {"name": "Nobody", "permissions": []},
            {"name": "Wizard", "permissions": ["everything.write"]},
        ],
    )
    async def test_refusals(self, owner: Browser, form: dict[str, object]) -> None:
        assert (await owner.post("/team/roles", form)).status_code in {409, 422}

    async def test_a_name_is_given_once(self, owner: Browser, tenant: Tenant) -> None:
        await make_role(tenant, "orders.read")
        answer = await owner.post("/team/roles", {"name": "CASHIER", "permissions": ["orders.read"]})
        assert answer.status_code == 409

    async def test_another_merchants_role_is_like_an_unknown_one(self, owner: Browser, stranger_role: UUID) -> None:
        role = public_id("rol", stranger_role)
        assert (await owner.get(f"/team/roles/{role}/edit")).status_code == 404
        assert (await owner.post(f"/team/roles/{role}/delete")).status_code == 404
        assert (await owner.get(f"/team/roles/new?copy={role}")).status_code == 404

    @pytest.fixture
    async def stranger_role(self) -> UUID:
        from tests.support.factories.tenancy import make_tenant

        return await make_role(await make_tenant(), "orders.read")


class TestEscalation:
    async def test_nobody_makes_changes_or_copies_into_a_role_what_they_do_not_hold(self, tenant: Tenant) -> None:
        admin = await make_member(tenant, Role.ADMIN)
        actor = tenant.actor(Role.ADMIN, person_id=admin.id)
        with pytest.raises(PermissionNotHeld, match=r"payments\.refund"):
            await do(tenant, roles.create_role, actor, name="Cashier", summary="", permissions=["orders.read", "payments.refund"])
        role = await make_role(tenant, "orders.read", "payments.refund", name="Refunds")
        with pytest.raises(PermissionNotHeld, match=r"payouts\.approve"):
            await do(
                tenant,
                roles.change_role,
                actor,
                role_id=role,
                name="Refunds",
                summary="",
                permissions=["payments.refund", "payouts.approve"],
            )
        await do(tenant, roles.change_role, actor, role_id=role, name="Refunds", summary="", permissions=["payments.refund"])

    async def test_nobody_gives_a_role_that_allows_more_than_they_may(self, tenant: Tenant) -> None:
        admin = await make_member(tenant, Role.ADMIN)
        actor = tenant.actor(Role.ADMIN, person_id=admin.id)
        role = await make_role(tenant, "orders.read", "payments.refund")
        _, member = await join(tenant, Role.VIEWER)
        for given in (role, Role.FINANCE, Role.SUPPORT, Role.APPROVER):
            with pytest.raises(PermissionNotHeld):
                await do(tenant, service.change_role, actor, member_id=member, role=given)
        await do(tenant, service.change_role, actor, member_id=member, role=Role.DEVELOPER)

    async def test_holding_everything_makes_no_owner(self, tenant: Tenant) -> None:
        role = await make_role(tenant, *PERMISSIONS, name="Deputy")
        person, _ = await join(tenant, role)
        _, other = await join(tenant, Role.VIEWER)
        from app.core.errors import Invalid

        with pytest.raises(Invalid, match="Only an owner"):
            await do(tenant, service.change_role, tenant.actor(person_id=person.id), member_id=other, role=Role.OWNER)

    async def test_whoever_has_a_limit_passes_the_permission_on_to_nobody(self, tenant: Tenant) -> None:
        limited = Actor(
            kind=ActorKind.USER,
            id=tenant.owner.id,
            name="x",
            merchant_id=tenant.id,
            permissions=frozenset(PERMISSIONS),
            limits={"payments.refund:EUR": 100},
        )
        with pytest.raises(PermissionNotHeld, match=r"payments\.refund"):
            await do(tenant, roles.create_role, limited, name="Friend", summary="", permissions=["payments.refund"])
        from app.api_access import service as keys
        from app.core.errors import Invalid

        with pytest.raises(Invalid, match=r"payments\.refund"):
            await do(tenant, keys.issue_key, limited, name="Friend", scopes=["payments.refund"])

    async def test_a_role_given_while_it_is_deleted_stays_or_is_refused(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        role = await make_role(tenant, "orders.read")
        _, member = await join(tenant, Role.VIEWER)

        async def attempt(act: Act, **values: object) -> bool:
            from app.core.errors import AppError

            try:
                await do(tenant, act, **values)
            except AppError:
                return False
            return True

        given, deleted = await asyncio.gather(
            attempt(service.change_role, member_id=member, role=role), attempt(roles.delete_role, role_id=role)
        )
        assert given is not deleted


class TestLimits:
    async def test_set_shown_and_removed(self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        person, member = await join(tenant, Role.SUPPORT)
        path = f"/team/{public_id('mem', member)}"
        assert (
            await owner.post(f"{path}/limits", {"permission": "payments.refund", "most": "50", "most_currency": "EUR"})
        ).status_code == 303
        assert "up to €50.00" in text_of(await owner.get(path))
        for wrong in ({"permission": "orders.read"}, {"most": "-1"}, {"most_currency": "XXX"}):
            form = {"permission": "payments.refund", "most": "50", "most_currency": "EUR"} | wrong
            assert (await owner.post(f"{path}/limits", form)).status_code == 422
        browser = open_browser()
        await browser.adopt(PersonId(person.id))
        from app.tenancy.queries import visitor

        seen = await visitor(browser.session_cookie or "")
        assert seen is not None
        assert seen.limits == {"payments.refund:EUR": 5000}
        assert (await owner.post(f"{path}/limits/lift", {"permission": "payments.refund", "currency": "EUR"})).status_code == 303
        assert "up to" not in text_of(await owner.get(path))

    async def test_nobody_sets_their_own(self, tenant: Tenant) -> None:
        from app.tenancy.domain import OwnRole

        own = parse_id("mem", next(m.id for m in (await do(tenant, queries.team)).members if m.me))  # type: ignore[attr-defined]
        with pytest.raises(OwnRole):
            await do(tenant, members.set_limit, member_id=own, permission="payments.refund", most=Money(1, "EUR"))

    async def test_whoever_lifts_or_raises_one_holds_what_the_member_then_may(self, tenant: Tenant) -> None:
        """An admin moves no money: they may tighten what an owner allowed, and give none of it back."""
        _, member = await join(tenant, Role.SUPPORT)
        admin = tenant.actor(Role.ADMIN, person_id=(await join(tenant, Role.ADMIN))[0].id)
        values: dict[str, Any] = {"member_id": member, "permission": "payments.refund"}
        await do(tenant, members.set_limit, admin, **values, most=Money(500, "EUR"))
        await do(tenant, members.set_limit, admin, **values, most=Money(100, "EUR"))
        for wider in (Money(101, "EUR"), Money(1, "USD")):
            with pytest.raises(PermissionNotHeld, match=r"payments\.refund"):
                await do(tenant, members.set_limit, admin, **values, most=wider)
        with pytest.raises(PermissionNotHeld, match=r"payments\.refund"):
            await do(tenant, members.remove_limit, admin, **values, currency="EUR")
        limited = msgspec.structs.replace(tenant.actor(person_id=admin.id), limits={"payments.refund:EUR": 200})
        await do(tenant, members.set_limit, limited, **values, most=Money(200, "EUR"))
        with pytest.raises(PermissionNotHeld):
            await do(tenant, members.set_limit, limited, **values, most=Money(201, "EUR"))
        await do(tenant, members.set_limit, **values, most=Money(900, "USD"))
        await do(tenant, members.remove_limit, admin, **values, currency="USD")
        await do(tenant, members.remove_limit, **values, currency="EUR")

    def test_a_limited_permission_is_closed_in_other_currencies(self) -> None:
        actor = Actor(kind=ActorKind.USER, name="x", limits={"payments.refund:EUR": 100})
        actor.require_within("payments.refund", Money(100, "EUR"))
        actor.require_within("payouts.request", Money(10**9, "EUR"))
        for amount in (Money(101, "EUR"), Money(1, "USD")):
            with pytest.raises(LimitExceeded):
                actor.require_within("payments.refund", amount)


async def test_a_role_in_use_stays(tenant: Tenant) -> None:
    role = await make_role(tenant, "orders.read")
    await join(tenant, role)
    with pytest.raises(RoleInUse, match="1 person holds it"):
        await do(tenant, roles.delete_role, role_id=role)
