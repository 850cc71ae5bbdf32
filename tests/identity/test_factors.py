"""Second factors: another app, the last one stays; ten thousand guesses get nowhere and lock nobody out."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from webauthn.helpers import bytes_to_base64url

from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import PersonId, new_id
from app.identity import flows, service
from app.identity.domain import CodeRefused
from app.web import cookies
from tests.support.factories.identity import PASSWORD, TOTP_SECRET, make_person, totp_code
from tests.support.factories.tenancy import Tenant
from tests.support.post import letters
from tests.support.soft_key import SoftKey
from tests.support.web import HOST, Browser, text_of

PASSKEY = (
    "insert into passkey (id, person_id, name, credential_id, public_key, counter, created_at) values (%s, %s, 'Laptop', '1', '', 0, now())"
)

# the service's own statement, ninety-nine times over without the way there and back
MANY = f"""
create function pg_temp.ninety_nine(k text, n timestamptz, f timestamptz) returns integer language plpgsql as $$
declare counted integer := 0; one integer;
begin
    for i in 1..99 loop
        one := null;
        {service._TAKE_TRY.text.replace(":key", "k").replace(":now", "n").replace(":forgotten", "f").replace("returning failures", "returning t.failures into one")};
        counted := counted + (one is not null)::integer;
    end loop;
    return counted;
end $$
"""


class TestApp:
    async def test_another_app_replaces_the_one_before(self, owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
        page = await owner.get("/security/app")
        secret = re.findall(r"data-secret>([A-Z2-7 ]+)<", page.text)[0].replace(" ", "")
        sealed = re.findall(r'name="sealed" value="([^"]+)"', page.text)[0]
        assert (await owner.post("/security/app", {"sealed": sealed, "code": "000000"})).status_code == 422
        assert (await owner.post("/security/app", {"sealed": sealed, "code": totp_code(secret)})).status_code == 303
        assert (await owner.post("/security/app", {"sealed": sealed, "code": totp_code(secret)})).status_code == 422, "once"
        with clock.travel(timedelta(seconds=31)):
            with pytest.raises(CodeRefused):
                async with unit_of_work(None) as session:
                    await service.use_totp(session, PersonId(tenant.owner.id), code=totp_code(TOTP_SECRET))
            async with unit_of_work(None) as session:
                await service.use_totp(session, PersonId(tenant.owner.id), code=totp_code(secret))
        assert (await letters(to=tenant.owner.email))[0].subject == "A new authenticator app"

    async def test_anothers_sealed_secret_is_worth_nothing(self, owner: Browser, tenant: Tenant) -> None:
        async with unit_of_work(None) as session:
            other = await make_person(session)
        secret, sealed = service.new_app(PersonId(other.id))
        assert (await owner.post("/security/app", {"sealed": sealed, "code": totp_code(secret)})).status_code == 422

    async def test_the_last_factor_stays(self, owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
        assert (await owner.post("/security/app/remove")).status_code == 409
        key = new_id()
        superuser.execute(PASSKEY, [key, tenant.owner.id])
        assert (await owner.post("/security/app/remove")).status_code == 303
        page = await owner.get("/security")
        assert "Not set up" in text_of(page)
        (row,) = re.findall(r"/security/passkeys/(pky_\w+)/remove", page.text)
        assert (await owner.post(f"/security/passkeys/{row}/remove")).status_code == 409


class TestSharedAddress:
    async def test_who_guesses_from_the_same_address_keeps_no_known_browser_and_no_key_out(
        self, open_browser: Callable[..., Browser], tenant: Tenant
    ) -> None:
        guesser, known, new = open_browser(), open_browser(), open_browser()
        await guesser.get("/sign-in")
        for number in range(30):
            await guesser.post("/sign-in", {"email": f"person-{number}@example.test", "password": "wrong"})
        known.client.cookies.set(cookies.device_name(), service.device_token(tenant.owner.email), domain=HOST, path="/")
        form, statuses = {"email": tenant.owner.email, "password": PASSWORD}, []
        for browser in (new, known):
            await browser.get("/sign-in")
            statuses.append((await browser.post("/sign-in", form)).status_code)
        assert statuses == [429, 303]
        key = SoftKey()
        await key.belong_to(PersonId(tenant.owner.id))
        await new.get("/sign-in")
        asked = await new.post("/sign-in/passkey/ask")
        assert (await new.post("/sign-in/passkey", {"answer": key.answer(asked.text)})).status_code == 303


class TestRecoveryCodes:
    async def test_one_opens_the_account_and_acts_for_no_merchant(self, browser: Browser, tenant: Tenant) -> None:
        async with unit_of_work(None) as session:
            code = (await service.renew_recovery_codes(session, PersonId(tenant.owner.id)))[0]
        await browser.get("/sign-in")
        await browser.follow(await browser.post("/sign-in", {"email": tenant.owner.email, "password": PASSWORD}))
        await browser.get("/sign-in/recovery")
        assert (await browser.post("/sign-in/recovery", {"code": code})).status_code == 303
        assert (await browser.get("/security/app")).status_code == 200, "another factor can be set up"
        asked = await browser.post("/toys/rename", {"name": "x"})
        assert (asked.status_code, "Confirm" in text_of(asked)) == (403, True), "however lately the code was entered"
        assert (await browser.post("/toys/rename", {"name": "x", "step_up_code": totp_code()})).status_code == 200


class TestKeys:
    @pytest.mark.parametrize("name", ["a", "é", "\u0000", ""])
    async def test_an_answer_whose_key_has_no_readable_name_is_refused(self, owner: Browser, name: str) -> None:
        """The question is a real one, so that everything before the name is right."""
        asked = await owner.post("/passkeys/ask")
        client = json.dumps({"type": "webauthn.get", "challenge": asked.json()["challenge"]}).encode()
        answer = json.dumps({"id": name, "response": {"clientDataJSON": bytes_to_base64url(client)}})
        assert (await owner.post("/sign-in/second-factor", {"code": answer})).status_code == 422


class TestGuessing:
    async def test_ten_thousand_guesses_get_nowhere_and_lock_nobody_out(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        email, me = tenant.owner.email, PersonId(tenant.owner.id)
        device = service.device_token(email)
        # who guesses the password, and who knows it and guesses codes of the app and recovery codes; each from any number of addresses
        doors = [service.tries_key(email, ""), service.factor_key(me, email, device="")]
        judged: Counter[str] = Counter()
        superuser.execute(MANY)
        for wave in range(50):
            # every three hours and twenty minutes a hundred guesses at each door; what comes after the first of them meets its wait
            with clock.travel(timedelta(minutes=200) * wave):
                for door in doors:
                    async with unit_of_work(None) as session:
                        for _ in range(10 if wave == 0 else 1):
                            judged[door] += await service.take_try(session, door) == 0
                    values = [door, clock.now(), clock.now() - timedelta(days=1)]
                    counted = superuser.execute("select pg_temp.ninety_nine(%s, %s, %s)", values).fetchone()
                    judged[door] += counted[0] if counted else 99
        week = timedelta(minutes=10_000) / timedelta(minutes=30)
        assert all(50 <= count <= 10 + week for count in judged.values()), judged
        # each code guessed is one of three good ones in a million
        assert judged[doors[1]] * 3 / 1_000_000 < 0.002

        with clock.travel(timedelta(minutes=10_000)):
            place = {"address": "203.0.113.9", "user_agent": ""}
            token, enrolled = await flows.sign_in(email=email, password=PASSWORD, device=device, **place)
            assert token and enrolled, "the person's own browser does not wait for a stranger"
            for own in (service.factor_key(me, email, device=device), service.factor_key(me, email, device="", session_id=new_id())):
                async with unit_of_work(None) as session:
                    assert await service.take_try(session, own) == 0
            async with unit_of_work(None) as session:
                other = await make_person(session)
            assert (await flows.sign_in(email=other.email, password=PASSWORD, **place))[1], "and nobody else does"

    async def test_a_known_browser_of_somebody_else_is_an_unknown_one(self, tenant: Tenant) -> None:
        theirs = service.device_token("mallory@example.test")
        assert service.factor_key(PersonId(tenant.owner.id), tenant.owner.email, device=theirs) == f"factor:{tenant.owner.id}"
