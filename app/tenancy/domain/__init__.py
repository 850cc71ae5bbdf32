"""Merchants, who works for them, and what each role may do. Permissions are the unit; roles are named sets of them."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from app.core.errors import Conflict, Invalid, NotFound
from app.core.events import Event
from app.tenancy.domain.permissions import (
    ACTING_PERMISSIONS,
    ACTING_ROLES,
    FRESH_MINUTES,
    LIMITABLE,
    OTHER_ROLE,
    PERMISSIONS,
    ROLE_PERMISSIONS,
    ROLE_SUMMARY,
    SENSITIVE_READS,
    KnownRole,
    Permission,
    Role,
    house_roles,
    lacking,
    permissions_of,
)

__all__ = [
    "ACTING_PERMISSIONS",
    "ACTING_ROLES",
    "FRESH_MINUTES",
    "LIMITABLE",
    "OTHER_ROLE",
    "PERMISSIONS",
    "ROLE_PERMISSIONS",
    "ROLE_SUMMARY",
    "SENSITIVE_READS",
    "KnownRole",
    "Permission",
    "Role",
    "house_roles",
    "lacking",
    "permissions_of",
]


class MerchantStatus(StrEnum):
    ACTIVE = "active"
    CLOSED = "closed"


class MerchantNotFound(NotFound):
    """There is no such merchant, or you do not work for it."""

    code = "merchant_not_found"
    title = "There is no such merchant"


class MemberNotFound(NotFound):
    """There is no such member in this team."""

    code = "member_not_found"
    title = "There is no such member"


class MemberExists(Conflict):
    """The person is in this team already."""

    code = "member_exists"
    title = "This person is in the team already"


class LastOwner(Conflict):
    """A merchant must keep at least one owner."""

    code = "last_owner"
    title = "The last owner must stay"


class OwnRole(Conflict):
    """Nobody changes their own role; another owner does."""

    code = "own_role"
    title = "You cannot change your own role"


class BreakGlassOwner(Conflict):
    """This owner gets in when the enforced sign-in provider does not; name another one first."""

    code = "break_glass_owner"
    title = "This owner is needed"


class RoleNotFound(NotFound):
    """There is no such role at this merchant."""

    code = "role_not_found"
    title = "There is no such role"


class RoleExists(Conflict):
    """Another role of this merchant, or one of the house's, has the name already."""

    code = "role_exists"
    title = "There is a role of this name"


class RoleInUse(Conflict):
    """Somebody holds this role; give them another one first."""

    code = "role_in_use"
    title = "Somebody holds this role"


class PermissionNotHeld(Invalid):
    """Nobody gives what they do not hold themselves."""

    code = "permission_not_held"
    title = "You cannot give what you do not hold"


class MerchantOpened(Event, frozen=True, kw_only=True):
    """A merchant, or its sandbox, began to exist."""

    topic: ClassVar[str] = "merchant.opened"
    name: str
    sandbox: bool


class RightsLost(Event, frozen=True, kw_only=True):
    """A member left a merchant's team, or may do less there than before."""

    topic: ClassVar[str] = "member.rights_lost"
    person_id: str


class Membership(msgspec.Struct, frozen=True):
    """One merchant a person may enter, and as what."""

    id: str
    name: str
    role: str
    sandbox_of: str | None = None


class Standing(msgspec.Struct, frozen=True):
    """What a person is at one merchant beyond the name of a role: a role of the merchant's own, limits, and the merchant's rules of step-up."""

    role: str | None = None
    permissions: list[str] | None = None
    limits: dict[str, int] = {}
    fresh: dict[str, int] = {}
    money: dict[str, int] = {}

    def may(self, membership: Membership) -> frozenset[str]:
        """What the person may do there; a permission that the house no longer knows is worth nothing."""
        if self.permissions is not None:
            return frozenset(self.permissions) & PERMISSIONS.keys()
        return permissions_of(Role(membership.role), sandbox=membership.sandbox_of is not None)

    @property
    def fresh_minutes(self) -> dict[str, int]:
        """How old the second factor may be: as the house declares, or fresher where the merchant asks for it."""
        return FRESH_MINUTES | {name: min(minutes, FRESH_MINUTES[name]) for name, minutes in self.fresh.items() if name in FRESH_MINUTES}
