"""Tokens a real provider cannot be made to issue: each forged in one way, each refused. And GitHub, as its documentation says it answers."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from litestar import Litestar, Request, Response, get, post

from app.core.clock import now
from app.core.settings import SettingsError
from app.identity import oauth
from app.identity.domain.providers import (
    LOGOUT_EVENT,
    Attempt,
    LogoutTokenRefused,
    Proof,
    Provider,
    ProviderSignInRefused,
    ProviderUnusable,
    may_become_person,
    read_providers,
)
from tests.support.served import served

ISSUER, CLIENT, NONCE, ACCESS = "https://idp.test", "us", "the nonce", "the access token"
KEY = RSAKey.generate_key(2048, parameters={"kid": "k", "use": "sig"})
STRANGER = RSAKey.generate_key(2048, parameters={"kid": "k", "use": "sig"})
SHARED = OctKey.import_key("the client secret, thirty-two bytes long", parameters={"kid": "k", "use": "sig"})
PUBLIC: list[dict[str, object]] = [dict(KEY.as_dict(private=False)), dict(SHARED.as_dict())]
ACME = Provider(key="acme", name="Acme", client_id=CLIENT, client_secret="the client secret, thirty-two bytes long", issuer=ISSUER)


def claims(**changes: object) -> dict[str, Any]:
    moment = int(now().timestamp())
    whole = {"iss": ISSUER, "sub": "7", "aud": CLIENT, "iat": moment, "exp": moment + 300, "nonce": NONCE, "auth_time": moment} | changes
    return {name: value for name, value in whole.items() if value is not None}


def signed(content: Mapping[str, Any], *, key: Any = KEY, alg: str = "RS256", kid: str | None = "k") -> str:
    header = {"alg": alg} | ({"kid": kid} if kid else {})
    return jwt.encode(header, dict(content), key, algorithms=[alg])


def judge(token: str, provider: Provider = ACME) -> Proof:
    return oauth.read_id_token(provider, token, PUBLIC, nonce=NONCE, access_token=ACCESS, at=now())


def by_hand(alg: str, made: hmac.HMAC | None = None) -> str:
    """A token in a way that no library signs: without a key, or with the public key as if it were a secret."""

    def text(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).decode().rstrip("=")

    content = ".".join(text(json.dumps(part).encode()) for part in ({"alg": alg, "kid": "k"}, claims()))
    if made is not None:
        made.update(content.encode())
    return f"{content}.{text(made.digest()) if made else ''}"


class TestIdToken:
    def test_a_right_one_is_believed(self) -> None:
        assert judge(signed(claims())).subject == "7"
        assert judge(signed(claims(), kid=None)).subject == "7", "one public key, so it need not be named"
        assert judge(signed(claims(exp=int(now().timestamp()) - 30))).subject == "7", "clocks differ a little"
        assert judge(signed(claims(aud=[CLIENT, "them"], azp=CLIENT))).subject == "7"

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://evil.test"},
            {"iss": None},
            {"aud": "them"},
            {"aud": None},
            {"aud": [CLIENT, "them"]},
            {"aud": [CLIENT, "them"], "azp": "them"},
            {"azp": "them"},
            {"nonce": "another"},
            {"nonce": None},
            {"sub": None},
            {"exp": None},
            {"iat": None},
            {"exp": 1_700_000_000},
            {"iat": 4_000_000_000, "exp": 4_000_000_300},
            {"nbf": 4_000_000_000},
            {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
            {"amr": "mfa"},
            {"email_verified": "true"},
        ],
        ids=str,
    )
    def test_what_it_says_must_be_right(self, changes: dict[str, object]) -> None:
        with pytest.raises(ProviderSignInRefused):
            judge(signed(claims(**changes)))

    @pytest.mark.parametrize(
        "token",
        [
            by_hand("none"),
            signed(claims(), key=STRANGER),
            signed(claims(), key=SHARED, alg="HS256"),
            by_hand("HS256", hmac.new(KEY.as_pem(private=False), digestmod="sha256")),
            signed(claims(), key=ECKey.generate_key("P-256"), alg="ES256"),
            signed(claims(), kid="another"),
            signed(claims())[:-6] + "AAAAAA",
            "no.token.atall",
            "",
        ],
        ids=["none", "wrong key", "client secret", "public key as secret", "another kind", "unknown key", "cut", "garbage", "nothing"],
    )
    def test_nobody_else_can_sign_it(self, token: str) -> None:
        with pytest.raises(ProviderSignInRefused):
            judge(token)

    def test_an_old_sign_in_is_not_a_new_one(self) -> None:
        strict = Provider(key="a", name="A", client_id=CLIENT, client_secret="s", issuer=ISSUER, max_age_minutes=5)
        old = int(now().timestamp()) - 600
        assert judge(signed(claims()), strict).subject == "7"
        for said in (old, None):
            with pytest.raises(ProviderSignInRefused):
                judge(signed(claims(auth_time=said)), strict)


class TestLogoutToken:
    @pytest.fixture(autouse=True)
    def _published(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = oauth.Metadata(issuer=ISSUER, authorization_endpoint="x", token_endpoint="x", jwks_uri="keys")
        monkeypatch.setattr(oauth, "_metadata", {ISSUER: (now(), found)})
        monkeypatch.setattr(oauth, "_keys", {"keys": (now(), PUBLIC)})

    def token(self, **changes: object) -> str:
        return signed(claims(nonce=None, auth_time=None, jti="1", events={LOGOUT_EVENT: {}}, sid="s") | changes)

    async def test_a_right_one_is_believed(self) -> None:
        assert (await oauth.read_logout_token(ACME, self.token())).sid == "s"

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://evil.test"},
            {"aud": "them"},
            {"iat": 1_700_000_000},
            {"exp": 1_700_000_000},
            {"jti": ""},
            {"events": {}},
            {"nonce": NONCE},
            {"sub": "", "sid": ""},
        ],
        ids=str,
    )
    async def test_anything_else_is_not(self, changes: dict[str, object]) -> None:
        with pytest.raises(LogoutTokenRefused):
            await oauth.read_logout_token(ACME, self.token(**changes))

    async def test_an_id_token_is_none(self) -> None:
        with pytest.raises(LogoutTokenRefused):
            await oauth.read_logout_token(ACME, signed(claims()))


@post("/login/oauth/access_token", status_code=200)
async def access_token(request: Request[object, object, Any]) -> Response[object]:
    """GitHub answers 200 to a bad code as well, with an error in the body."""
    given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    right = given.get("code") in {"good", "hidden"} and given.get("client_secret") == "s" and given.get("code_verifier") == "v"
    good = {"access_token": f"gho_{given.get('code')}", "scope": "read:user,user:email", "token_type": "bearer"}
    return Response(good if right else {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."})


@get("/user")
async def user(request: Request[object, object, Any]) -> Response[object]:
    known = request.headers.get("authorization", "").startswith("Bearer gho_") and "user-agent" in request.headers
    return Response({"id": 583231, "login": "octo", "name": None, "email": None} if known else {}, status_code=200 if known else 401)


@get("/user/emails")
async def emails(request: Request[object, object, Any]) -> list[dict[str, object]]:
    proven = request.headers["authorization"] != "Bearer gho_hidden"
    return [
        {"email": "old@example.test", "primary": False, "verified": True, "visibility": None},
        {"email": "octo@example.test", "primary": True, "verified": proven, "visibility": "private"},
    ]


@pytest_asyncio.fixture
async def github() -> AsyncIterator[Provider]:
    async with served(Litestar([access_token, user, emails], openapi_config=None)) as address:
        given = {"key": "gh", "name": "GitHub", "client_id": "c", "client_secret": "s", "kind": "github", "issuer": address, "api": address}
        yield read_providers(json.dumps([given]))[0]


ATTEMPT = Attempt(id="1", nonce="n", verifier="v", next_path="/", connecting=False)


class TestGithub:
    async def test_it_proves_the_number_and_the_verified_primary_address(self, github: Provider) -> None:
        proof = await oauth.exchange(github, ATTEMPT, code="good")
        assert (proof.subject, proof.email, proof.email_verified, proof.name) == ("583231", "octo@example.test", True, "octo")

    async def test_an_unverified_address_is_no_address(self, github: Provider) -> None:
        proof = await oauth.exchange(github, ATTEMPT, code="hidden")
        assert (proof.email, proof.email_verified) == ("", False)

    async def test_a_bad_code_is_refused(self, github: Provider) -> None:
        with pytest.raises(ProviderSignInRefused):
            await oauth.exchange(github, ATTEMPT, code="bad")

    async def test_a_provider_that_is_not_there_is_named(self) -> None:
        gone = Provider(key="x", name="Gone", client_id="c", client_secret="s", issuer="http://127.0.0.1:9")
        with pytest.raises(ProviderUnusable, match=r"Gone could not be reached at http://127.0.0.1:9: connection refused"):
            await oauth.metadata(gone)

    async def test_the_browser_is_sent_with_a_challenge(self, github: Provider) -> None:
        url = oauth.authorization_url(github, await oauth.metadata(github), state="st", nonce="n", verifier="v" * 43)
        asked = httpx2.URL(url).params
        assert (asked["state"], asked["code_challenge_method"], asked["scope"]) == ("st", "S256", "read:user user:email")
        assert "nonce" not in asked


class TestSetting:
    @pytest.mark.parametrize(
        "changes",
        [
            {"key": "Not A Key"},
            {"issuer": ""},
            {"scopes": "email"},
            {"new_people": True},
            {"kind": "github", "accept_mfa": True},
            {"isuer": "x"},
        ],
        ids=str,
    )
    def test_what_cannot_work_stops_the_server(self, changes: dict[str, object]) -> None:
        right: dict[str, object] = {"key": "acme", "name": "Acme", "client_id": "c", "client_secret": "s", "issuer": ISSUER}
        assert len(read_providers(json.dumps([right]))) == 1
        with pytest.raises(SettingsError, match="COUNTINGHOUSE_SIGN_IN_PROVIDERS"):
            read_providers(json.dumps([right | changes]))
        with pytest.raises(SettingsError, match="same key"):
            read_providers(json.dumps([right, right]))

    def test_no_line_shows_the_secret(self) -> None:
        assert "secret" not in repr(ACME)

    def test_only_a_verified_address_of_the_domain_makes_a_person(self) -> None:
        rule = Provider(key="a", name="A", client_id="c", client_secret="s", issuer=ISSUER, new_people=True, domains=["Corp.test"])
        for email, verified, may in (
            ("a@corp.test", True, True),
            ("a@corp.test", False, False),
            ("a@x.corp.test", True, False),
            ("", True, False),
        ):
            assert may_become_person(rule, Proof(issuer=ISSUER, subject="1", email=email, email_verified=verified)) is may
