"""Who does something: a person, an API key, a worker, a PSP or the house itself. Every write names one."""

from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

import msgspec

from app.core.errors import Forbidden
from app.core.ids import MerchantId


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
