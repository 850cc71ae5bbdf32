"""The same browsers as the web floor's tests, and programs that sign."""

import json

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.core import clock
from app.core.ids import new_id
from tests.web.conftest import app, browser, open_browser, owner, tenant

__all__ = ["app", "browser", "open_browser", "owner", "signer", "tenant"]

SignKey = RSAKey | ECKey | OKPKey


class Signer:
    """A program with a key of its own."""

    def __init__(self, key: SignKey) -> None:
        self.key = key
        self.client_id = ""

    @property
    def jwks(self) -> str:
        return json.dumps({"keys": [self.key.as_dict(private=False) | {"kid": "one", "use": "sig"}]})

    def claims(self, **change: object) -> dict[str, object]:
        """What a right assertion says, with something changed; None leaves a claim out."""
        stamp = int(clock.now().timestamp())
        claims: dict[str, object] = {"iss": self.client_id, "sub": self.client_id, "aud": "http://127.0.0.1:8000/oauth/token"}
        claims |= {"exp": stamp + 60, "iat": stamp, "jti": new_id().hex} | change
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: dict[str, object], *, alg: str = "ES256", key: object = None, **header: object) -> str:
        """The signed assertion."""
        return jwt.encode({"alg": alg, "kid": "one", **header}, claims, key or self.key, algorithms=[alg])  # type: ignore[arg-type]


@pytest.fixture
def signer() -> Signer:
    return Signer(ECKey.generate_key("P-256"))
