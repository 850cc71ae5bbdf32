"""Merchants' own sign-in providers for tests."""

from uuid import UUID

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.tenancy.models import SsoProvider
from app.tenancy.sso import service
from app.tenancy.sso.domain import SsoSettings

SETTINGS = SsoSettings(
    name="Acme",
    issuer="https://login.acme.example",
    client_id="countinghouse",
    secret_in_body=False,
    scopes="openid email profile",
    accept_mfa=False,
    mfa_acr=[],
    default_role="viewer",
    role_rules=["groups = accounting : finance"],
)
SECRET = "Planted-sso-secret-9f3a"


async def make_provider(
    actor: Actor,
    given: SsoSettings = SETTINGS,
    *,
    secret: str = SECRET,
    domain: str = "corp.test",
    active: bool = True,
    proven: bool = True,
) -> SsoProvider:
    """A provider of a merchant with one domain; ready for sign-in unless said otherwise."""
    async with unit_of_work(actor.merchant) as session:
        row = await service.add_provider(session, actor, given=given, secret=secret)
        held = await service.add_domain(session, actor, provider_id=row.id, domain=domain)
        if proven:
            await service.record_proof(session, actor, provider_id=row.id, domain_id=held.id)
        if active:
            row.tested_at = now()
            await service.enable(session, actor, provider_id=row.id)
    return row


async def enforce(actor: Actor, provider_id: UUID, *, break_glass: UUID) -> None:
    """Make a provider the only way in."""
    async with unit_of_work(actor.merchant) as session:
        await service.enforce(session, actor, provider_id=provider_id, break_glass=break_glass)
