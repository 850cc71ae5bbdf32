"""Who does something: a person, an API key, a worker, a PSP or the house itself. Every write names one."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

import msgspec

from app.core.errors import Forbidden
from app.core.ids import MerchantId
from app.core.money import Money


class ActorKind(StrEnum):
    USER = "user"
    API_KEY = "api_key"
    API_CLIENT = "api_client"
    WORKER = "worker"
    PSP = "psp"
    SYSTEM = "system"
    OPERATOR = "operator"

    @property
    def is_program(self) -> bool:
        """Whether it is a program of the merchant, which carries a key or a token."""
        return self in {ActorKind.API_KEY, ActorKind.API_CLIENT}


class PermissionMissing(Forbidden):
    """Your role does not include what this needs."""

    code = "permission_missing"
    title = "Your role does not allow this"


class LimitExceeded(Forbidden):
    """The amount is above what this member may do alone; a colleague with a higher limit can."""

    code = "member_limit_exceeded"
    title = "This is above your limit"


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, for which merchant, with which permissions."""

    kind: ActorKind
    name: str
    id: UUID | None = None
    merchant_id: MerchantId | None = None
    permissions: frozenset[str] = frozenset()
    request_id: str = ""
    address: str | None = None
    factor_at: datetime | None = None
    limits: Mapping[str, int] = {}
    """The most in minor units for one act, by permission and currency: ``payments.refund:EUR``."""

    @classmethod
    def system(cls, merchant_id: MerchantId | None, name: str = "Countinghouse") -> Self:
        """The house itself, acting by a rule."""
        return cls(kind=ActorKind.SYSTEM, name=name, merchant_id=merchant_id)

    @classmethod
    def worker(cls, merchant_id: MerchantId | None, name: str) -> Self:
        """A background job."""
        return cls(kind=ActorKind.WORKER, name=name, merchant_id=merchant_id)

    @classmethod
    def psp(cls, merchant_id: MerchantId, name: str) -> Self:
        """A payment provider, telling us something."""
        return cls(kind=ActorKind.PSP, name=name, merchant_id=merchant_id)

    @property
    def merchant(self) -> MerchantId:
        """The merchant acted for; an actor without one may not touch a merchant's objects."""
        if self.merchant_id is None:
            raise PermissionMissing("Choose a merchant first.")
        return self.merchant_id

    def can(self, permission: str) -> bool:
        """Whether the actor has the permission."""
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Refuse unless the actor has the permission."""
        if not self.can(permission):
            raise PermissionMissing(f"This needs the permission “{permission}”. Ask an owner of this merchant.", permission=permission)

    def has_limit(self, permission: str) -> bool:
        """Whether the permission holds up to an amount only."""
        return any(name.startswith(permission + ":") for name in self.limits)

    def exceeds(self, permission: str, amount: Money) -> bool:
        """Whether an amount is above the actor's limit; where a permission is limited, currencies that no limit names are worth nothing."""
        return self.has_limit(permission) and amount.minor > self.limits.get(f"{permission}:{amount.currency}", 0)

    def require_within(self, permission: str, amount: Money) -> None:
        """Refuse an amount above the actor's limit."""
        if self.exceeds(permission, amount):
            most = Money(self.limits.get(f"{permission}:{amount.currency}", 0), amount.currency)
            raise LimitExceeded(f"You may do this up to {most.format()}. Ask a colleague with a higher limit.", limit_minor=most.minor)

    @property
    def grantable(self) -> frozenset[str]:
        """What the actor holds without end, and so may pass on."""
        return frozenset(name for name in self.permissions if not self.has_limit(name)) if self.limits else self.permissions
