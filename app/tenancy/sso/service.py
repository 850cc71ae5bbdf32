"""Writes about a merchant's single sign-on, each in one transaction and each in the audit trail."""

import secrets
from uuid import UUID

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbound
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import AppError
from app.core.ids import new_id
from app.core.secrets import mac, seal
from app.core.settings import settings
from app.tenancy import queries as teams
from app.tenancy import service as members
from app.tenancy.domain import Role
from app.tenancy.models import Membership, SsoDomain, SsoIdentity, SsoProvider
from app.tenancy.roles import queries as roles
from app.tenancy.sso import queries
from app.tenancy.sso.domain import (
    MOST_DOMAINS,
    SSO_PROVIDER,
    DomainTaken,
    SsoNameTaken,
    SsoNotReady,
    SsoOfSandbox,
    SsoSettings,
    SsoSettingsInvalid,
    SsoStatus,
    check_domain,
    read_rules,
)
from app.web import sessions

_OBJECT = "sso_provider"
_SERVER = ("issuer", "client_id")
"""What the secret was given for: with another of these it has to be entered anew."""
_TESTED = {"issuer", "client_id", "client_secret", "secret_in_body", "scopes"}
"""What a test says something about; when one of these changes, the test is over."""


async def add_provider(session: AsyncSession, actor: Actor, *, given: SsoSettings, secret: str) -> SsoProvider:
    """Add a sign-in provider to the merchant; nobody signs in by it until it is enabled."""
    await _live_only(session, actor)
    given = await _checked(session, actor, given)
    if not secret:
        raise SsoSettingsInvalid(fields={"client_secret": "Enter the secret that the provider gave for this client."})
    moment = now()
    row = SsoProvider(merchant_id=actor.merchant, id=new_id(), status=SSO_PROVIDER.initial, enforced=False, created_at=moment)
    row.break_glass_id = row.tested_at = row.test_problem = None
    _write(row, given)
    _keep_secret(row, secret)
    session.add(row)
    await _flush(session, given.name)
    await _note(session, actor, row, "added", after=_shown(row))
    return row


async def change_provider(session: AsyncSession, actor: Actor, *, provider_id: UUID, given: SsoSettings, secret: str) -> SsoProvider:
    """Change a provider's settings; an empty secret keeps the present one. Another issuer is another provider: accounts of the old one part."""
    row = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    given = await _checked(session, actor, given)
    before = _shown(row)
    elsewhere = [field for field in _SERVER if getattr(row, field) != getattr(given, field)]
    if elsewhere and row.status == SsoStatus.ACTIVE:
        problem = "People sign in by it. Disable the provider before it becomes another one."
        raise SsoSettingsInvalid(problem, fields=dict.fromkeys(elsewhere, problem))
    if elsewhere and not secret:
        # nobody may learn a secret they cannot read by pointing the provider at a server of their own
        raise SsoSettingsInvalid(fields={"client_secret": "Enter it again: the one we keep was given for another client."})
    if "issuer" in elsewhere:
        mine = delete(SsoIdentity).where(SsoIdentity.merchant_id == actor.merchant, SsoIdentity.provider_id == provider_id)
        await session.execute(mine)
    _write(row, given)
    if secret:
        _keep_secret(row, secret)
    after = _shown(row)
    changed = {name for name in after if after[name] != before[name]}
    if changed & _TESTED:
        row.tested_at = row.test_problem = None
    await _flush(session, given.name)
    if changed:
        old, new = ({name: told[name] for name in after if name in changed} for told in (before, after))
        await _note(session, actor, row, "changed", before=old, after=new)
    return row


async def _live_only(session: AsyncSession, actor: Actor) -> None:
    if await teams.sandbox_of(session, actor.merchant):
        raise SsoOfSandbox("It then holds for this sandbox as well.")


async def _checked(session: AsyncSession, actor: Actor, given: SsoSettings) -> SsoSettings:
    """The settings as they are kept; everything that is wrong with them is said at once."""
    problems: dict[str, str] = {}
    try:
        outbound.check_url(given.issuer, allow_insecure=settings().allow_insecure_psp_urls)
    except outbound.AddressRefused as refused:
        problems["issuer"] = refused.detail
    if "openid" not in given.scopes.split():
        problems["scopes"] = "The scopes must contain openid."
    if given.default_role:
        problems |= await _wrong_with_role(session, actor, given.default_role, field="default_role")
    rules = [str(rule) for rule in read_rules(given.role_rules)]
    for role in sorted({rule.role for rule in read_rules(rules)}):
        problems |= await _wrong_with_role(session, actor, role, field="role_rules")
    if problems:
        raise SsoSettingsInvalid("Check the settings of the provider.", fields=problems)
    return msgspec.structs.replace(given, role_rules=rules)


async def _wrong_with_role(session: AsyncSession, actor: Actor, text: str, *, field: str) -> dict[str, str]:
    if text == Role.OWNER:
        return {field: "Nobody becomes an owner by signing in; an owner makes owners."}
    try:
        await members.check_grant(session, actor, roles.chosen(text))
    except AppError as refused:
        reason = refused.fields.get("role", "There is no role of this name.")
        return {field: f"“{text[:40]}”: {reason}"}
    return {}


def _write(row: SsoProvider, given: SsoSettings) -> None:
    for field, value in msgspec.structs.asdict(given).items():
        setattr(row, field, value)
    row.default_role = given.default_role or None
    row.updated_at = now()


def _keep_secret(row: SsoProvider, secret: str) -> None:
    row.sealed_secret = seal(secret, queries.secret_context(row))
    # the last characters and a keyed mark: enough to tell two secrets apart
    row.fingerprint = f"…{secret[-4:] if len(secret) >= 16 else ''} · {mac(secret, purpose='sso.fingerprint')[:8]}"


def _shown(row: SsoProvider) -> dict[str, object]:
    fields = {name: getattr(row, name) for name in SsoSettings.__struct_fields__}
    return fields | {"client_secret": row.fingerprint, "default_role": row.default_role}


async def _flush(session: AsyncSession, name: str) -> None:
    try:
        await session.flush()
    except IntegrityError:
        raise SsoNameTaken(fields={"name": f"There is a provider called “{name}” already."}) from None


async def _note(
    session: AsyncSession,
    actor: Actor,
    row: SsoProvider,
    what: str,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    action = f"sso.{what}"
    await audit.record(session, actor, action=action, object_type=_OBJECT, object_id=row.id, before=before, after=after)


async def record_test(session: AsyncSession, actor: Actor, *, provider_id: UUID, problem: str | None) -> None:
    """Keep what a look at the provider showed."""
    row = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    row.tested_at, row.test_problem = now(), problem
    await _note(session, actor, row, "tested", after={"issuer": row.issuer, "problem": problem})


async def enable(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> SsoProvider:
    """Let people sign in by a provider that was looked at and found well."""
    row = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    if row.tested_at is None or row.test_problem:
        raise SsoNotReady("Test the connection first; it must work.")
    await _move(session, actor, row, "enable")
    return row


async def disable(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> SsoProvider:
    """Let nobody sign in by a provider any more; sessions that came from it end."""
    row = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    _refuse_enforced(row)
    await _move(session, actor, row, "disable")
    await sessions.end_bound_sessions(session, provider_id)
    return row


def _refuse_enforced(row: SsoProvider) -> None:
    if row.enforced:
        raise SsoNotReady("People can sign in by this provider only. Stop enforcing it first.")


async def _move(session: AsyncSession, actor: Actor, row: SsoProvider, event: str) -> None:
    before = row.status
    row.status, row.updated_at = SSO_PROVIDER.next(SsoStatus(before), event), now()
    await session.flush()
    await _note(session, actor, row, f"{event}d", before={"status": before}, after={"status": row.status})


async def remove_provider(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> str:
    """Forget a provider with its domains and connected accounts; sessions that came from it end. Gives its name."""
    row = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    _refuse_enforced(row)
    held = await queries.domains(session, actor, provider_id=provider_id)
    await sessions.end_bound_sessions(session, provider_id)
    await _note(session, actor, row, "removed", before=_shown(row) | {"domains": [one.domain for one in held]})
    await session.execute(delete(SsoProvider).where(SsoProvider.merchant_id == actor.merchant, SsoProvider.id == provider_id))
    return row.name


async def add_domain(session: AsyncSession, actor: Actor, *, provider_id: UUID, domain: str) -> SsoDomain:
    """Name a domain of e-mail addresses for a provider; it counts for nothing until it is proven."""
    provider = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    domain = check_domain(domain)
    count = await session.scalar(select(func.count()).where(SsoDomain.merchant_id == actor.merchant, SsoDomain.provider_id == provider_id))
    if (count or 0) >= MOST_DOMAINS:
        raise SsoSettingsInvalid(fields={"domain": f"A provider stands for at most {MOST_DOMAINS} domains."})
    row = SsoDomain(merchant_id=actor.merchant, id=new_id(), provider_id=provider_id, domain=domain, token=secrets.token_urlsafe(24))
    row.created_at, row.proven_at = now(), None
    session.add(row)
    try:
        await session.flush()
    except IntegrityError:
        raise DomainTaken(fields={"domain": f"{domain} is on the list of one of your providers already."}) from None
    await _note(session, actor, provider, "domain_added", after={"domain": domain})
    return row


async def record_proof(session: AsyncSession, actor: Actor, *, provider_id: UUID, domain_id: UUID) -> SsoDomain:
    """Note that a domain is proven; from now on it leads to the provider. Of two merchants who prove one domain the first has it."""
    provider = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    row = await queries.domain(session, actor, provider_id=provider_id, domain_id=domain_id)
    row.proven_at = now()
    try:
        await session.flush()
    except IntegrityError:
        taken = "Another merchant has proven this domain. It has to be released there, or by whoever runs this installation."
        raise DomainTaken(taken) from None
    await _note(session, actor, provider, "domain_proven", after={"domain": row.domain})
    return row


async def remove_domain(session: AsyncSession, actor: Actor, *, provider_id: UUID, domain_id: UUID) -> str:
    """Let a domain lead nowhere; others may prove it then. Gives the domain."""
    provider = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    row = await queries.domain(session, actor, provider_id=provider_id, domain_id=domain_id)
    await session.execute(delete(SsoDomain).where(SsoDomain.merchant_id == actor.merchant, SsoDomain.id == domain_id))
    before: dict[str, object] = {"domain": row.domain, "proven": row.proven_at is not None}
    await _note(session, actor, provider, "domain_removed", before=before)
    return row.domain


async def enforce(session: AsyncSession, actor: Actor, *, provider_id: UUID, break_glass: UUID) -> SsoProvider:
    """Let people of the provider's proven domains in by the provider only, but for one owner who gets in when it does not."""
    row = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    if row.status != SsoStatus.ACTIVE:
        raise SsoNotReady("Enable the provider first.")
    if not any(one.proven_at for one in await queries.domains(session, actor, provider_id=provider_id)):
        raise SsoNotReady("Prove a domain first: enforcing is for the people of proven domains.")
    mine = select(Membership.id).where(Membership.merchant_id == actor.merchant, Membership.person_id == break_glass)
    # their role cannot change between being looked at here and being relied on
    await session.execute(mine.with_for_update())
    if break_glass not in {owner for owner, *_ in await queries.able_owners(session, actor)}:
        problem = "Choose an owner who has a password and a second factor here; without one the provider could lock everybody out."
        raise SsoNotReady(problem, fields={"owner": problem})
    before: dict[str, object] = {"enforced": row.enforced, "break_glass": _text(row.break_glass_id)}
    row.enforced, row.break_glass_id, row.updated_at = True, break_glass, now()
    await session.flush()
    await _note(session, actor, row, "enforced", before=before, after={"enforced": True, "break_glass": str(break_glass)})
    return row


async def relax(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> SsoProvider:
    """Let people sign in the other ways again, too."""
    row = await queries.provider(session, actor, provider_id=provider_id, lock=True)
    if row.enforced:
        before: dict[str, object] = {"enforced": True, "break_glass": _text(row.break_glass_id)}
        row.enforced, row.break_glass_id, row.updated_at = False, None, now()
        await session.flush()
        await _note(session, actor, row, "relaxed", before=before, after={"enforced": False})
    return row


def _text(value: UUID | None) -> str | None:
    return str(value) if value else None
