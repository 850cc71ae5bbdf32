"""Sign-in providers: what a deployment says about them, what they prove about a person, and what of it is believed."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec

from app.core.errors import AppError, Conflict, Invalid, NotFound, UpstreamFailed
from app.core.settings import SettingsError

ATTEMPT_LASTS = timedelta(minutes=10)
LINK_LASTS = timedelta(minutes=15)
SKEW_SECONDS = 60
"""How far the clocks of a provider and of this machine may be apart."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that are believed: made with a private key, so neither ``none`` nor anything a client secret could forge."""
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_LASTS = timedelta(minutes=5)
NO_HASH = "!"
"""Stands where the hash is for people who have never had a password; it matches none."""

MERCHANTS = "sso_"
"""How the keys of merchants' own providers begin; those of the deployment hold no such sign."""

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class ProviderKind(StrEnum):
    OIDC = "oidc"
    GITHUB = "github"


class ProviderNotFound(NotFound):
    """This installation has no sign-in provider of that name."""

    code = "provider_not_found"
    title = "There is no such sign-in provider"


class ProviderUnusable(UpstreamFailed):
    """The sign-in provider did not answer, or not as its kind must; the detail says what was wrong."""

    code = "provider_unusable"
    title = "The sign-in provider did not answer as expected"


class ProviderSignInRefused(Invalid):
    """The sign-in through a provider was not finished, not proven, or leads to nobody here."""

    code = "provider_sign_in_refused"
    title = "That sign-in did not work"


class IdentityTaken(Conflict):
    """This account of the provider is connected to a person already."""

    code = "identity_taken"
    title = "This account is connected already"


class LastWayIn(Conflict):
    """Without this connection the person could not sign in any more."""

    code = "last_way_in"
    title = "This is the last way to sign in"


class LogoutTokenRefused(AppError):
    """The provider's notice of a sign-out is not proven, too old, or was used already."""

    status = 400
    code = "logout_token_refused"
    title = "This logout token is not accepted"


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sign-in provider of this deployment."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    client_id: Word
    client_secret: Word
    kind: ProviderKind = ProviderKind.OIDC
    issuer: str = ""
    api: str = "https://api.github.com"
    secret_in_body: bool = False
    scopes: str = "openid email profile"
    acr_values: str = ""
    mfa_acr: list[str] = []
    accept_mfa: bool = False
    max_age_minutes: Annotated[int, msgspec.Meta(ge=0, le=10_080)] = 0
    new_people: bool = False
    domains: list[str] = []

    @property
    def path(self) -> str:
        """Below which address people go to this provider and come back from it."""
        return f"/sign-in/{'sso' if of_merchant(self.key) else 'with'}/{self.key}"

    def __repr__(self) -> str:
        """Without the secret, so that no log line can hold it."""
        return f"Provider({self.key!r})"


def of_merchant(key: str) -> bool:
    """Whether the provider of this key is a merchant's own."""
    return key.startswith(MERCHANTS)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in through a provider began with, and what its end is held against."""

    id: str
    nonce: str
    verifier: str
    next_path: str
    connecting: bool


class ProviderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider sends the browser back with."""

    state: str
    code: str
    issuer: str
    error: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider proved about a person."""

    issuer: str
    subject: str
    email: str = ""
    email_verified: bool = False
    name: str = ""
    acr: str = ""
    amr: list[str] = []
    auth_time: int = 0
    sid: str = ""
    id_token: str = ""
    claims: Mapping[str, list[str]] = {}
    """What it says beyond that, where it is text: groups and the like."""


class Logout(msgspec.Struct, frozen=True, kw_only=True):
    """Whose sessions a provider says have ended."""

    issuer: str
    jti: str
    subject: str = ""
    sid: str = ""


def read_providers(text: str) -> list[Provider]:
    """The providers of a deployment from the setting's JSON; what cannot be used is said plainly."""
    if not text.strip():
        return []
    try:
        found = msgspec.json.decode(text, type=list[Provider])
    except (msgspec.ValidationError, msgspec.DecodeError) as problem:
        raise SettingsError(f"COUNTINGHOUSE_SIGN_IN_PROVIDERS cannot be read: {problem}.") from None
    problems = [f"“{provider.key}”: {what}" for provider in found for what in _problems(provider)]
    if len({provider.key for provider in found}) < len(found):
        problems.append("two providers have the same key.")
    if problems:
        raise SettingsError("COUNTINGHOUSE_SIGN_IN_PROVIDERS cannot be used: " + " ".join(problems))
    return [_completed(provider) for provider in found]


def _problems(provider: Provider) -> list[str]:
    problems = []
    if provider.kind is ProviderKind.OIDC and not provider.issuer:
        problems.append("give its issuer.")
    if provider.kind is ProviderKind.OIDC and "openid" not in provider.scopes.split():
        problems.append("its scopes must contain openid.")
    if provider.new_people and not provider.domains:
        problems.append("new_people needs domains: whose e-mail addresses may become people here.")
    if provider.accept_mfa and provider.kind is ProviderKind.GITHUB:
        problems.append("GitHub does not prove a second factor; leave accept_mfa out.")
    return problems


def _completed(provider: Provider) -> Provider:
    if provider.kind is ProviderKind.OIDC:
        return provider
    return msgspec.structs.replace(provider, issuer=provider.issuer or "https://github.com", scopes="read:user user:email")


def proves_second_factor(provider: Provider, proof: Proof, *, at: datetime, fresh: timedelta) -> bool:
    """Whether the provider's own second factor counts: allowed here, said in the signed token, and shown a moment ago.

    What was asked for (``acr_values``) counts for nothing; a provider may ignore it.
    """
    shown = "mfa" in proof.amr or (bool(proof.acr) and proof.acr in provider.mfa_acr)
    age = at.timestamp() - proof.auth_time
    return provider.accept_mfa and shown and proof.auth_time > 0 and -SKEW_SECONDS <= age <= fresh.total_seconds()


def may_become_person(provider: Provider, proof: Proof) -> bool:
    """Whether somebody unknown with this verified address is to become a person here."""
    domain = proof.email.rpartition("@")[2].casefold()
    return provider.new_people and proof.email_verified and domain in {known.casefold() for known in provider.domains}


def check_answer_issuer(provider: Provider, given: str, *, promised: bool) -> None:
    """Refuse an answer that another provider sent (RFC 9207); one that promises to name itself must."""
    if given != provider.issuer and (given or promised):
        raise ProviderSignInRefused(f"The answer did not come from {provider.name}. Begin again.")
