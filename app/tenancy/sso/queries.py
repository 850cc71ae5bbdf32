"""Reads about a merchant's single sign-on: its providers, their domains, and who could get in without them."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import path_id, public_id
from app.core.secrets import unseal
from app.core.settings import settings
from app.identity import queries as people
from app.identity.domain.providers import Provider
from app.tenancy import queries as teams
from app.tenancy.domain import Role
from app.tenancy.models import Membership, SsoDomain, SsoIdentity, SsoProvider
from app.tenancy.roles import queries as roles
from app.tenancy.schemas import RoleOption
from app.tenancy.sso.domain import SSO_PROVIDER, SsoDomainNotFound, SsoProviderNotFound, SsoStatus, proof_name, proof_text, read_rules
from app.tenancy.sso.schemas import (
    SsoDomainRow,
    SsoEnforcePage,
    SsoForm,
    SsoFormPage,
    SsoListPage,
    SsoProviderPage,
    SsoRemovePage,
    SsoRow,
)


def provider_id_of(text: str) -> UUID:
    """The id of a provider in an address."""
    return path_id("sso", text, otherwise=SsoProviderNotFound())


def domain_id_of(text: str) -> UUID:
    """The id of a domain in an address."""
    return path_id("dom", text, otherwise=SsoDomainNotFound())


def secret_context(row: SsoProvider) -> str:
    """The place that a provider's secret is sealed for."""
    return f"sso_provider.sealed_secret:{row.merchant_id}:{row.id}"


async def provider(session: AsyncSession, actor: Actor, *, provider_id: UUID, lock: bool = False) -> SsoProvider:
    """One of the merchant's providers."""
    mine = select(SsoProvider).where(SsoProvider.merchant_id == actor.merchant, SsoProvider.id == provider_id)
    found = await session.scalar(mine.with_for_update() if lock else mine)
    if found is None:
        raise SsoProviderNotFound()
    return found


def as_provider(row: SsoProvider) -> Provider:
    """The provider as sign-in uses it, with its secret in the clear."""
    return Provider(
        key=public_id("sso", row.id),
        name=row.name,
        client_id=row.client_id,
        client_secret=unseal(row.sealed_secret, secret_context(row)),
        issuer=row.issuer,
        secret_in_body=row.secret_in_body,
        scopes=row.scopes,
        acr_values=" ".join(row.mfa_acr) if row.accept_mfa else "",
        mfa_acr=row.mfa_acr,
        accept_mfa=row.accept_mfa,
    )


async def domain(session: AsyncSession, actor: Actor, *, provider_id: UUID, domain_id: UUID) -> SsoDomain:
    """One of the domains a provider stands for."""
    found = await session.get(SsoDomain, (actor.merchant, domain_id))
    if found is None or found.provider_id != provider_id:
        raise SsoDomainNotFound()
    return found


async def domains(session: AsyncSession, actor: Actor, *, provider_id: UUID | None = None) -> list[SsoDomain]:
    """The domains of one of the merchant's providers, or of all of them, by name."""
    mine = select(SsoDomain).where(SsoDomain.merchant_id == actor.merchant).order_by(SsoDomain.domain)
    if provider_id is not None:
        mine = mine.where(SsoDomain.provider_id == provider_id)
    return list(await session.scalars(mine))


async def sso_page(session: AsyncSession, actor: Actor) -> SsoListPage:
    """The merchant's providers, by name."""
    rows = await session.scalars(select(SsoProvider).where(SsoProvider.merchant_id == actor.merchant).order_by(SsoProvider.name))
    held = await domains(session, actor)
    shown = [_row(row, [one for one in held if one.provider_id == row.id]) for row in rows]
    return SsoListPage(rows=shown, is_sandbox=await teams.sandbox_of(session, actor.merchant))


def _row(row: SsoProvider, held: list[SsoDomain]) -> SsoRow:
    proven = [one.domain for one in held if one.proven_at is not None]
    return SsoRow(
        id=public_id("sso", row.id),
        name=row.name,
        status=row.status,
        issuer=row.issuer,
        enforced=row.enforced,
        domains=proven,
        unproven=len(held) - len(proven),
    )


async def connected(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> int:
    """How many accounts of a provider are connected to people."""
    mine = select(func.count()).where(SsoIdentity.merchant_id == actor.merchant, SsoIdentity.provider_id == provider_id)
    return await session.scalar(mine) or 0


async def provider_page(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> SsoProviderPage:
    """One provider: its settings, what the last test showed, its domains, and who joins by it."""
    row = await provider(session, actor, provider_id=provider_id)
    labels = {one.value: one.label for one in await roles.known_roles(session, actor)}
    names = await people.names(session, {row.break_glass_id} if row.break_glass_id else set())
    path = f"{settings().public_url}{as_provider(row).path}"
    rules = [(f"{rule.claim} = {rule.value}", labels.get(rule.role, "A role that is gone")) for rule in read_rules(row.role_rules)]
    return SsoProviderPage(
        id=public_id("sso", row.id),
        name=row.name,
        status=row.status,
        actions=SSO_PROVIDER.events(SsoStatus(row.status)),
        issuer=row.issuer,
        client_id=row.client_id,
        fingerprint=row.fingerprint,
        secret_in_body=row.secret_in_body,
        scopes=row.scopes,
        accept_mfa=row.accept_mfa,
        mfa_acr=row.mfa_acr,
        default_role=labels.get(row.default_role, "A role that is gone") if row.default_role else "",
        rules=rules,
        domains=[_domain_row(one) for one in await domains(session, actor, provider_id=provider_id)],
        enforced=row.enforced,
        break_glass=next(iter(names.values()), ""),
        connected=await connected(session, actor, provider_id=provider_id),
        tested_at=row.tested_at,
        test_problem=row.test_problem or "",
        redirect_uri=f"{path}/callback",
        signed_out_uri=f"{settings().public_url}/sign-in/signed-out",
        notice_uri=f"{path}/signed-out",
        updated_at=row.updated_at,
    )


def _domain_row(row: SsoDomain) -> SsoDomainRow:
    return SsoDomainRow(
        id=public_id("dom", row.id),
        domain=row.domain,
        proven_at=row.proven_at,
        record_name=proof_name(row.domain),
        record_text=proof_text(row.token),
    )


async def new_page(session: AsyncSession, actor: Actor) -> SsoFormPage:
    """The form of a new provider."""
    form = SsoForm(name="", issuer="", client_id="", scopes="openid email profile")
    return SsoFormPage(id=None, form=form, fingerprint="", roles=await _joinable(session, actor))


async def settings_page(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> SsoFormPage:
    """The form that changes a provider; its secret is not in it."""
    row = await provider(session, actor, provider_id=provider_id)
    form = SsoForm(
        name=row.name,
        issuer=row.issuer,
        client_id=row.client_id,
        scopes=row.scopes,
        secret_in_body=row.secret_in_body,
        accept_mfa=row.accept_mfa,
        mfa_acr=" ".join(row.mfa_acr),
        default_role=row.default_role or "",
        role_rules="\n".join(row.role_rules),
    )
    return SsoFormPage(id=public_id("sso", row.id), form=form, fingerprint=row.fingerprint, roles=await _joinable(session, actor))


async def _joinable(session: AsyncSession, actor: Actor) -> list[RoleOption]:
    return await roles.options(session, actor, is_owner=False)


async def able_owners(session: AsyncSession, actor: Actor) -> list[tuple[UUID, str, str]]:
    """Id, name and address of the owners who can sign in with a password and a second factor of their own."""
    owners = select(Membership.person_id).where(Membership.merchant_id == actor.merchant, Membership.role == Role.OWNER)
    return await people.on_their_own(session, list(await session.scalars(owners)))


async def enforce_page(session: AsyncSession, actor: Actor, *, provider_id: UUID, bound: bool) -> SsoEnforcePage:
    """What enforcing means, and which owner is to get in without the provider."""
    row = await provider(session, actor, provider_id=provider_id)
    held = await domains(session, actor, provider_id=provider_id)
    owners = [(public_id("per", person_id), name, email) for person_id, name, email in await able_owners(session, actor)]
    return SsoEnforcePage(
        id=public_id("sso", row.id),
        name=row.name,
        domains=[one.domain for one in held if one.proven_at is not None],
        owners=owners,
        break_glass=public_id("per", row.break_glass_id) if row.break_glass_id else "",
        stays=bound,
    )


async def remove_page(session: AsyncSession, actor: Actor, *, provider_id: UUID) -> SsoRemovePage:
    """What removing a provider takes along."""
    row = await provider(session, actor, provider_id=provider_id)
    count = await connected(session, actor, provider_id=provider_id)
    return SsoRemovePage(id=public_id("sso", row.id), name=row.name, connected=count)
