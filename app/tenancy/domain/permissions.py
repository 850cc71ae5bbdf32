"""What may be permitted, how fresh a second factor each act needs, and which named sets of permissions the house brings along."""

from enum import StrEnum
from uuid import UUID

import msgspec

from app.core.ids import public_id

OTHER_ROLE = "custom"
"""The word a membership holds when its role is one that the merchant made."""


class Permission(msgspec.Struct, frozen=True):
    """One thing a role can allow. With `fresh_minutes`, acts under it need a second factor shown not longer ago than that."""

    meaning: str
    group: str
    fresh_minutes: int | None = None


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    FINANCE = "finance"
    APPROVER = "approver"
    SUPPORT = "support"
    DEVELOPER = "developer"
    VIEWER = "viewer"


PERMISSIONS: dict[str, Permission] = {
    "orders.read": Permission("See orders", "Orders and payments"),
    "orders.write": Permission("Create and cancel orders", "Orders and payments", 15),
    "payments.read": Permission("See payments", "Orders and payments"),
    "payments.create": Permission("Start payments", "Orders and payments"),
    "payments.capture": Permission("Capture authorised payments", "Orders and payments", 15),
    "payments.void": Permission("Release authorised payments", "Orders and payments", 15),
    "payments.refund": Permission("Refund payments", "Orders and payments", 15),
    "payments.approve": Permission("Approve refunds that others asked for", "Orders and payments", 5),
    "customers.read": Permission("See customers", "Orders and payments"),
    "sellers.read": Permission("See sellers", "Sellers and wallets"),
    "sellers.write": Permission("Add and change sellers", "Sellers and wallets", 15),
    "wallets.read": Permission("See sellers' balances and statements", "Sellers and wallets"),
    "wallets.write_off": Permission("Write off what sellers owe and will not repay", "Sellers and wallets", 5),
    "ledger.read": Permission("See accounts and transactions", "Sellers and wallets"),
    "payouts.read": Permission("See payouts", "Payouts"),
    "payouts.request": Permission("Request payouts", "Payouts", 15),
    "payouts.approve": Permission("Approve payouts that others requested", "Payouts", 5),
    "reconciliation.read": Permission("See reconciliation", "Books and reports"),
    "reconciliation.write": Permission("Hand in settlement files and bank statements, and resolve breaks", "Books and reports", 15),
    "reconciliation.approve": Permission("Approve write-offs that others asked for", "Books and reports", 5),
    "reports.read": Permission("See reports", "Books and reports"),
    "reports.export": Permission("Export data", "Books and reports", 15),
    "connections.read": Permission("See PSP connections and their health", "Setup"),
    "connections.write": Permission("Add and change PSP connections and their credentials", "Setup", 5),
    "routing.write": Permission("Change which connection takes a payment", "Setup", 15),
    "routing.approve": Permission("Approve routing that others changed", "Setup", 5),
    "webhooks.write": Permission("Manage outgoing webhooks", "Developers", 15),
    "api_clients.read": Permission("See API keys (never their secret)", "Developers"),
    "api_clients.write": Permission("Issue and revoke API keys", "Developers", 5),
    "events.read": Permission("See the event log", "Developers"),
    "jobs.read": Permission("See jobs that failed", "Developers"),
    "jobs.repair": Permission("Try failed jobs again, or discard them", "Developers", 15),
    "merchant.read": Permission("See the merchant's profile and start page", "Merchant and team"),
    "merchant.write": Permission("Change the merchant's profile", "Merchant and team", 15),
    "team.read": Permission("See who works here", "Merchant and team"),
    "team.write": Permission("Add and remove people and change their roles", "Merchant and team", 5),
    "rules.write": Permission("Set how fresh a factor must be, limits, and which acts need a second person", "Merchant and team", 5),
    "sso.write": Permission("Set up single sign-on, prove domains and enforce it", "Merchant and team", 5),
    "approvals.decide": Permission("Open the approvals, and decide what other permissions allow to", "Merchant and team", 5),
    "audit.read": Permission("Read the audit log", "Merchant and team"),
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
        "approvals.decide",
        "connections.write",
        "routing.write",
        "webhooks.write",
        "api_clients.read",
        "api_clients.write",
        "sellers.write",
        "audit.read",
        "jobs.repair",
    },
    Role.FINANCE: _READ | {"wallets.write_off", "payouts.request", "reconciliation.write", "reports.export", "sellers.write", "audit.read"},
    Role.APPROVER: _READ
    | {
        "approvals.decide",
        "payments.approve",
        "payouts.approve",
        "reconciliation.approve",
        "routing.approve",
        "audit.read",
    },
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

SENSITIVE_READS: dict[str, str] = {
    "api_access:edit_form": "api_key.form_opened",
    "api_access:new": "api_key.form_opened",
    "api_access:rotate_form": "api_key.form_opened",
    "api_clients:edit_form": "api_client.form_opened",
    "api_clients:new": "api_client.form_opened",
    "api_clients:secret_form": "api_client.form_opened",
    "audit:show": "audit.entry_opened",
    "bank_accounts:show": "bank_account.opened",
    "bank_accounts:verify_form": "bank_account.opened",
    "connections:settings_form": "connection.settings_opened",
    "connections:show": "connection.opened",
    "payouts:rules": "payout.funding_opened",
    "psp_events:list": "psp_event.read",
}
"""Pages, by the name of their route, whose opening is an entry of the audit trail: what is written. Files are noted by `may_export()`."""

LIMITABLE = ("payments.refund", "payouts.request", "payouts.approve")
"""What can be allowed up to an amount."""

ROLE_SUMMARY: dict[Role, str] = {
    Role.OWNER: "Everything, including roles and closing.",
    Role.ADMIN: "Team, connections, routing, webhooks, API keys. Moves no money.",
    Role.FINANCE: "Wallets, ledger, reports, sellers; requests payouts.",
    Role.APPROVER: "Approves what others requested; never their own.",
    Role.SUPPORT: "Orders, payments and refunds. Sees no bank data.",
    Role.DEVELOPER: "Builds in the sandbox; reads events in live.",
    Role.VIEWER: "Reads, changes nothing.",
}


ACTING_PERMISSIONS: frozenset[str] = frozenset(name for name, one in PERMISSIONS.items() if one.fresh_minutes is not None) | {
    "payments.create"
}
"""Who holds one of these can move money, change where it goes, or take data away: their quiet sessions end sooner."""

ACTING_ROLES: frozenset[Role] = frozenset(role for role, granted in ROLE_PERMISSIONS.items() if granted & ACTING_PERMISSIONS)
"""The roles of the house that are more than reading. What a developer may do in a sandbox moves no money and does not count."""


def permissions_of(role: Role, *, sandbox: bool) -> frozenset[str]:
    """What a role may do at a merchant; in the sandbox developers may do more."""
    return ROLE_PERMISSIONS[role] | (_SANDBOX_EXTRA.get(role, frozenset()) if sandbox else frozenset())


FRESH_MINUTES: dict[str, int] = {name: one.fresh_minutes for name, one in PERMISSIONS.items() if one.fresh_minutes is not None}
"""How old, in minutes, the second factor may be for acts under a permission; a merchant may ask for a fresher one."""


class KnownRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role that can be given at a merchant: one of the house's, or one that the merchant made (it has an id)."""

    name: str
    label: str
    summary: str
    permissions: frozenset[str]
    id: UUID | None = None

    @property
    def value(self) -> str:
        """How forms and addresses call it."""
        return self.name if self.id is None else public_id("rol", self.id)


def house_roles(*, sandbox: bool) -> list[KnownRole]:
    """The roles that every merchant has."""
    return [
        KnownRole(name=role, label=role.capitalize(), summary=ROLE_SUMMARY[role], permissions=permissions_of(role, sandbox=sandbox))
        for role in Role
    ]


def lacking(wanted: frozenset[str], held: frozenset[str]) -> list[str]:
    """What somebody would give without holding it, in the order of the permissions."""
    return [name for name in PERMISSIONS if name in wanted - held]
