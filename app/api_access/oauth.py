"""The authorization server: Authlib's rules for tokens, applied to what was read before and leaving what is to be written.

Authlib asks for clients and writes tokens in the middle of its rules, and cannot await. So a flow reads the client that a request names,
this module lets Authlib judge, and the flow writes what came of it: nothing in here waits for a database or a server.
"""

import hmac
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientCredentialsGrant, ClientMixin, OAuth2Request, TokenMixin
from authlib.oauth2.rfc6749.errors import InvalidClientError, InvalidRequestError, InvalidScopeError, OAuth2Error
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.api_access.domain import TOKEN_LIFE, AuthMethod, Issued, KnownClient, KnownToken, UsedAssertion, new_token
from app.api_access.domain.assertions import ALGORITHMS, WrongAssertion, check_claims
from app.core.clock import now
from app.core.secrets import digest
from app.core.settings import settings

METHODS = [AuthMethod.SECRET.value, AuthMethod.KEY.value]
REFUSED = "The client is unknown or disabled, or its secret is wrong."
_GRANT = "client_credentials"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class OAuthCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the authorization server; ``endpoint`` is token, revocation or introspection."""

    endpoint: str
    form: dict[str, str]
    authorization: str = ""


class OAuthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered, and what must be written before it may be."""

    status: int
    body: dict[str, Any]
    headers: list[tuple[str, str]] = []
    issued: Issued | None = None
    revoked: KnownToken | None = None
    assertion: UsedAssertion | None = None


def issuer() -> str:
    """The name of this authorization server."""
    return settings().public_url.rstrip("/")


def endpoints() -> dict[str, str]:
    """The addresses of the authorization server, by name."""
    return {"token": f"{issuer()}/oauth/token", "revocation": f"{issuer()}/oauth/revoke", "introspection": f"{issuer()}/oauth/introspect"}


def metadata(scopes: list[str]) -> dict[str, object]:
    """What a client library needs to know (RFC 8414)."""
    found: dict[str, object] = {"issuer": issuer(), "response_types_supported": [], "scopes_supported": scopes}
    found["grant_types_supported"] = [_GRANT]
    for name, address in endpoints().items():
        found[f"{name}_endpoint"] = address
        found[f"{name}_endpoint_auth_methods_supported"] = METHODS
        found[f"{name}_endpoint_auth_signing_alg_values_supported"] = ALGORITHMS
    return found


def refused(error: OAuth2Error) -> OAuthAnswer:
    """The answer to a request that breaks a rule."""
    status, body, headers = error()
    return OAuthAnswer(status=status, body=body, headers=headers)


def malformed(description: str) -> OAuthAnswer:
    """The answer to what is no request at all."""
    return refused(InvalidRequestError(_plain(description)))


def not_this_client(description: str) -> OAuthAnswer:
    """The answer to a client that did not prove who it is."""
    return refused(InvalidClientError(_plain(description), status_code=401))


def _plain(text: str) -> str:
    """The text in the characters that an error description may have (RFC 6749 5.2)."""
    return "".join(character if " " <= character <= "~" and character not in '"\\' else "'" for character in text)


def _refuse_client(description: str) -> NoReturn:
    raise InvalidClientError(_plain(description), status_code=401)


class _Client(ClientMixin):  # type: ignore[misc]  # Authlib is not typed
    def __init__(self, known: KnownClient) -> None:
        self.known = known

    def get_client_id(self) -> str:
        return self.known.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        asked = (scope or "").split()
        lacking = [one for one in dict.fromkeys(asked) if one not in self.known.scopes]
        if lacking:
            raise InvalidScopeError(_plain(f"The client may not have: {' '.join(lacking)[:200]}."))
        return " ".join(one for one in self.known.scopes if not asked or one in asked)

    def check_client_secret(self, client_secret: str) -> bool:
        given = digest(client_secret)
        return any(hmac.compare_digest(given, kept) for kept in self.known.secrets)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return self.known.method.value == method and endpoint in endpoints()

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == _GRANT


class _Token(TokenMixin):  # type: ignore[misc]
    def __init__(self, known: KnownToken, client: KnownClient) -> None:
        self.known, self.client = known, client

    def check_client(self, client: _Client) -> bool:
        return client.known.id == self.client.id

    def is_expired(self) -> bool:
        return self.known.expires_at <= now()

    def is_revoked(self) -> bool:
        return self.known.revoked


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, call: OAuthCall) -> None:
        # that the call came over TLS is the business of whatever ends TLS before us; Authlib looks at the address only
        super().__init__("POST", f"https://localhost/{call.endpoint}", headers={"Authorization": call.authorization})
        self.payload = BasicOAuth2Payload(call.form)

    @property
    def form(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.payload.data
        return found


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class _Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = METHODS

    def check_params(self, request: _Request, client: _Client) -> None:
        _require_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Token | None:
        found: _Token | None = self.server.token
        return found

    def revoke_token(self, token: _Token, request: _Request) -> None:
        self.server.revoked = token.known


class _Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = METHODS

    def check_params(self, request: _Request, client: _Client) -> None:
        _require_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Token | None:
        found: _Token | None = self.server.token
        return found

    def check_permission(self, token: _Token, client: _Client, request: _Request) -> bool:
        return token.check_client(client)

    def introspect_token(self, token: _Token) -> dict[str, object]:
        known, client = token.known, token.client
        times = {"iat": int(known.issued_at.timestamp()), "exp": int(known.expires_at.timestamp())}
        names = {"client_id": client.client_id, "sub": client.client_id, "username": client.name, "iss": issuer()}
        return {"active": True, "token_type": "Bearer", "scope": " ".join(known.scopes), **names, **times}


def _require_token(request: _Request) -> None:
    # a hint of a kind we do not have is only a hint, and may be ignored (RFC 7009 2.1)
    if not request.form.get("token"):
        raise InvalidRequestError("Send the token as the form field 'token'.")


class _Assertion(JWTBearerClientAssertion):  # type: ignore[misc]
    CLIENT_AUTH_METHOD = AuthMethod.KEY.value

    def __init__(self) -> None:
        super().__init__()
        self.used: UsedAssertion | None = None

    def resolve_client_public_key(self, client: _Client) -> KeySet:
        if client.known.method is not AuthMethod.KEY:
            _refuse_client("This client proves itself with its secret (client_secret_basic), not with an assertion.")
        if not client.known.jwks:
            _refuse_client("No public keys of this client are known: its JWKS could not be fetched.")
        return KeySet.import_key_set(client.known.jwks)  # type: ignore[arg-type]

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> Mapping[str, object]:
        try:
            token = jwt.decode(assertion, resolve_key, algorithms=ALGORITHMS)
        except (JoseError, ValueError) as problem:
            said = getattr(problem, "description", "") or str(problem) or "it does not fit any of the client's keys"
            _refuse_client(f"The assertion's signature was not accepted: {said}")
        accepted = (issuer(), *endpoints().values())
        try:
            self.used = check_claims(token.header, token.claims, accepted=accepted, at=now())
        except WrongAssertion as wrong:
            _refuse_client(str(wrong))
        return token.claims


class _Server(AuthorizationServer):  # type: ignore[misc]
    """Authlib's server for one request."""

    def __init__(self, call: OAuthCall, client: KnownClient | None, token: KnownToken | None) -> None:
        super().__init__()
        self.call, self.client = call, client
        self.token = _Token(token, client) if token is not None and client is not None else None
        self.assertion = _Assertion()
        self.issued: Issued | None = None
        self.revoked: KnownToken | None = None
        self.register_grant(_Grant)
        self.register_endpoint(_Revocation)
        self.register_endpoint(_Introspection)
        self.register_client_auth_method(AuthMethod.SECRET.value, self._by_secret)
        self.register_client_auth_method(AuthMethod.KEY.value, self.assertion)
        life = int(TOKEN_LIFE.total_seconds())
        self.register_token_generator("default", BearerTokenGenerator(self._make_token, expires_generator=lambda *_: life))

    def query_client(self, client_id: str) -> _Client:
        if self.client is None or self.client.client_id != client_id:
            _refuse_client(REFUSED)
        return _Client(self.client)

    def save_token(self, token: dict[str, str], request: _Request) -> None:
        self.issued = Issued(token=token["access_token"], scopes=token["scope"].split(), expires_at=now() + TOKEN_LIFE)

    def create_oauth2_request(self, request: object) -> _Request:
        return request if isinstance(request, _Request) else _Request(self.call)

    def handle_response(self, status: int, body: dict[str, Any], headers: list[tuple[str, str]]) -> OAuthAnswer:
        writes = {"issued": self.issued, "revoked": self.revoked} if status == 200 else {}
        return OAuthAnswer(status=status, body=body, headers=headers, assertion=self.assertion.used, **writes)  # type: ignore[arg-type]

    def send_signal(self, name: str, *arguments: object, **options: object) -> None:
        """Nobody listens."""

    def _by_secret(self, query_client: object, request: _Request) -> _Client | None:
        client_id, secret = extract_basic_authorization(request.headers)
        if not client_id or not secret:
            return None
        client = self.query_client(client_id)
        if client.known.method is not AuthMethod.SECRET:
            _refuse_client("This client proves itself with a signed assertion (private_key_jwt), not with a secret.")
        if not client.check_client_secret(secret):
            _refuse_client(REFUSED)
        return client

    def _make_token(self, client: _Client, **_: object) -> str:
        return new_token(sandbox=client.known.sandbox)


def claimed(call: OAuthCall) -> tuple[str, str | None]:
    """Which client the request says it is, and the id of the key it says it used; raises OAuth2Error when it does not say so plainly."""
    by_header, by_assertion = bool(call.authorization), "client_assertion" in call.form
    if by_header and by_assertion:
        raise InvalidRequestError("Use one way to authenticate the client: the Authorization header or an assertion.")
    if by_header:
        try:
            client_id, secret = extract_basic_authorization({"Authorization": call.authorization})
        except ValueError:
            client_id = secret = None
        if not client_id or not secret:
            _refuse_client("Send client id and secret as HTTP Basic: both URL-encoded, joined by a colon, in Base64.")
        named, key_id = str(client_id), None
    elif by_assertion:
        named, key_id = _asserted(call.form)
    else:
        _refuse_client("Authenticate the client with HTTP Basic (client_secret_basic) or an assertion (private_key_jwt).")
    if call.form.get("client_id", named) != named:
        raise InvalidRequestError("The field client_id names another client than the one that authenticates.")
    return named, key_id


def _asserted(form: Mapping[str, str]) -> tuple[str, str | None]:
    if form.get("client_assertion_type") != _ASSERTION:
        raise InvalidRequestError(f"The field client_assertion_type must be {_ASSERTION}.")
    try:
        headers, claims = JWTBearerClientAssertion().extract_assertion(form["client_assertion"])
    except (InvalidClientError, ValueError, RecursionError):
        _refuse_client("The assertion is not a signed JWT.")
    subject, key_id = claims.get("sub"), headers.get("kid")
    if not isinstance(subject, str):
        _refuse_client("The assertion's claim 'sub' must be the client id.")
    return subject, key_id if isinstance(key_id, str) else None


def judge(call: OAuthCall, client: KnownClient | None, token: KnownToken | None) -> OAuthAnswer:
    """The answer to a request of the client it names, if that client is known; nothing is written yet."""
    server = _Server(call, client, token)
    if call.endpoint == "token":
        if not call.form.get("grant_type"):
            return malformed("Send the form field grant_type=client_credentials.")
        answer: OAuthAnswer = server.create_token_response()
    else:
        answer = server.create_endpoint_response(call.endpoint)
    return answer
