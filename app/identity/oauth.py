"""Talking to sign-in providers: OpenID Connect, and GitHub's plain OAuth 2.

Authlib and joserfc build the requests and judge the tokens; the calls go through our own outbound client, which checks the address
it connects to, follows no redirect and gives up in time. What providers publish about themselves is kept for a while in the process;
an unknown key id makes it look again, but not more often than every half minute, so that forged tokens cannot make us hammer a provider.
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote_plus, urlencode

import msgspec
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, import_key

from app.core import outbound
from app.core.clock import now
from app.core.settings import settings
from app.identity.domain.providers import (
    ALGORITHMS,
    LOGOUT_EVENT,
    LOGOUT_TOKEN_LASTS,
    SKEW_SECONDS,
    Attempt,
    Logout,
    LogoutTokenRefused,
    Proof,
    Provider,
    ProviderKind,
    ProviderSignInRefused,
    ProviderUnusable,
)

METADATA_LASTS = timedelta(hours=1)
KEYS_LAST = timedelta(hours=1)
LOOK_AGAIN_AFTER = timedelta(seconds=30)
_FORM = "application/x-www-form-urlencoded"
_T = TypeVar("_T")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider publishes about itself (OpenID Connect Discovery 1.0, RFC 8414)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str = ""
    end_session_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False
    code_challenge_methods_supported: list[str] | None = None
    id_token_signing_alg_values_supported: list[str] | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None
    scopes_supported: list[str] | None = None


class _Tokens(msgspec.Struct, frozen=True):
    access_token: str
    id_token: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, object]]


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    email: str = ""
    email_verified: bool = False
    name: str = ""
    acr: str = ""
    amr: list[str] = []
    auth_time: int | float = 0
    sid: str = ""


class _LogoutClaims(msgspec.Struct, frozen=True):
    iss: str
    aud: str | list[str]
    iat: int | float
    jti: str
    events: dict[str, object]
    exp: int | float | None = None
    sub: str = ""
    sid: str = ""


class _GithubUser(msgspec.Struct, frozen=True):
    id: int
    login: str
    name: str | None = None


class _GithubEmail(msgspec.Struct, frozen=True):
    email: str
    primary: bool
    verified: bool


_metadata: dict[str, tuple[datetime, Metadata]] = {}
_keys: dict[str, tuple[datetime, list[dict[str, object]]]] = {}


def forget() -> None:
    """Forget what providers published; for tests."""
    _metadata.clear()
    _keys.clear()


def redirect_uri(provider: Provider) -> str:
    """Where a provider sends people back to; each has an address of its own, so that answers cannot be mixed up."""
    return f"{settings().public_url}{provider.path}/callback"


async def _call(provider: Provider, method: str, url: str, *, headers: dict[str, str] | None = None, body: str = "") -> outbound.Answer:
    answer = await outbound.pool().call(
        method,
        url,
        headers={"accept": "application/json", "user-agent": "Countinghouse", **(headers or {})},
        body=body.encode(),
        allow_insecure=settings().allow_insecure_psp_urls,
    )
    if answer.failure is not None:
        raise ProviderUnusable(f"{provider.name} could not be reached at {_origin(url)}: {answer.failure.replace('_', ' ')}.")
    return answer


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _read(provider: Provider, answer: outbound.Answer, kind: type[_T], what: str) -> _T:
    if answer.status != 200:
        raise ProviderUnusable(f"{provider.name} answered {answer.status} when asked for {what}.")
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as problem:
        raise ProviderUnusable(f"{provider.name} gave {what} in a form that cannot be read: {problem}.") from None


async def metadata(provider: Provider) -> Metadata:
    """What the provider published, asked for once an hour."""
    if provider.kind is ProviderKind.GITHUB:
        base = f"{provider.issuer}/login/oauth"
        return Metadata(issuer=provider.issuer, authorization_endpoint=f"{base}/authorize", token_endpoint=f"{base}/access_token")
    known = _metadata.get(provider.issuer)
    if known is not None and now() - known[0] < METADATA_LASTS:
        return known[1]
    return await _fetch_metadata(provider)


async def _fetch_metadata(provider: Provider) -> Metadata:
    url = f"{provider.issuer.removesuffix('/')}/.well-known/openid-configuration"
    found = _read(provider, await _call(provider, "GET", url), Metadata, "its configuration")
    _check_metadata(provider, found)
    _metadata[provider.issuer] = (now(), found)
    return found


async def inspect(provider: Provider) -> None:
    """Ask the provider now for what it publishes and refuse, in a sentence, whatever people could not sign in with."""
    found = await _fetch_metadata(provider)
    _check_offers(provider, found)
    keys = _read(provider, await _call(provider, "GET", found.jwks_uri), _Keys, "its keys").keys
    if not any(_is_usable(key) for key in keys):
        raise ProviderUnusable(f"{provider.name} publishes no public key that signs.")
    _keys[found.jwks_uri] = (now(), keys)


def _check_offers(provider: Provider, found: Metadata) -> None:
    signed = found.id_token_signing_alg_values_supported
    if signed is not None and not set(signed) & set(ALGORITHMS):
        raise ProviderUnusable(f"{provider.name} signs with {', '.join(signed)} only; a signature with a private key is needed.")
    method = "client_secret_post" if provider.secret_in_body else "client_secret_basic"
    # RFC 8414: where nothing is said, the secret goes into the header
    offered = found.token_endpoint_auth_methods_supported or ["client_secret_basic"]
    if method not in offered:
        raise ProviderUnusable(f"{provider.name} does not take the secret by {method}; it takes {', '.join(offered)}.")
    unknown = [scope for scope in provider.scopes.split() if found.scopes_supported is not None and scope not in found.scopes_supported]
    if unknown:
        raise ProviderUnusable(f"{provider.name} does not know the scope {', '.join(unknown)}.")


def _check_metadata(provider: Provider, found: Metadata) -> None:
    if found.issuer != provider.issuer:
        raise ProviderUnusable(f"{provider.name} calls itself “{found.issuer}”, not “{provider.issuer}”.")
    if found.code_challenge_methods_supported is not None and "S256" not in found.code_challenge_methods_supported:
        raise ProviderUnusable(f"{provider.name} does not support PKCE with S256.")
    if not found.jwks_uri:
        raise ProviderUnusable(f"{provider.name} does not say where its keys are.")
    for url in filter(None, (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.end_session_endpoint)):
        outbound.check_url(url, allow_insecure=settings().allow_insecure_psp_urls)


def authorization_url(provider: Provider, found: Metadata, *, state: str, nonce: str, verifier: str) -> str:
    """Where the browser goes to sign in at the provider."""
    extra: dict[str, str] = {"code_challenge": create_s256_code_challenge(verifier), "code_challenge_method": "S256"}
    if provider.kind is ProviderKind.OIDC:
        extra["nonce"] = nonce
        if provider.acr_values:
            extra["acr_values"] = provider.acr_values
        if provider.max_age_minutes:
            extra["max_age"] = str(provider.max_age_minutes * 60)
        if provider.accept_mfa:
            asked = {"id_token": {"auth_time": {"essential": True}, "acr": None, "amr": None}}
            extra["claims"] = msgspec.json.encode(asked).decode()
    return str(
        prepare_grant_uri(
            found.authorization_endpoint,
            provider.client_id,
            "code",
            redirect_uri=redirect_uri(provider),
            scope=provider.scopes,
            state=state,
            **extra,
        )
    )


def end_session_url(provider: Provider, address: str, *, id_token: str, state: str, back: str) -> str:
    """Where the browser goes to sign out at the provider as well (OpenID Connect RP-Initiated Logout 1.0)."""
    asked = {"id_token_hint": id_token, "client_id": provider.client_id, "post_logout_redirect_uri": back, "state": state}
    return str(add_params_to_uri(address, list(asked.items())))


async def exchange(provider: Provider, attempt: Attempt, *, code: str) -> Proof:
    """Turn the code into what the provider proves about the person."""
    found = await metadata(provider)
    tokens = await _tokens(provider, found, attempt, code)
    if provider.kind is ProviderKind.GITHUB:
        return await _github_proof(provider, tokens.access_token)
    if not tokens.id_token:
        raise ProviderUnusable(f"{provider.name} gave no ID token.")
    keys = await _keys_for(provider, found, tokens.id_token)
    return read_id_token(provider, tokens.id_token, keys, nonce=attempt.nonce, access_token=tokens.access_token, at=now())


async def _tokens(provider: Provider, found: Metadata, attempt: Attempt, code: str) -> _Tokens:
    body = prepare_token_request("authorization_code", redirect_uri=redirect_uri(provider), code=code, code_verifier=attempt.verifier)
    headers = {"content-type": _FORM}
    if provider.kind is ProviderKind.GITHUB or provider.secret_in_body:
        body += "&" + urlencode({"client_id": provider.client_id, "client_secret": provider.client_secret})
    else:
        # RFC 6749 2.3.1: both are form-encoded before they are joined, which Authlib's own leaves out
        pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    answer = await _call(provider, "POST", found.token_endpoint, headers=headers, body=body)
    if answer.status == 400 or (answer.status == 200 and _refusal(answer)):
        raise ProviderSignInRefused(f"{provider.name} did not accept its own code: it was used already, or it is too old. Begin again.")
    return _read(provider, answer, _Tokens, "tokens")


def _refusal(answer: outbound.Answer) -> bool:
    """GitHub says with status 200 that a code is not good."""
    try:
        return bool(msgspec.json.decode(answer.body, type=_Refusal).error)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return False


async def _keys_for(provider: Provider, found: Metadata, token: str) -> list[dict[str, object]]:
    """The provider's keys; asked for again when the token names one that is not among them."""
    fetched_at, keys = _keys.get(found.jwks_uri, (None, []))
    age = now() - fetched_at if fetched_at is not None else KEYS_LAST
    unknown = not _matching(keys, _key_id(token))
    if age >= KEYS_LAST or (unknown and age >= LOOK_AGAIN_AFTER):
        keys = _read(provider, await _call(provider, "GET", found.jwks_uri), _Keys, "its keys").keys
        _keys[found.jwks_uri] = (now(), keys)
    return keys


def _key_id(token: str) -> str | None:
    try:
        kid = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError):
        return None
    return kid if isinstance(kid, str) else None


def _matching(keys: list[dict[str, object]], kid: str | None) -> list[dict[str, object]]:
    """Public signing keys with this id; a shared secret among the keys is never used."""
    usable = [key for key in keys if _is_usable(key)]
    if kid is None:
        return usable if len(usable) == 1 else []
    return [key for key in usable if key.get("kid") == kid]


def _is_usable(key: dict[str, object]) -> bool:
    return key.get("kty") in {"RSA", "EC", "OKP"} and key.get("use", "sig") == "sig"


def _decoded(token: str, keys: list[dict[str, object]]) -> jwt.Token:
    """The token's content when one of the keys signed it in an allowed way; raises JoseError or ValueError otherwise."""
    found = [import_key(key) for key in _matching(keys, _key_id(token))]  # type: ignore[arg-type]
    return jwt.decode(token, KeySet(found), algorithms=ALGORITHMS)


def read_id_token(provider: Provider, token: str, keys: list[dict[str, object]], *, nonce: str, access_token: str, at: datetime) -> Proof:
    """Judge an ID token (OpenID Connect Core 3.1.3.7) and give what it proves."""
    try:
        raw = _decoded(token, keys)
        options = {"iss": {"essential": True, "value": provider.issuer}, "aud": {"essential": True, "value": provider.client_id}}
        params = {"nonce": nonce, "client_id": provider.client_id, "access_token": access_token, "max_age": provider.max_age_minutes}
        CodeIDToken(raw.claims, raw.header, options, params).validate(int(at.timestamp()), SKEW_SECONDS)
        claims = msgspec.convert(raw.claims, _Claims)
    except (JoseError, ValueError, msgspec.ValidationError) as problem:
        # an unverified token's words are not repeated to whoever sent it
        raise ProviderSignInRefused(f"The proof that {provider.name} sent does not hold. Begin again.", reason=str(problem)) from None
    if provider.max_age_minutes and at.timestamp() - claims.auth_time > provider.max_age_minutes * 60 + SKEW_SECONDS:
        raise ProviderSignInRefused(f"Your sign-in at {provider.name} is too old. Sign in there again.")
    return Proof(
        issuer=claims.iss,
        subject=claims.sub,
        email=claims.email,
        email_verified=claims.email_verified,
        name=claims.name,
        acr=claims.acr,
        amr=claims.amr,
        auth_time=int(claims.auth_time),
        sid=claims.sid,
        id_token=token,
        claims=_texts(raw.claims),
    )


def _texts(claims: Mapping[str, object]) -> dict[str, list[str]]:
    """The claims that are a text or a list of texts."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in claims.items()}
    return {name: [one for one in values if isinstance(one, str)] for name, values in lists.items()}


async def read_logout_token(provider: Provider, token: str) -> Logout:
    """Judge a logout token (OpenID Connect Back-Channel Logout 2.6)."""
    keys = await _keys_for(provider, await metadata(provider), token)
    try:
        raw = _decoded(token, keys)
        claims = msgspec.convert(raw.claims, _LogoutClaims)
    except (JoseError, ValueError, msgspec.ValidationError):
        raise LogoutTokenRefused("Its signature or its form is not right.") from None
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    moment, slack = now().timestamp(), SKEW_SECONDS
    right = (
        claims.iss == provider.issuer
        and provider.client_id in audience
        and abs(moment - claims.iat) <= LOGOUT_TOKEN_LASTS.total_seconds() + slack
        and (claims.exp is None or claims.exp > moment - slack)
        and LOGOUT_EVENT in claims.events
        and "nonce" not in raw.claims
        and bool(claims.jti)
        and bool(claims.sub or claims.sid)
    )
    if not right:
        raise LogoutTokenRefused("It was made for somebody else, for something else, or too long ago.")
    return Logout(issuer=claims.iss, jti=claims.jti, subject=claims.sub, sid=claims.sid)


async def _github_proof(provider: Provider, access_token: str) -> Proof:
    headers = {"authorization": f"Bearer {access_token}", "accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
    user = _read(provider, await _call(provider, "GET", f"{provider.api}/user", headers=headers), _GithubUser, "the user")
    answer = await _call(provider, "GET", f"{provider.api}/user/emails", headers=headers)
    emails = _read(provider, answer, list[_GithubEmail], "the e-mail addresses")
    primary = next((entry for entry in emails if entry.primary and entry.verified), None)
    return Proof(
        issuer=provider.issuer,
        # the number stays when somebody renames the account; a freed login name may become somebody else's
        subject=str(user.id),
        email=primary.email if primary else "",
        email_verified=primary is not None,
        name=user.name or user.login,
    )
