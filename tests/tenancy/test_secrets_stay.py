"""Secrets are planted wherever a person or a program may type one; afterwards they stand in no page, file, log line or column."""

import logging
from urllib.parse import quote

import psycopg
import pytest
from litestar import Litestar

from app.core.embedded import Urls
from app.core.ids import PersonId
from app.web.guards import declaration_of, declared_routes
from tests.support import web
from tests.support.factories.api_access import make_key
from tests.support.factories.identity import PASSWORD, TOTP_SECRET, totp_code
from tests.support.factories.sso import SECRET as SSO_SECRET
from tests.support.samples import fill, furnish, parameters
from tests.support.shop import SETTINGS, ScriptedPsp, Shop
from tests.support.web import Browser

pytestmark = pytest.mark.usefixtures("database")

IBAN = "GB33BUKB20201555555555"
PLANTED = {
    "password": PASSWORD,
    "wrong password": "wrong-but-close-to-mine-91",
    "authenticator": TOTP_SECRET,
    "secret key": "sk_sim_planted7731planted",
    "webhook secret": "whsec_UGxhbnRlZFNlY3JldFBsYW50ZWQ3NzMx",
    "provider's secret": SSO_SECRET,
    "account number": IBAN,
    "card number": "4242424242424242",
}
TABLES = (
    "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where c.relkind in ('r', 'p') and not c.relispartition and n.nspname not in ('pg_catalog', 'information_schema', 'pristine')"
)


@pytest.fixture(scope="session")
def whole_app(urls: Urls) -> Litestar:
    return web.whole_app()


async def plant(browser: Browser, shop: Shop, ids: dict[str, str]) -> dict[str, str]:
    """Type every secret where it belongs, and where it does not; gives those that came into being on the way."""
    email = shop.tenant.owner.email
    stranger = Browser(browser.app)
    await stranger.get("/sign-in")
    for password in (PLANTED["wrong password"], PASSWORD):
        await stranger.post("/sign-in", {"email": email, "password": password})
    await stranger.get("/sign-in/second-factor")
    code = totp_code()
    await stranger.post("/sign-in/second-factor", {"code": code})
    session = str(stranger.session_cookie)
    await stranger.close()
    settings = SETTINGS | {"name": "Planted", "secret_key": PLANTED["secret key"], "webhook_secret": PLANTED["webhook secret"]}
    for wrong in ({}, {"api_base_url": "nonsense"}):
        await browser.post("/connections/new/simulated", settings | wrong)
        await browser.post(f"/connections/{ids['connection_id']}/settings", settings | wrong)
    account = {"kind": "iban", "currency": "GBP", "holder_name": "Anna Berg", "number": IBAN}
    for wrong in ({"currency": "nonsense"}, {}):
        await browser.post(f"/sellers/{ids['seller_id']}/bank-accounts", account | wrong)
    _, key = await make_key(shop.merchant_id)
    for token in (key, key + "x"):
        await browser.client.get("/v1/orders", headers={"authorization": f"Bearer {token}"})
    await browser.post(f"/payments/{ids['payment_id']}/void", {"reason": f"card {PLANTED['card number']}", "idempotency_key": "k"})
    return {"session": session, "API key": key}


async def read_everything(browser: Browser, ids: dict[str, str]) -> dict[str, str]:
    """Every page and file that the owner can open."""
    seen = {}
    for method, path, handler in declared_routes(browser.app):
        guard = declaration_of(handler)
        if method != "GET" or guard is None or set(parameters(path)) - ids.keys():
            continue
        answer = await browser.get(fill(path, ids))
        seen[path] = answer.text
    return seen


def read_database(superuser: psycopg.Connection) -> dict[str, str]:
    """Every row of every table as text; sealed values as the hexadecimal digits they are kept in."""
    tables = [row[0] for row in superuser.execute(TABLES)]
    return {table: "\n".join(str(row[0]) for row in superuser.execute(f"select t::text from {table} t")) for table in tables}


def found(secrets: dict[str, str], places: dict[str, str]) -> list[tuple[str, str]]:
    """Which secret stands where; also as it looks in an address, in hexadecimal digits, and for account numbers without the last four."""
    wrong = []
    for name, secret in secrets.items():
        forms = {secret, quote(secret), secret.encode().hex()} | ({secret[:-4]} if name == "account number" else set())
        wrong += [(name, place) for place, text in places.items() if any(form in text for form in forms)]
    return wrong


class TestPlantedSecrets:
    async def test_they_stay_where_they_were_put(
        self, whole_app: Litestar, psp: ScriptedPsp, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        shop, ids = await furnish(psp)
        browser = Browser(whole_app)
        await browser.adopt(PersonId(shop.tenant.owner.id), merchant_id=shop.merchant_id)
        await browser.get("/security")
        secrets = PLANTED | await plant(browser, shop, ids)
        pages = await read_everything(browser, ids)
        await browser.close()
        assert len(pages) > 60
        rows = read_database(superuser)
        accounts = superuser.execute("select count(*) from bank_account where last4 = %s", [IBAN[-4:]]).fetchone()
        assert accounts == (1,), "what was planted has grown"
        assert "Planted" in rows["psp_connection"]
        log = "\n".join(str(record.__dict__) for record in caplog.records)
        assert "not_signed_in" in log
        assert found(secrets, pages | rows | {"log": log}) == []

    def test_the_search_itself_finds_them(self) -> None:
        places = {"page": f"… {quote(PASSWORD)} …", "row": rf"\x{PLANTED['secret key'].encode().hex()}", "list": IBAN[:-4] + "…"}
        assert found(PLANTED, places) == [("password", "page"), ("secret key", "row"), ("account number", "list")]


class TestReading:
    async def test_opening_every_page_changes_nothing(self, whole_app: Litestar, psp: ScriptedPsp, superuser: psycopg.Connection) -> None:
        shop, ids = await furnish(psp)
        browser = Browser(whole_app)
        await browser.adopt(PersonId(shop.tenant.owner.id), merchant_id=shop.merchant_id)
        await browser.get("/security")
        before = read_database(superuser)
        await read_everything(browser, ids)
        await browser.close()
        after = read_database(superuser)
        assert {table for table, rows in after.items() if rows != before[table]} <= NOTED_WHEN_READ

    async def test_every_file_that_is_taken_is_an_entry(self, whole_app: Litestar, psp: ScriptedPsp, superuser: psycopg.Connection) -> None:
        shop, ids = await furnish(psp)
        browser, files = Browser(whole_app), []
        await browser.adopt(PersonId(shop.tenant.owner.id), merchant_id=shop.merchant_id)
        for method, path, _ in declared_routes(whole_app):
            if method == "GET" and path.endswith(("export", ".csv")) and not set(parameters(path)) - ids.keys():
                answer = await browser.get(fill(path, ids))
                files += [fill(path, ids)] if answer.headers["content-type"].startswith("text/csv") else []
        await browser.close()
        rows = superuser.execute("select after ->> 'file' from audit_entry where action = 'export.taken'").fetchall()
        assert sorted(files) == sorted(row[0] for row in rows if row[0] in files)
        assert len(files) > 7


NOTED_WHEN_READ = {"rate_limit", "web_session", "audit_entry"}
"""How many asked, when a session was last seen, and that somebody took an export."""
