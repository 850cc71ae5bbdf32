"""Looking at a provider and at a domain's proof: read, ask outside of any transaction, record."""

from uuid import UUID

import structlog

from app.core import resolver
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.outbound import AddressRefused
from app.identity import oauth
from app.identity.domain.providers import ProviderUnusable
from app.tenancy.sso import queries, service
from app.tenancy.sso.domain import check_proof, proof_name

log = structlog.get_logger()


async def test_provider(actor: Actor, *, provider_id: UUID) -> str | None:
    """Ask a provider what it publishes; gives what people could not sign in with, in a sentence, or nothing when all is well."""
    async with unit_of_work(actor.merchant) as session:
        provider = queries.as_provider(await queries.provider(session, actor, provider_id=provider_id))
    problem = None
    try:
        await oauth.inspect(provider)
    except (ProviderUnusable, AddressRefused) as refused:
        problem = refused.detail
    async with unit_of_work(actor.merchant) as session:
        await service.record_test(session, actor, provider_id=provider_id, problem=problem)
    log.info("sso_provider_tested", provider=provider.key, problem=problem)
    return problem


async def prove_domain(actor: Actor, *, provider_id: UUID, domain_id: UUID) -> str:
    """Look for the TXT record that proves a domain to be the merchant's; gives the domain."""
    async with unit_of_work(actor.merchant) as session:
        row = await queries.domain(session, actor, provider_id=provider_id, domain_id=domain_id)
    if row.proven_at is not None:
        return row.domain
    check_proof(row.domain, row.token, await resolver.texts(proof_name(row.domain)))
    async with unit_of_work(actor.merchant) as session:
        await service.record_proof(session, actor, provider_id=provider_id, domain_id=domain_id)
    log.warning("sso_domain_proven", domain=row.domain)
    return row.domain
