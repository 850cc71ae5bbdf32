"""A client library of others gets tokens from the application and calls it, proving itself in both ways."""

import httpx2
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import RSAKey

from app.core.ids import public_id
from tests.api_access.conftest import Signer
from tests.support.factories.api_access import make_client
from tests.support.factories.tenancy import Tenant
from tests.support.web import ORIGIN, Browser


@pytest.mark.parametrize("method", ["client_secret_basic", "private_key_jwt"])
async def test_authlib_s_client_gets_a_token_and_calls_the_api(browser: Browser, tenant: Tenant, method: str) -> None:
    found = (await browser.client.get("/.well-known/oauth-authorization-server")).json()
    options: dict[str, object] = {"token_endpoint_auth_method": method}
    if method == "private_key_jwt":
        signer = Signer(RSAKey.generate_key(2048))
        row, _ = await make_client(tenant.id, jwks=signer.jwks)
        options = {"token_endpoint_auth_method": PrivateKeyJWT(found["token_endpoint"])}
        secret: object = signer.key.as_pem(private=True).decode()
    else:
        row, secret = await make_client(tenant.id)
    transport = httpx2.ASGITransport(app=browser.app, client=("192.0.2.10", 40000))
    client_id = public_id("cli", row.id)
    async with AsyncOAuth2Client(client_id, secret, scope="orders.read", transport=transport, base_url=ORIGIN, **options) as library:
        token = await library.fetch_token(found["token_endpoint"], grant_type="client_credentials")
        assert (token["token_type"], token["scope"]) == ("Bearer", "orders.read")
        assert (await library.get("/v1/toys/one")).status_code == 200
        assert (await library.post("/v1/toys", json={"reference": "a", "amount": 1})).status_code == 403
