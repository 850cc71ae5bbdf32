"""A browser in which somebody has signed in before: tries used up elsewhere do not count there, and its own do."""

from collections.abc import Callable

from app.identity import service
from app.web import cookies
from tests.identity.test_sign_in import enter_password
from tests.support.factories.identity import totp_code
from tests.support.factories.tenancy import Tenant
from tests.support.web import HOST, Browser

OpenBrowser = Callable[..., Browser]


class TestKnownBrowser:
    async def test_nobody_outside_makes_its_person_wait(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        mine, attacker, stranger = open_browser("203.0.113.3"), open_browser("203.0.113.1"), open_browser("203.0.113.4")
        await enter_password(mine, tenant.owner.email)
        await mine.post("/sign-in/second-factor", {"code": totp_code()})
        await mine.get("/security")
        assert (await mine.post("/sign-out")).status_code == 303
        for _ in range(6):
            await enter_password(attacker, tenant.owner.email, "wrong")
        assert await enter_password(stranger, tenant.owner.email) == 429
        assert await enter_password(mine, tenant.owner.email) == 303
        attacker.client.cookies.set(cookies.device_name(), "made-up." + "x" * 43, domain=HOST, path="/")
        assert await enter_password(attacker, tenant.owner.email) == 429

    async def test_it_has_few_tries_of_its_own_and_for_its_own_person_only(self, open_browser: OpenBrowser, tenant: Tenant) -> None:
        stolen = open_browser("203.0.113.3")
        token = service.device_token(tenant.owner.email)
        stolen.client.cookies.set(cookies.device_name(), token, domain=HOST, path="/")
        statuses = [await enter_password(stolen, tenant.owner.email, "wrong") for _ in range(6)]
        assert statuses == [422] * 5 + [429]
        assert service.tries_key("someone@else.example", token) == "account:someone@else.example"
