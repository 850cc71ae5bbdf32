"""Merchants, their sandboxes and their people for tests."""

import itertools
from uuid import UUID

import msgspec

from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import MerchantId, PersonId
from app.identity.models import Person
from app.tenancy import service
from app.tenancy.domain import Role, permissions_of
from app.tenancy.models import Merchant
from tests.support.factories.identity import make_person

_numbers = itertools.count(1)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant with its sandbox and its owner."""

    live: Merchant
    sandbox: Merchant
    owner: Person

    @property
    def id(self) -> MerchantId:
        """The live merchant's id."""
        return MerchantId(self.live.id)

    @property
    def sandbox_id(self) -> MerchantId:
        """The sandbox's id."""
        return MerchantId(self.sandbox.id)

    def actor(self, role: Role = Role.OWNER, *, sandbox: bool = False, person_id: UUID | None = None) -> Actor:
        """Somebody of this merchant with a role and a fresh second factor."""
        return Actor(
            kind=ActorKind.USER,
            id=person_id or self.owner.id,
            name=self.owner.name,
            merchant_id=self.sandbox_id if sandbox else self.id,
            permissions=permissions_of(role, sandbox=sandbox),
            request_id="test-request",
            address="192.0.2.1",
            factor_at=now(),
        )


async def make_tenant(*, name: str | None = None) -> Tenant:
    """A merchant with a sandbox and an owner who can sign in."""
    name = name or f"Halden {next(_numbers)}"
    async with unit_of_work(None) as session:
        owner = await make_person(session, name=f"Owner of {name}")
        actor = Actor(kind=ActorKind.USER, id=owner.id, name=owner.name)
        live, sandbox = await service.open_merchant(session, actor, name=name)
    return Tenant(live=live, sandbox=sandbox, owner=owner)


async def make_member(tenant: Tenant, role: Role, *, sandbox: bool = False, person: Person | None = None) -> Person:
    """Somebody new (or the given person) who works for the merchant."""
    merchant_id = tenant.sandbox_id if sandbox else tenant.id
    async with unit_of_work(None) as session:
        person = person or await make_person(session, name=f"{role.capitalize()} of {tenant.live.name}")
        await service.add_member(session, Actor.system(None, "Test"), merchant_id=merchant_id, person_id=PersonId(person.id), role=role)
    return person
