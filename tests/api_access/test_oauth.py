"""OAuth clients: how they prove who they are, what their tokens may do, and how both end."""

import asyncio
import base64
import hmac
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import psycopg
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from app.api_access import flows
from app.api_access.domain import SCOPES
from app.api_access.models import ApiClient
from app.api_access.service import clients
from app.core import clock, outbound
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.web import limits
from tests.api_access.conftest import Signer
from tests.support.factories.api_access import make_client
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.web import Browser

JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOY = "/v1/toys/one"
WRONG_CALLS: list[tuple[str, dict[str, str], int, str, str]] = [
    ("", {}, 401, "invalid_client", "Authenticate the client"),
    ("Basic !!!", {}, 401, "invalid_client", "as HTTP Basic"),
    ("Basic /w==", {}, 401, "invalid_client", "as HTTP Basic"),
    ("Bearer ch_live_x", {}, 401, "invalid_client", "as HTTP Basic"),
    ("wrong", {}, 401, "invalid_client", "unknown or disabled, or its secret is wrong"),
    ("nobody", {}, 401, "invalid_client", "unknown or disabled, or its secret is wrong"),
    ("right", {"grant_type": ""}, 400, "invalid_request", "grant_type=client_credentials"),
    ("right", {"grant_type": "password"}, 400, "unsupported_grant_type", ""),
    ("right", {"client_id": "cli_other"}, 400, "invalid_request", "another client"),
    ("right", {"client_assertion": "x"}, 400, "invalid_request", "one way"),
]
WRONG_CLAIMS: list[tuple[dict[str, object], str]] = [
    ({"aud": "https://elsewhere.example/token"}, "'aud'"),
    ({"aud": ["http://127.0.0.1:8000", "https://elsewhere.example"]}, "'aud'"),
    ({"aud": None}, "'aud'"),
    ({"iss": "cli_other"}, "'iss' and 'sub'"),
    ({"exp": 1}, "expired"),
    ({"exp": None}, "'exp'"),
    ({"exp": 9999999999}, "an hour"),
    ({"exp": "soon"}, "'exp'"),
    ({"nbf": 9999999999}, "not valid yet"),
    ({"iat": 9999999999}, "not valid yet"),
    ({"jti": None}, "'jti'"),
    ({"sub": 5}, "'sub'"),
]


def basic(client: ApiClient, secret: str) -> dict[str, str]:
    pair = f"{quote(public_id('cli', client.id))}:{quote(secret)}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


async def ask(browser: Browser, headers: dict[str, str], endpoint: str = "token", **form: str) -> httpx2.Response:
    fields = {"grant_type": "client_credentials"} | form if endpoint == "token" else form
    return await browser.client.post(f"/oauth/{endpoint}", data=fields, headers=headers)


async def token_of(browser: Browser, client: ApiClient, secret: str, **form: str) -> str:
    answer = await ask(browser, basic(client, secret), **form)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


async def use(browser: Browser, token: str) -> httpx2.Response:
    return await browser.client.get(TOY, headers={"authorization": f"Bearer {token}"})


async def assert_with(browser: Browser, assertion: str, **form: str) -> httpx2.Response:
    return await ask(browser, {}, client_assertion_type=JWT, client_assertion=assertion, **form)


async def signing(tenant: Tenant, signer: Signer) -> Signer:
    client, secret = await make_client(tenant.id, jwks=signer.jwks)
    assert secret == ""
    signer.client_id = public_id("cli", client.id)
    return signer


class TestToken:
    async def test_a_secret_gets_a_token_that_works_like_a_key(self, browser: Browser, tenant: Tenant) -> None:
        client, secret = await make_client(tenant.id, scopes=["orders.read", "payments.read"])
        answer = await ask(browser, basic(client, secret))
        body = answer.json()
        assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "orders.read payments.read")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"].startswith("application/json")
        assert "set-cookie" not in answer.headers
        used = await use(browser, body["access_token"])
        assert used.status_code == 200
        assert used.headers["ratelimit-policy"] == '"default";q=120000;w=60'
        assert used.headers["ratelimit"].startswith('"default";r=')

    async def test_a_token_may_do_less_than_its_client(self, browser: Browser, tenant: Tenant) -> None:
        client, secret = await make_client(tenant.id, scopes=["orders.read", "payments.read"])
        refused = await use(browser, await token_of(browser, client, secret, scope="payments.read"))
        assert (refused.status_code, refused.json()["permission"]) == (403, "orders.read")
        assert refused.headers["www-authenticate"].endswith('error="insufficient_scope", scope="orders.read"')
        more = await ask(browser, basic(client, secret), scope="orders.read payouts.request nonsense")
        assert (more.status_code, more.json()["error"]) == (400, "invalid_scope")
        assert more.json()["error_description"] == "The client may not have: payouts.request nonsense."

    async def test_what_was_given_and_taken_back_is_in_the_trail(
        self, browser: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        client, secret = await make_client(tenant.id, scopes=["orders.read", "payments.read"])
        token = await token_of(browser, client, secret, scope="payments.read")
        await ask(browser, basic(client, secret), "revoke", token=token)
        await ask(browser, basic(client, "wrong"))
        noted = superuser.execute(
            "select action, actor_kind, object_id, coalesce(after, before)->'scopes' from audit_entry where action like 'api_client.token%' order by id"
        ).fetchall()
        assert noted == [(f"api_client.token_{what}", "api_client", client.id, ["payments.read"]) for what in ("issued", "revoked")]

    async def test_it_ends(self, browser: Browser, tenant: Tenant) -> None:
        token = await token_of(browser, *await make_client(tenant.id))
        with clock.travel(timedelta(minutes=10, seconds=1)):
            answer = await use(browser, token)
        assert (answer.status_code, "access token has expired" in answer.json()["detail"]) == (401, True)

    async def test_only_hashes_are_kept(self, browser: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
        client, secret = await make_client(tenant.id)
        token = await token_of(browser, client, secret)
        dump = str(
            superuser.execute(
                "select (select string_agg(s::text, ' ') from api_client_secret s), (select string_agg(t::text, ' ') from api_token t),"
                " (select string_agg(a::text, ' ') from audit_entry a)"
            ).fetchone()
        )
        assert secret[15:] not in dump
        assert token[15:] not in dump

    async def test_what_is_wrong_is_said(self, browser: Browser, tenant: Tenant) -> None:
        client, secret = await make_client(tenant.id)
        unknown = base64.b64encode(b"cli_00000000000000000000000000:x").decode()
        known = {"wrong": basic(client, secret + "x"), "nobody": {"authorization": f"Basic {unknown}"}, "right": basic(client, secret)}
        for header, form, status, error, why in WRONG_CALLS:
            answer = await ask(browser, known.get(header, {"authorization": header} if header else {}), **form)
            assert (answer.status_code, answer.json()["error"]) == (status, error), (header, form)
            assert why in answer.json().get("error_description", ""), (header, form)
            assert ("www-authenticate" in answer.headers) is (status == 401)

    async def test_what_is_no_form_is_refused(self, browser: Browser, tenant: Tenant) -> None:
        client, secret = await make_client(tenant.id)
        for content, kind in ((b"{}", "application/json"), (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded")):
            answer = await browser.client.post("/oauth/token", content=content, headers=basic(client, secret) | {"content-type": kind})
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    async def test_a_client_gets_so_many_tokens_a_minute(self, browser: Browser, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flows, "TOKENS_PER_MINUTE", limits.Limit(name="token", requests=2, seconds=86400))
        client, secret = await make_client(tenant.id)
        answers = [await ask(browser, basic(client, secret)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) > 0
        assert answers[-1].headers["content-type"] == "application/problem+json"

    async def test_a_client_has_its_own_rate_limit(self, browser: Browser, tenant: Tenant) -> None:
        token = await token_of(browser, *await make_client(tenant.id, requests_per_minute=2))
        answers = [await use(browser, token) for _ in range(5)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused  # five within two minutes and two allowed in each: at least one
        assert refused[0].headers["ratelimit-policy"] == '"default";q=2;w=60'
        assert refused[0].json()["code"] == "too_many_requests"


class TestAssertion:
    @pytest.mark.parametrize(
        ("key", "alg"),
        [(ECKey.generate_key("P-256"), "ES256"), (RSAKey.generate_key(2048), "PS256"), (OKPKey.generate_key("Ed25519"), "Ed25519")],
        ids=["ec", "rsa", "ed25519"],
    )
    async def test_a_signature_gets_a_token(self, browser: Browser, tenant: Tenant, key: Any, alg: str) -> None:
        signer = await signing(tenant, Signer(key))
        answer = await assert_with(browser, signer.sign(signer.claims(), alg=alg))
        assert answer.status_code == 200, answer.text
        assert (await use(browser, answer.json()["access_token"])).status_code == 200

    async def test_a_claim_that_is_wrong_is_named(self, browser: Browser, tenant: Tenant, signer: Signer) -> None:
        signer = await signing(tenant, signer)
        for change, why in WRONG_CLAIMS:
            answer = await assert_with(browser, signer.sign(signer.claims(**change)))
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), change
            assert why in answer.json()["error_description"], change

    async def test_forged_signatures(self, browser: Browser, tenant: Tenant) -> None:
        key = RSAKey.generate_key(2048)
        signer = await signing(tenant, Signer(key))
        claims = signer.claims()
        plain = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none", "kid": "one"}, claims)
        )
        right = signer.sign(claims, alg="RS256")
        unsigned = signer.sign(claims, alg="HS256", key=OctKey.generate_key()).rpartition(".")[0]
        mac = hmac.digest(key.as_pem(private=False), unsigned.encode(), "sha256")
        confused = f"{unsigned}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        head, body, signature = right.split(".")
        forged = [
            plain + ".",
            confused,
            signer.sign(claims, alg="RS256", key=RSAKey.generate_key(2048)),
            signer.sign(claims, alg="RS256", kid="two"),
            signer.sign(claims, alg="RS256", typ="at+jwt"),
            f"{head}.{body}.{signature[:-4]}AAAA",
            "nonsense",
            "a.b.c",
        ]
        for assertion in forged:
            answer = await assert_with(browser, assertion)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), assertion
        assert (await assert_with(browser, right)).status_code == 200

    async def test_an_assertion_counts_once_however_many_come_at_once(self, browser: Browser, tenant: Tenant, signer: Signer) -> None:
        signer = await signing(tenant, signer)
        assertion = signer.sign(signer.claims())
        answers = await asyncio.gather(*(assert_with(browser, assertion) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
        assert "used before" in (await assert_with(browser, assertion)).json()["error_description"]

    async def test_neither_proof_stands_in_for_the_other(self, browser: Browser, tenant: Tenant, signer: Signer) -> None:
        signer = await signing(tenant, signer)
        client, secret = await make_client(tenant.id)
        pair = base64.b64encode(f"{signer.client_id}:{secret}".encode()).decode()
        assert (await ask(browser, {"authorization": f"Basic {pair}"})).status_code == 401
        signer.client_id = public_id("cli", client.id)
        assert (await assert_with(browser, signer.sign(signer.claims()))).status_code == 401

    async def test_keys_are_fetched_and_fetched_again(
        self, browser: Browser, tenant: Tenant, signer: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served, asked = {"body": signer.jwks.encode()}, []

        async def call(_pool: object, method: str, url: str, **_: object) -> outbound.Answer:
            asked.append((method, url))
            return (
                outbound.Answer(status=200, body=served["body"]) if served["body"] else outbound.Answer(failure=outbound.Failure.TLS_FAILED)
            )

        monkeypatch.setattr(outbound.Pool, "call", call)
        client, _ = await make_client(tenant.id, jwks_url="https://keys.example/jwks.json")
        signer.client_id = public_id("cli", client.id)

        async def status() -> int:
            return (await assert_with(browser, signer.sign(signer.claims()))).status_code

        assert [await status(), await status()] == [200, 200]
        assert asked == [("GET", "https://keys.example/jwks.json")]
        served["body"] = b""
        with clock.travel(timedelta(minutes=11)):
            assert await status() == 200  # the address is silent, and the keys are not old
        with clock.travel(timedelta(minutes=61)):
            assert await status() == 401
            asked.clear()
            for _ in range(13):  # whoever names the client makes us ask six times a minute, and this is over within two
                await status()
            assert len(asked) <= 12
        served["body"] = Signer(ECKey.generate_key("P-256")).jwks.encode()
        with clock.travel(timedelta(minutes=11)):
            assert await status() == 401  # other keys under the same name: what the old ones sign is over


class TestEnd:
    async def test_a_client_revokes_its_own_tokens_and_no_others(self, browser: Browser, tenant: Tenant) -> None:
        mine, others = await make_client(tenant.id), await make_client(tenant.id)
        foreign = await make_client((await make_tenant()).id)
        token = await token_of(browser, *mine)
        for stranger in (others, foreign):
            answer = await ask(browser, basic(*stranger), "revoke", token=token)
            assert (answer.status_code, answer.json()) == (200, {})
            assert (await ask(browser, basic(*stranger), "introspect", token=token)).json() == {"active": False}
        assert (await use(browser, token)).status_code == 200
        assert (await ask(browser, basic(*mine), "revoke", token=token, token_type_hint="refresh_token")).status_code == 200
        assert (await use(browser, token)).status_code == 401
        assert (await ask(browser, basic(*mine), "introspect", token=token)).json() == {"active": False}
        assert (await ask(browser, basic(*mine), "revoke")).json()["error"] == "invalid_request"
        assert (await ask(browser, {}, "revoke", token=token)).status_code == 401

    async def test_introspection_says_what_a_token_may(self, browser: Browser, tenant: Tenant) -> None:
        client, secret = await make_client(tenant.id, scopes=["orders.read"])
        token = await token_of(browser, client, secret)
        body = (await ask(browser, basic(client, secret), "introspect", token=token)).json()
        assert (body["active"], body["scope"], body["client_id"]) == (True, "orders.read", public_id("cli", client.id))
        assert body["exp"] - body["iat"] == 600

    async def test_what_is_disabled_is_dead_at_once_in_every_process(
        self, browser: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        client, secret = await make_client(tenant.id)
        token = await token_of(browser, client, secret)
        assert (await use(browser, token)).status_code == 200
        # what another process writes is all that this one can know of it
        superuser.execute("update api_client set disabled_at = now() where id = %s", [client.id])
        assert (await use(browser, token)).status_code == 401
        assert (await ask(browser, basic(client, secret))).status_code == 401
        async with unit_of_work(tenant.id) as session:
            await clients.enable_client(session, tenant.actor(), client_id=client.id)
        assert (await use(browser, token)).status_code == 200
        async with unit_of_work(tenant.id) as session:
            await clients.disable_client(session, tenant.actor(), client_id=client.id)
        async with unit_of_work(tenant.id) as session:
            await clients.enable_client(session, tenant.actor(), client_id=client.id)
        assert (await use(browser, token)).status_code == 401  # enabled is the client, not what it had
        assert (await use(browser, await token_of(browser, client, secret))).status_code == 200

    async def test_a_new_secret_overlaps_with_the_old_one(self, browser: Browser, tenant: Tenant) -> None:
        client, old = await make_client(tenant.id)

        async def rotate(overlap: timedelta) -> str:
            async with unit_of_work(tenant.id) as session:
                return (await clients.rotate_secret(session, tenant.actor(), client_id=client.id, overlap=overlap))[1]

        new = await rotate(timedelta(hours=1))
        assert [(await ask(browser, basic(client, one))).status_code for one in (old, new)] == [200, 200]
        with clock.travel(timedelta(hours=1, seconds=1)):
            assert [(await ask(browser, basic(client, one))).status_code for one in (old, new)] == [401, 200]
        newest = await rotate(timedelta())
        assert [(await ask(browser, basic(client, one))).status_code for one in (old, new, newest)] == [401, 401, 200]


async def test_a_client_that_has_ended_gets_no_tokens_and_those_it_has_are_dead(browser: Browser, tenant: Tenant, owner: Browser) -> None:
    client, secret = await make_client(tenant.id)
    path = f"/api-clients/oauth/{public_id('cli', client.id)}"
    await owner.get(path)
    kept = {"name": client.name, "scopes": client.scopes, "expires": "30"}
    assert (await owner.post(f"{path}/edit", kept)).status_code == 303
    with clock.travel(timedelta(days=30, minutes=-5)):
        token = await token_of(browser, client, secret)
        assert (await use(browser, token)).status_code == 200
        with clock.travel(timedelta(minutes=6)):
            assert "has expired" in (await use(browser, token)).text
            assert (await ask(browser, basic(client, secret))).status_code == 401


class TestAddresses:
    async def test_a_list_holds_for_the_token_and_for_asking_for_it(self, browser: Browser, tenant: Tenant) -> None:
        inside = await make_client(tenant.id, networks="192.0.2.0/24 2001:db8::/32")
        outside = await make_client(tenant.id, networks="198.51.100.7")
        forged = {"x-forwarded-for": "198.51.100.7", "forwarded": "for=198.51.100.7"}
        assert (await use(browser, await token_of(browser, *inside))).status_code == 200
        answer = await ask(browser, basic(*outside) | forged)
        assert (answer.status_code, answer.json()["error_description"]) == (401, "This client may not be used from 192.0.2.10.")


async def test_metadata_is_what_a_client_library_expects(browser: Browser) -> None:
    found = (await browser.client.get("/.well-known/oauth-authorization-server")).json()
    secure = json.loads(json.dumps(found).replace("http://127.0.0.1:8000", "https://pay.example"))
    # we have no authorization endpoint and so no response types, which the library takes for a missing list
    AuthorizationServerMetadata(secure | {"response_types_supported": ["none"]}).validate()
    assert found["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "private_key_jwt"]
    assert set(found["scopes_supported"]) == set(SCOPES)
    assert not {"none", "HS256"} & set(found["token_endpoint_auth_signing_alg_values_supported"])
