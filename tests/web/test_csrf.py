"""Form tokens: every unsafe page route refuses a request that does not prove where it comes from."""

from collections.abc import Callable

import pytest

from app.core.ids import PersonId
from tests.support.factories.identity import PASSWORD
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.web import Browser

OpenBrowser = Callable[..., Browser]
WRITE = "/toys/write"


class TestSignedIn:
    async def test_with_the_pages_token_it_goes_through(self, owner: Browser) -> None:
        assert (await owner.post(WRITE)).status_code == 303

    async def test_with_the_token_in_the_header_too(self, owner: Browser) -> None:
        answer = await owner.client.post(WRITE, headers={"x-csrf-token": owner.token})
        assert answer.status_code == 303

    @pytest.mark.parametrize("token", ["", "0" * 64, "ü" * 64])
    async def test_with_no_or_a_wrong_token_it_is_refused(self, owner: Browser, token: str) -> None:
        answer = await owner.client.post(WRITE, data={"csrf_token": token})
        assert answer.status_code == 403
        assert "cross_site_request" in answer.text

    async def test_with_another_sessions_token_it_is_refused(self, owner: Browser, open_browser: OpenBrowser) -> None:
        stranger, tenant = open_browser(), await make_tenant()
        await stranger.adopt(PersonId(tenant.owner.id))
        await stranger.get("/security")
        assert stranger.token
        assert stranger.token != owner.token
        assert (await owner.post(WRITE, token=stranger.token)).status_code == 403
        assert (await stranger.post(WRITE)).status_code == 303, "the token is good in its own session"

    @pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 303), ("none", 303)])
    async def test_what_the_browser_says_of_the_origin_counts(self, owner: Browser, site: str, status: int) -> None:
        assert (await owner.post(WRITE, headers={"sec-fetch-site": site})).status_code == status

    async def test_a_token_in_the_address_is_not_one(self, owner: Browser) -> None:
        assert (await owner.client.post(f"{WRITE}?csrf_token={owner.token}")).status_code == 403

    async def test_a_json_body_carries_no_token(self, owner: Browser) -> None:
        assert (await owner.client.post(WRITE, json={"csrf_token": owner.token})).status_code == 403


class TestBeforeSignIn:
    async def test_signing_somebody_in_from_another_site_fails(self, browser: Browser, tenant: Tenant) -> None:
        fields = {"email": tenant.owner.email, "password": PASSWORD}
        assert (await browser.client.post("/sign-in", data=fields)).status_code == 403

    async def test_the_token_belongs_to_this_browsers_seed(self, browser: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        attacker = open_browser()
        await attacker.get("/sign-in")
        await browser.get("/sign-in")
        fields = {"email": tenant.owner.email, "password": PASSWORD}
        assert (await browser.post("/sign-in", fields, token=attacker.token)).status_code == 403
        assert (await browser.post("/sign-in", fields)).status_code == 303

    async def test_the_seed_from_before_is_worth_nothing_afterwards(self, browser: Browser, tenant: Tenant) -> None:
        await browser.get("/sign-in")
        before = browser.token
        await browser.adopt(PersonId(tenant.owner.id))
        assert (await browser.post(WRITE, token=before)).status_code == 403


class TestMachines:
    async def test_webhooks_carry_no_token_and_no_session(self, owner: Browser) -> None:
        answer = await owner.client.post("/webhooks/toy", content=b"12345", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 200
        assert answer.json() == {"bytes": 5}
