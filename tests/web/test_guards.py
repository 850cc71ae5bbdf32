"""Who may call a route: the order of the checks, the step-up, and the refusal to start with an undeclared route."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from bs4 import BeautifulSoup
from litestar import get

from app.core import clock
from app.core.ids import PersonId
from app.tenancy.domain import Role
from app.web.context import CSRF_HEADER
from tests.support.factories.identity import totp_code
from tests.support.factories.tenancy import Tenant, make_member
from tests.support.toy import create_toy_app
from tests.support.web import ORIGIN, Browser, text_of

OpenBrowser = Callable[..., Browser]
HTMX = {"hx-request": "true", "hx-request-type": "partial"}
LATER = timedelta(minutes=16)


def test_a_route_without_a_declaration_stops_the_server() -> None:
    @get("/forgotten", name="toy:forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(RuntimeError, match="GET /forgotten"):
        create_toy_app(forgotten)


class TestNobody:
    async def test_a_page_leads_to_the_sign_in_and_back(self, browser: Browser) -> None:
        answer = await browser.get("/audit?action=member.added")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/audit%3Faction%3Dmember.added")

    async def test_htmx_is_told_to_load_the_sign_in(self, browser: Browser) -> None:
        answer = await browser.get("/team", headers=HTMX | {"hx-current-url": "http://countinghouse.test/team?x=1"})
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in?next=/team%3Fx%3D1")

    async def test_the_api_answers_401_with_the_way_in(self, browser: Browser) -> None:
        answer = await browser.get("/v1/toys/one")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["code"] == "not_signed_in"

    async def test_a_session_cookie_opens_nothing_in_the_api(self, owner: Browser) -> None:
        assert (await owner.get("/v1/toys/one")).status_code == 401

    @pytest.mark.parametrize("path", ["//v1/toys", "/v1//toys", "///v1///toys/"])
    async def test_nor_where_the_router_reads_the_address_more_kindly(self, owner: Browser, path: str) -> None:
        """The API asks no person for a fresh factor and counts no money: a session must not reach it by any spelling."""
        answer = await owner.client.post(f"{ORIGIN}{path}", json={"name": "x"}, headers={CSRF_HEADER: owner.token})
        assert answer.status_code == 401


class TestPasswordOnly:
    @pytest.mark.parametrize("path", ["/", "/team", "/security", "/api-clients", "/audit", "/settings", "/security/password"])
    async def test_opens_no_page(self, open_browser: OpenBrowser, tenant: Tenant, path: str) -> None:
        browser = open_browser()
        await browser.adopt(PersonId(tenant.owner.id), factor=False)
        answer = await browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in/second-factor")

    @pytest.mark.parametrize("path", ["/toys/write", "/preferences/theme", "/security/recovery-codes", "/toys/rename"])
    async def test_does_nothing(self, open_browser: OpenBrowser, tenant: Tenant, path: str) -> None:
        browser = open_browser()
        await browser.adopt(PersonId(tenant.owner.id), factor=False)
        await browser.get("/sign-in/second-factor")
        assert (await browser.post(path, {"theme": "dark"})).headers["location"].startswith("/sign-in/second-factor")


class TestPermission:
    async def test_a_role_without_it_is_refused(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        viewer = await make_member(tenant, Role.VIEWER)
        browser = open_browser()
        await browser.adopt(PersonId(viewer.id))
        assert (await browser.get("/team")).status_code == 200
        assert (await browser.get("/invitations/new")).status_code == 403
        assert (await browser.post("/invitations", {"email": viewer.email, "role": "owner"})).status_code == 403

    async def test_a_lost_role_counts_from_the_next_request(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        from app.core.db import unit_of_work
        from app.tenancy import queries, service

        admin = await make_member(tenant, Role.ADMIN)
        browser = open_browser()
        await browser.adopt(PersonId(admin.id))
        assert (await browser.get("/invitations/new")).status_code == 200
        async with unit_of_work(tenant.id) as session:
            actor = tenant.actor()
            member = next(m for m in (await queries.team(session, actor)).members if m.email == admin.email)
            from app.core.ids import parse_id

            await service.change_role(session, actor, member_id=parse_id("mem", member.id), role=Role.VIEWER)
        assert (await browser.get("/invitations/new")).status_code == 403


def _fields(html: str, action: str) -> dict[str, list[str]]:
    form = next(form for form in BeautifulSoup(html, "html.parser").find_all("form") if form.get("action") == action)
    fields: dict[str, list[str]] = {}
    for box in form.find_all("input"):
        fields.setdefault(str(box["name"]), []).append(str(box.get("value") or ""))
    return fields


class TestStepUp:
    async def test_a_fresh_factor_is_not_asked_again(self, owner: Browser) -> None:
        assert (await owner.post("/toys/rename", {"name": "Bead"})).text == "<p>renamed to Bead with </p>"

    @pytest.mark.parametrize("headers", [{}, HTMX])
    async def test_a_stale_one_is_and_the_form_goes_on_intact(self, owner: Browser, headers: dict[str, str]) -> None:
        before = owner.session_cookie
        with clock.travel(LATER), clock.travel(timedelta(0)):
            await self._keep_alive(owner)
            sent = {"name": "Bead & <b>Bone</b> “ü”", "tag": ["one", "two"]}
            question = await owner.post("/toys/rename?x=1", sent, headers=headers)
            assert question.status_code == 403
            assert "renamed" not in question.text
            assert question.headers.get("hx-retarget") == ("#modal" if headers else None)
            fields = _fields(question.text, "/toys/rename?x=1")
            assert fields["name"] == [sent["name"]]
            assert fields["tag"] == ["one", "two"]
            fields["step_up_code"] = [totp_code()]
            answer = await owner.client.post("/toys/rename?x=1", data=fields, headers=headers)
            assert answer.status_code == 200
            assert answer.text == f"<p>renamed to {sent['name']} with one,two</p>"
            assert owner.session_cookie != before, "the session id changed"
            assert (await owner.post("/toys/rename", {"name": "again"})).status_code == 200, "and the factor is fresh now"

    async def _keep_alive(self, owner: Browser) -> None:
        # sixteen quiet minutes would end the session as well; somebody who works renews it
        from sqlalchemy import text

        from app.core.db import unit_of_work

        async with unit_of_work(None) as session:
            await session.execute(text("update web_session set last_seen_at = :now"), {"now": clock.now()})

    async def test_a_wrong_code_asks_again_and_keeps_the_form(self, owner: Browser) -> None:
        with clock.travel(LATER):
            await self._keep_alive(owner)
            question = await owner.post("/toys/rename", {"name": "Bead", "step_up_code": "000000"})
            assert question.status_code == 403
            assert "wrong, too old, or was used already" in text_of(question)
            assert _fields(question.text, "/toys/rename")["name"] == ["Bead"]

    async def test_a_code_works_for_one_step_up_only(self, owner: Browser) -> None:
        with clock.travel(LATER):
            await self._keep_alive(owner)
            code = totp_code()
            assert (await owner.post("/toys/rename", {"name": "a", "step_up_code": code})).status_code == 200
        with clock.travel(LATER + timedelta(seconds=1)):
            await self._make_stale()
            assert (await owner.post("/toys/rename", {"name": "b", "step_up_code": code})).status_code == 403

    async def _make_stale(self) -> None:
        from sqlalchemy import text

        from app.core.db import unit_of_work

        async with unit_of_work(None) as session:
            await session.execute(text("update web_session set factor_at = factor_at - interval '1 hour'"))

    async def test_without_a_token_no_code_is_even_looked_at(self, owner: Browser) -> None:
        with clock.travel(LATER):
            await self._keep_alive(owner)
            code = totp_code()
            answer = await owner.client.post("/toys/rename", data={"name": "a", "step_up_code": code})
            assert answer.status_code == 403
            assert "cross_site_request" in answer.text
            assert (await owner.post("/toys/rename", {"name": "a", "step_up_code": code})).status_code == 200, "the code is unused"


async def set_factor_age(age: timedelta) -> None:
    from sqlalchemy import text

    from app.core.db import unit_of_work

    async with unit_of_work(None) as session:
        await session.execute(
            text("update web_session set factor_at = :at, last_seen_at = :now"), {"at": clock.now() - age, "now": clock.now()}
        )


class TestFreshness:
    async def test_each_permission_says_how_fresh(self, owner: Browser) -> None:
        await set_factor_age(timedelta(minutes=6))
        assert (await owner.post("/toys/rename", {"name": "a"})).status_code == 200, "fifteen minutes for this one"
        question = await owner.post("/invitations", {"email": "x@example.test", "role": "emperor"})
        assert question.status_code == 403
        assert "Confirm it is you" in text_of(question), "five for the team"

    @pytest.mark.parametrize("minutes", ["9" * 5000, "²", "-1", "0", "16", "", "1.5"])
    async def test_what_is_no_number_of_minutes_is_refused(self, owner: Browser, minutes: str) -> None:
        assert (await owner.post("/team/step-up", {"minutes_merchant.write": minutes})).status_code == 422

    async def test_a_merchant_asks_for_more_and_never_for_less(self, owner: Browser) -> None:
        assert (await owner.post("/team/step-up", {"minutes_merchant.write": "2"})).status_code == 303
        await set_factor_age(timedelta(minutes=3))
        assert (await owner.post("/toys/rename", {"name": "a"})).status_code == 403
        await set_factor_age(timedelta(minutes=1))
        assert (await owner.post("/toys/rename", {"name": "a"})).status_code == 200
        for name, minutes in (("merchant.write", "16"), ("team.write", "15"), ("merchant.write", "0"), ("orders.read", "5"), ("x", "5")):
            assert (await owner.post("/team/step-up", {f"minutes_{name}": minutes})).status_code == 422, (name, minutes)
        assert (await owner.post("/team/step-up", {"minutes_merchant.write": "15"})).status_code == 303
        await set_factor_age(timedelta(minutes=14))
        assert (await owner.post("/toys/rename", {"name": "a"})).status_code == 200

    async def test_a_program_with_a_session_is_answered_as_rfc_9470_says(self, owner: Browser) -> None:
        await set_factor_age(timedelta(minutes=6))
        answer = await owner.post("/invitations", {"email": "x@example.test", "role": "emperor"}, headers={"accept": "application/json"})
        assert answer.status_code == 401
        assert answer.json()["code"] == "insufficient_user_authentication"
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith("Bearer ")
        assert 'error="insufficient_user_authentication"' in challenge
        assert 'max_age="300"' in challenge
        assert (await owner.post("/step-up", {"step_up_code": totp_code()})).status_code == 303
        again = await owner.post("/invitations", {"email": "x@example.test", "role": "emperor"}, headers={"accept": "application/json"})
        assert again.status_code == 422, "now the act itself is looked at"


class TestMoneyPerProof:
    async def test_a_sum_beyond_the_limit_asks_though_the_factor_is_fresh(self, owner: Browser) -> None:
        assert (await owner.post("/team/step-up/limits", {"limit": "100", "limit_currency": "EUR"})).status_code == 303
        assert (await owner.post("/toys/pay", {"amount": "60"})).text == "<p>paid 60</p>"
        assert (await owner.post("/toys/pay", {"amount": "40"})).status_code == 200
        question = await owner.post("/toys/pay", {"amount": "0.01"})
        assert question.status_code == 403
        assert _fields(question.text, "/toys/pay")["amount"] == ["0.01"]
        wrong = await owner.post("/toys/pay", {"amount": "0.01", "step_up_code": "000000"})
        assert wrong.status_code == 403
        assert "wrong, too old, or was used already" in text_of(wrong)
        assert (await owner.post("/toys/pay", {"amount": "0.01", "step_up_code": totp_code()})).status_code == 200
        assert (await owner.post("/toys/pay", {"amount": "99"})).status_code == 200, "the sum begins anew with the proof"

    async def test_one_amount_above_it_needs_a_proof_of_its_own(self, owner: Browser) -> None:
        await owner.post("/team/step-up/limits", {"limit": "100", "limit_currency": "EUR"})
        await set_factor_age(timedelta(minutes=2))
        assert (await owner.post("/toys/pay", {"amount": "5000"})).status_code == 403
        assert (await owner.post("/toys/pay", {"amount": "5000", "step_up_code": totp_code()})).status_code == 200
        assert (await owner.post("/toys/pay", {"amount": "1"})).status_code == 403, "and that one proof is used up"

    async def test_many_at_once_do_not_slip_below_it(self, owner: Browser) -> None:
        import asyncio

        await owner.post("/team/step-up/limits", {"limit": "100", "limit_currency": "EUR"})
        answers = await asyncio.gather(
            *(owner.client.post("/toys/pay", data={"amount": "30", "csrf_token": owner.token}) for _ in range(6))
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [403] * 3
