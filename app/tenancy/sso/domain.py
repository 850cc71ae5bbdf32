"""A merchant's own single sign-on: its provider, the domains it stands for, and who joins the team by it. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import msgspec

from app.core.errors import Conflict, Invalid, NotFound
from app.core.state import Machine

PROOF_LABEL = "_countinghouse"
"""Below which name of a domain its proof stands: the domain's own TXT records stay as they are."""
PROOF_WORD = "countinghouse-domain="
MOST_DOMAINS = 20
MOST_RULES = 50
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])")
_RULE = re.compile(r"\s*([^\s=]{1,200})\s*=\s*(\S(?:.{0,198}?\S)?)\s*:\s*([A-Za-z0-9_-]{1,60})\s*")


class SsoStatus(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    DISABLED = "disabled"


SSO_PROVIDER = Machine(
    "sso_provider",
    states=SsoStatus,
    initial=SsoStatus.DRAFT,
    transitions={
        "enable": ((SsoStatus.DRAFT, SsoStatus.DISABLED), SsoStatus.ACTIVE),
        "disable": ((SsoStatus.ACTIVE,), SsoStatus.DISABLED),
    },
)


class SsoProviderNotFound(NotFound):
    """This merchant has no such sign-in provider, or it is not in use."""

    code = "sso_provider_not_found"
    title = "This team has no such sign-in provider"


class SsoDomainNotFound(NotFound):
    """The provider does not stand for this domain."""

    code = "sso_domain_not_found"
    title = "There is no such domain"


class SsoSettingsInvalid(Invalid):
    """The settings of the sign-in provider cannot be used; the fields say which and why."""

    code = "sso_settings_invalid"
    title = "These settings cannot be used"


class SsoNameTaken(Conflict):
    """Another sign-in provider of this merchant has the name."""

    code = "sso_name_taken"
    title = "This name is taken"


class SsoNotReady(Conflict):
    """The sign-in provider is not ready for this; the detail says what is missing."""

    code = "sso_not_ready"
    title = "Something has to be done first"


class SsoOfSandbox(Conflict):
    """Single sign-on is set up at the live merchant; it holds for the sandbox as well."""

    code = "sso_of_sandbox"
    title = "Set this up at the live merchant"


class DomainNotProven(Invalid):
    """The TXT record that proves the domain was not found; it can take a while to reach every name server."""

    code = "domain_not_proven"
    title = "The domain is not proven yet"


class DomainTaken(Conflict):
    """The domain is proven already, by this merchant or by another one; a domain belongs to one merchant."""

    code = "domain_taken"
    title = "This domain is taken"


class SsoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a merchant says about its provider, besides the secret."""

    name: str
    issuer: str
    client_id: str
    secret_in_body: bool
    scopes: str
    accept_mfa: bool
    mfa_acr: list[str]
    default_role: str
    role_rules: list[str]


class RoleRule(msgspec.Struct, frozen=True):
    """Whoever has this value among those of a claim joins in this role."""

    claim: str
    value: str
    role: str

    def __str__(self) -> str:
        return f"{self.claim} = {self.value} : {self.role}"


def read_rules(lines: Iterable[str]) -> list[RoleRule]:
    """The rules of who joins as what, one a line: ``groups = accounting : finance``."""
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        rule = _RULE.fullmatch(line)
        if rule is None:
            problem = f"Line {number} is not like “groups = accounting : finance”: a claim, its value, a role."
            raise SsoSettingsInvalid(problem, fields={"role_rules": problem})
        found.append(RoleRule(*rule.groups()))
    if len(found) > MOST_RULES:
        raise SsoSettingsInvalid(fields={"role_rules": f"Use at most {MOST_RULES} rules."})
    return found


def role_for(rules: Iterable[RoleRule], default: str | None, claims: Mapping[str, Collection[str]]) -> str | None:
    """In which role somebody joins: the first rule that fits, else the default; nothing when nobody joins by themselves."""
    return next((rule.role for rule in rules if rule.value in claims.get(rule.claim, ())), default)


def domain_of(email: str) -> str:
    """The domain of an e-mail address, as domains are compared."""
    return email.rpartition("@")[2].strip().casefold()


def check_domain(text: str) -> str:
    """A domain as it is written down, if it can be one."""
    domain = text.strip().casefold().removesuffix(".")
    if not _DOMAIN.fullmatch(domain):
        problem = "Enter a domain like example.com; write letters beyond a to z in their encoded form (xn--…)."
        raise SsoSettingsInvalid(problem, fields={"domain": problem})
    return domain


def proof_name(domain: str) -> str:
    """Where the TXT record stands that proves the domain."""
    return f"{PROOF_LABEL}.{domain}"


def proof_text(token: str) -> str:
    """What the TXT record says."""
    return f"{PROOF_WORD}{token}"


def check_proof(domain: str, token: str, found: Collection[str]) -> None:
    """Refuse unless one of the TXT records is the one that was asked for, and say what was found instead."""
    if proof_text(token) in {text.strip() for text in found}:
        return
    others = [text for text in found if text.strip().startswith(PROOF_WORD)]
    if others:
        raise DomainNotProven(f"The record at {proof_name(domain)} was made for another entry. Put in “{proof_text(token)}”.")
    seen = f"has {len(found)} other record{'' if len(found) == 1 else 's'}" if found else "has no TXT record"
    raise DomainNotProven(f"{proof_name(domain)} {seen}. A new record can take an hour to be seen everywhere.")
