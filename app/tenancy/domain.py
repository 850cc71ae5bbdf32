"""Merchants, who works for them, and what each role may do. Permissions are the unit; roles are named sets of them."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from app.core.errors import Conflict, NotFound
from app.core.events import Event


class MerchantStatus(StrEnum):
    ACTIVE = "active"
    CLOSED = "closed"


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    FINANCE = "finance"
    APPROVER = "approver"
    SUPPORT = "support"
    DEVELOPER = "developer"
    VIEWER = "viewer"


PERMISSIONS: dict[str, str] = {
    "merchant.read": "See the merchant's profile and start page",
    "merchant.write": "Change the merchant's profile",
    "team.read": "See who works here",
    "team.write": "Add and remove people and change their roles",
    "connections.read": "See PSP connections and their health",
    "connections.write": "Add and change PSP connections and their credentials",
    "routing.write": "Change which connection takes a payment",
    "webhooks.write": "Manage outgoing webhooks",
    "api_clients.read": "See API keys (never their secret)",
    "api_clients.write": "Issue and revoke API keys",
    "events.read": "See the event log",
    "orders.read": "See orders",
    "orders.write": "Create and cancel orders",
    "payments.read": "See payments",
    "payments.create": "Start payments",
    "payments.capture": "Capture authorised payments",
    "payments.void": "Release authorised payments",
    "payments.refund": "Refund payments",
    "sellers.read": "See sellers",
    "sellers.write": "Add and change sellers",
    "wallets.read": "See sellers' balances and statements",
    "ledger.read": "See accounts and transactions",
    "payouts.read": "See payouts",
    "payouts.request": "Request payouts",
    "payouts.approve": "Approve payouts that others requested",
    "reconciliation.read": "See reconciliation",
    "reconciliation.write": "Hand in settlement files and bank statements, and resolve breaks",
    "reconciliation.approve": "Approve write-offs that others asked for",
    "reports.read": "See reports",
    "reports.export": "Export data",
    "audit.read": "Read the audit log",
    "jobs.read": "See jobs that failed",
    "jobs.repair": "Try failed jobs again, or discard them",
    "customers.read": "See customers",
}

_EVERYTHING = frozenset(PERMISSIONS)
_READ = frozenset(name for name in PERMISSIONS if name.endswith(".read")) - {"audit.read", "api_clients.read"}
_SELLING = frozenset({"merchant.read", "orders.read", "payments.read", "sellers.read", "customers.read"})
_ACTING = frozenset({"orders.write", "payments.create", "payments.capture", "payments.void", "payments.refund"})
_BUILDING = frozenset({"connections.read", "api_clients.read", "events.read", "team.read", "jobs.read"})

ROLE_PERMISSIONS: dict[Role, frozenset[str]] = {
    Role.OWNER: _EVERYTHING,
    Role.ADMIN: _READ
    | {
        "merchant.write",
        "team.write",
        "connections.write",
        "routing.write",
        "webhooks.write",
        "api_clients.read",
        "api_clients.write",
        "sellers.write",
        "audit.read",
        "jobs.repair",
    },
    Role.FINANCE: _READ | {"payouts.request", "reconciliation.write", "reports.export", "sellers.write", "audit.read"},
    Role.APPROVER: _READ | {"payouts.approve", "reconciliation.approve", "audit.read"},
    Role.SUPPORT: _SELLING | _ACTING,
    Role.DEVELOPER: _SELLING | _BUILDING,
    Role.VIEWER: _READ,
}

# No money is real in a sandbox, so whoever integrates may do there what an integration does.
_SANDBOX_EXTRA: dict[Role, frozenset[str]] = {
    Role.DEVELOPER: _ACTING
    | {
        "connections.write",
        "routing.write",
        "webhooks.write",
        "api_clients.write",
        "sellers.write",
        "jobs.repair",
        "wallets.read",
        "ledger.read",
        "payouts.read",
        "payouts.request",
    },
}

ROLE_SUMMARY: dict[Role, str] = {
    Role.OWNER: "Everything, including roles and closing.",
    Role.ADMIN: "Team, connections, routing, webhooks, API keys. Moves no money.",
    Role.FINANCE: "Wallets, ledger, reports, sellers; requests payouts.",
    Role.APPROVER: "Approves what others requested; never their own.",
    Role.SUPPORT: "Orders, payments and refunds. Sees no bank data.",
    Role.DEVELOPER: "Builds in the sandbox; reads events in live.",
    Role.VIEWER: "Reads, changes nothing.",
}


def permissions_of(role: Role, *, sandbox: bool) -> frozenset[str]:
    """What a role may do at a merchant; in the sandbox developers may do more."""
    return ROLE_PERMISSIONS[role] | (_SANDBOX_EXTRA.get(role, frozenset()) if sandbox else frozenset())


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


class MerchantOpened(Event, frozen=True, kw_only=True):
    """A merchant, or its sandbox, began to exist."""

    topic: ClassVar[str] = "merchant.opened"
    name: str
    sandbox: bool


class Membership(msgspec.Struct, frozen=True):
    """One merchant a person may enter, and as what."""

    id: str
    name: str
    role: Role
    sandbox_of: str | None = None
