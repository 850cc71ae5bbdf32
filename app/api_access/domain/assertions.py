"""What a client's signed assertion must say, and which public keys a client may have (RFC 7523, RFC 7517)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from app.api_access.domain import UsedAssertion
from app.core.errors import Invalid

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]
"""Signatures with a public and a private key only: neither none nor a shared secret."""
SKEW = timedelta(seconds=30)
LONGEST = timedelta(hours=1)
MOST_KEYS = 20
_SHORTEST = 342
"""Characters of a modulus of 2048 bits."""
_TYPES = {"jwt", "client-authentication+jwt"}
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}


class WrongAssertion(Exception):
    """The assertion is signed well and says the wrong thing."""


def check_claims(header: Mapping[str, object], claims: Mapping[str, object], *, accepted: Sequence[str], at: datetime) -> UsedAssertion:
    """What to remember of the assertion, so that it counts once; raises WrongAssertion with the claim that is wrong."""
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise WrongAssertion("The assertion's header 'typ' must be JWT or client-authentication+jwt.")
    if claims.get("iss") != claims.get("sub"):
        raise WrongAssertion("The assertion's claims 'iss' and 'sub' must both be the client id.")
    audience = claims.get("aud")
    # exactly one, and ours: an assertion that also fits another server could be used here by that server
    named = audience[0] if isinstance(audience, list) and len(audience) == 1 else audience
    if named not in accepted:
        raise WrongAssertion(f"The assertion's claim 'aud' must be {accepted[0]} or the address of the endpoint, and nothing else.")
    ends = _ends(claims, at)
    unique = claims.get("jti")
    if not isinstance(unique, str) or not 0 < len(unique) <= 256:
        raise WrongAssertion("The assertion needs a claim 'jti' of at most 256 characters, a new one each time.")
    return UsedAssertion(digest=hashlib.sha256(unique.encode()).digest(), expires_at=ends + SKEW)


def _ends(claims: Mapping[str, object], at: datetime) -> datetime:
    ends, begins, made = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if ends is None:
        raise WrongAssertion("The assertion needs a claim 'exp'.")
    if ends + SKEW <= at:
        raise WrongAssertion("The assertion has expired.")
    if ends - at > LONGEST + SKEW:
        raise WrongAssertion("The assertion's claim 'exp' may be at most an hour from now.")
    if any(moment is not None and moment - SKEW > at for moment in (begins, made)):
        raise WrongAssertion("The assertion is not valid yet: its claim 'nbf' or 'iat' lies in the future.")
    return ends


def _moment(claims: Mapping[str, object], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 36:
        raise WrongAssertion(f"The assertion's claim '{name}' must be a number of seconds since 1970.")
    return datetime.fromtimestamp(value, UTC)


def read_jwks(text: str | bytes) -> dict[str, list[dict[str, str]]]:
    """The public keys of a client from a JWKS document; raises Invalid with what is wrong with which key."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        _refuse('This is not JSON. Paste a JWKS: {"keys": [ … ]}.')
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not keys or len(keys) > MOST_KEYS:
        _refuse(f"A JWKS has a list “keys” with one to {MOST_KEYS} keys.")
    return {"keys": [_public_key(number, key) for number, key in enumerate(keys, 1)]}


def _public_key(number: int, key: object) -> dict[str, str]:
    if not isinstance(key, dict) or not all(isinstance(key.get(name, ""), str) for name in ("kty", "kid", "alg", "use")):
        _refuse(f"Key {number} is not a JWK.")
    if key.get("kty") == "oct":
        _refuse(f"Key {number} is a shared secret. Give public keys of kind RSA, EC or OKP.")
    if _PRIVATE & key.keys():
        _refuse(f"Key {number} is a private key. Keep it to yourself, replace it, and paste the public one.")
    if key.get("use", "sig") != "sig":
        _refuse(f"Key {number} is not for signatures (its “use” is not “sig”).")
    if key.get("kty") == "RSA" and len(str(key.get("n", ""))) < _SHORTEST:
        _refuse(f"Key {number} is an RSA key of less than 2048 bits.")
    try:
        read = import_key(key)
    except (JoseError, ValueError, TypeError, KeyError):
        _refuse(f"Key {number} cannot be read as a public key.")
    if isinstance(read, RSAKey) and read.raw_value.key_size < 2048:
        _refuse(f"Key {number} is an RSA key of less than 2048 bits.")
    if not isinstance(read, RSAKey | ECKey | OKPKey):
        _refuse(f"Key {number} is of a kind that signs nothing here. Give RSA, EC or OKP keys.")
    return {str(name): value for name, value in key.items() if isinstance(value, str)}


def _refuse(problem: str) -> NoReturn:
    raise Invalid(problem, fields={"jwks": problem})
