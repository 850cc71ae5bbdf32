"""The pages of OAuth clients."""

import json
import re
from collections.abc import Callable

import psycopg
from bs4 import BeautifulSoup

from app.core.ids import PersonId, new_id, public_id
from app.tenancy.domain import Role
from tests.api_access.conftest import Signer
from tests.support.factories.api_access import make_client, make_token
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]
FORM = {"name": "Warehouse", "scopes": ["orders.read"], "method": "client_secret_basic"}
ORDER = "/v1/toys/one"
"""What a program with `orders.read` may look at."""
WRONG: list[tuple[dict[str, object], str]] = [
    ({"scopes": []}, "Choose at least one"),
    ({"scopes": ["payouts.approve"]}, "cannot have payouts.approve"),
    ({"networks": "here"}, "neither an address nor a network"),
    ({"method": "private_key_jwt"}, "one of the two"),
    ({"method": "private_key_jwt", "jwks_url": "http://keys.example/"}, "https://"),
    ({"method": "private_key_jwt", "jwks_url": "https://127.0.0.1/"}, "public internet"),
    ({"method": "private_key_jwt", "jwks": "nonsense"}, "not JSON"),
    ({"method": "private_key_jwt", "jwks": '{"keys": [{"kty": "oct", "k": "AAAA"}]}'}, "shared secret"),
    ({"method": "private_key_jwt", "jwks": '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}'}, "2048 bits"),
    ({"method": "private_key_jwt", "jwks": '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}'}, "cannot be read"),
]


async def test_a_client_s_life_page_by_page(owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    assert "No OAuth clients yet" in text_of(await owner.get("/api-clients/oauth"))
    await owner.get("/api-clients/oauth/new")
    made = await owner.post("/api-clients/oauth", FORM | {"networks": "192.0.2.0/24", "requests_per_minute": "100"})
    secret = re.findall(r"ch_live_cs_[A-Za-z0-9_-]{43}", made.text)[0]
    client = re.findall(r"cli_[0-9a-z]{26}", made.text)[0]
    page = await owner.get(f"/api-clients/oauth/{client}")
    assert secret not in page.text
    assert secret[:15] in page.text
    facts = text_of(page)
    assert "192.0.2.0/24" in facts and "orders.read" in facts and "/oauth/token" in facts
    again = await owner.post(f"/api-clients/oauth/{client}/secret", {"overlap": "24"})
    assert re.findall(r"ch_live_cs_[A-Za-z0-9_-]{43}", again.text)[0] != secret
    assert (await owner.get(f"/api-clients/oauth/{client}")).text.count("ch_live_cs_") == 2
    for act, state in (("disable", "Disabled"), ("enable", "Active")):
        assert (await owner.post(f"/api-clients/oauth/{client}/{act}")).status_code == 303
        badge = BeautifulSoup((await owner.get(f"/api-clients/oauth/{client}")).text, "html.parser").select_one(".ph .badge")
        assert badge is not None and badge.get_text().strip() == state
    assert (await owner.post(f"/api-clients/oauth/{client}/revoke", {"name": "ware"})).status_code == 422
    assert (await owner.post(f"/api-clients/oauth/{client}/revoke", {"name": "Warehouse"})).status_code == 303
    assert "Warehouse" in text_of(await owner.get("/api-clients/oauth?state=revoked&q=ware"))
    assert "No client matches" in text_of(await owner.get("/api-clients/oauth?state=active"))
    assert (await owner.post(f"/api-clients/oauth/{client}/enable")).status_code == 409
    acts = superuser.execute("select action from audit_entry where action like 'api_client%' order by id").fetchall()
    assert [act for (act,) in acts] == [f"api_client.{act}" for act in ("added", "secret_rotated", "disabled", "enabled", "revoked")]


async def test_keys_are_pasted_and_changed(owner: Browser, tenant: Tenant, signer: Signer) -> None:
    await owner.get("/api-clients/oauth/new")
    made = await owner.post("/api-clients/oauth", FORM | {"method": "private_key_jwt", "jwks": signer.jwks})
    assert made.status_code == 303
    path = made.headers["location"]
    assert "Pasted here" in text_of(await owner.get(path))
    changed = await owner.post(f"{path}/keys", {"jwks_url": "https://keys.example/jwks.json"})
    assert changed.status_code == 303
    assert "https://keys.example/jwks.json" in text_of(await owner.get(path))
    assert (await owner.post(f"{path}/secret", {"overlap": "0"})).status_code == 409


async def test_what_is_wrong_is_said(owner: Browser, tenant: Tenant) -> None:
    await owner.get("/api-clients/oauth/new")
    for fields, why in WRONG:
        answer = await owner.post("/api-clients/oauth", FORM | fields)
        assert (answer.status_code, why in text_of(answer)) == (422, True), fields


async def test_a_private_key_is_refused(owner: Browser, tenant: Tenant, signer: Signer) -> None:
    await owner.get("/api-clients/oauth/new")
    private = json.dumps({"keys": [signer.key.as_dict(private=True)]})
    answer = await owner.post("/api-clients/oauth", FORM | {"method": "private_key_jwt", "jwks": private})
    assert (answer.status_code, "is a private key" in text_of(answer)) == (422, True)


async def test_somebody_elses_client_is_not_there(owner: Browser, tenant: Tenant) -> None:
    row, _ = await make_client((await make_tenant()).id)
    answers = [await owner.get(f"/api-clients/oauth/{public_id('cli', one)}") for one in (row.id, new_id())]
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_a_token_opens_no_page(browser: Browser, tenant: Tenant) -> None:
    token = await make_token(tenant.id)
    assert (await browser.get("/api-clients/oauth", headers={"authorization": f"Bearer {token}"})).status_code == 303


async def test_a_client_is_changed_and_tokens_that_may_do_more_are_dead_at_once(
    owner: Browser, browser: Browser, tenant: Tenant, superuser: psycopg.Connection
) -> None:
    row, _ = await make_client(tenant.id, name="Warehouse", scopes=["orders.read", "sellers.read"])
    wide, narrow = await make_token(tenant.id, of=row), await make_token(tenant.id, of=row, scopes=["orders.read"])
    path = f"/api-clients/oauth/{public_id('cli', row.id)}"
    form = await owner.get(f"{path}/edit")
    assert "Warehouse" in form.text and form.text.count("checked") == 2
    assert (await owner.post(f"{path}/edit", {"name": "Depot", "scopes": []})).status_code == 422
    changed = {"name": "Depot", "scopes": ["orders.read"], "networks": "192.0.2.0/24", "requests_per_minute": "90"}
    assert (await owner.post(f"{path}/edit", changed)).status_code == 303
    answers = [(await browser.client.get(ORDER, headers={"authorization": f"Bearer {token}"})).status_code for token in (wide, narrow)]
    assert answers == [401, 200]
    entry = superuser.execute("select before, after from audit_entry where action = 'api_client.changed'").fetchone()
    assert entry is not None
    assert (entry[0]["scopes"], entry[1]["scopes"], entry[0]["name"], entry[1]["name"]) == (
        ["orders.read", "sellers.read"], ["orders.read"], "Warehouse", "Depot",
    )  # fmt: skip
    assert (await owner.post(f"{path}/edit", changed)).status_code == 303
    entries = superuser.execute("select count(*) from audit_entry where action = 'api_client.changed'").fetchone()
    assert entries == (1,), "what changes nothing leaves no entry"


async def test_nobody_enables_what_may_do_more_than_they_do(owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
    """An admin may disable a client that pays out, and needs somebody who may ask for payouts to let it in again."""
    row, _ = await make_client(tenant.id, scopes=["orders.read", "payouts.request"])
    admin, at = open_browser(), f"/api-clients/oauth/{public_id('cli', row.id)}"
    await admin.adopt(PersonId((await make_member(tenant, Role.ADMIN)).id), merchant_id=tenant.id)
    await admin.get(at)
    assert (await admin.post(f"{at}/disable")).status_code == 303
    refused = await admin.post(f"{at}/enable")
    assert refused.status_code == 422
    assert "cannot give what you may not do yourself: payouts.request" in text_of(refused)
    assert "Disabled" in text_of(await owner.get(at))
    assert (await owner.post(f"{at}/enable")).status_code == 303
