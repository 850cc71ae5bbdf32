"""The sidebar, the command palette and the two-key shortcuts: one table, shown only as far as routes and permissions go."""

from collections.abc import Collection

import msgspec

from app.web.context import WebContext


class Entry(msgspec.Struct, frozen=True):
    """One place to go; `key` is the second key after G."""

    label: str
    icon: str
    path: str
    permission: str | None = None
    key: str | None = None


class Group(msgspec.Struct, frozen=True):
    """A heading with its entries; the first group has none."""

    title: str
    entries: tuple[Entry, ...]


NAVIGATION: tuple[Group, ...] = (
    Group(
        "",
        (
            Entry("Home", "house", "/", "merchant.read", "h"),
            Entry("Payments", "credit-card", "/payments", "payments.read", "p"),
            Entry("Orders", "receipt-text", "/orders", "orders.read", "d"),
            Entry("Customers", "users", "/customers", "customers.read", "u"),
            Entry("Disputes", "shield-alert", "/disputes", "payments.read"),
        ),
    ),
    Group(
        "Money",
        (
            Entry("Wallets", "wallet", "/wallets", "wallets.read", "w"),
            Entry("Sellers", "store", "/sellers", "sellers.read", "s"),
            Entry("Payouts", "landmark", "/payouts", "payouts.read", "o"),
            Entry("Approvals", "shield-check", "/approvals", "approvals.decide", "v"),
            Entry("Ledger", "columns-3", "/ledger", "ledger.read", "l"),
            Entry("Reconciliation", "scale", "/reconciliation", "reconciliation.read", "r"),
            Entry("Reports", "file-spreadsheet", "/reports", "reports.read"),
        ),
    ),
    Group(
        "Setup",
        (
            Entry("Connections", "plug", "/connections", "connections.read", "c"),
            Entry("Routing", "split", "/routing", "connections.read"),
        ),
    ),
    Group(
        "Developers",
        (
            Entry("API clients", "key-round", "/api-clients", "api_clients.read", "a"),
            Entry("Webhooks", "webhook", "/webhook-endpoints", "webhooks.write"),
            Entry("Event log", "activity", "/events", "events.read", "e"),
            Entry("Jobs", "rotate-ccw", "/jobs", "jobs.read", "j"),
        ),
    ),
    Group(
        "Settings",
        (
            Entry("Merchant", "settings", "/settings", "merchant.read"),
            Entry("Team and roles", "user-cog", "/team", "team.read", "t"),
            Entry("Single sign-on", "fingerprint", "/single-sign-on", "sso.write"),
            Entry("Security", "lock-keyhole", "/security"),
            Entry("Audit log", "scroll-text", "/audit", "audit.read"),
        ),
    ),
)


def navigation(web: WebContext, paths: Collection[str]) -> tuple[Group, ...]:
    """The groups this person sees: only places that exist and that the role may enter."""
    groups = (Group(group.title, tuple(e for e in group.entries if _visible(e, web, paths))) for group in NAVIGATION)
    return tuple(group for group in groups if group.entries)


def _visible(entry: Entry, web: WebContext, paths: Collection[str]) -> bool:
    return entry.path in paths and (entry.permission is None or web.can(entry.permission))


def is_current(entry: Entry, path: str) -> bool:
    """Whether the page shown belongs to this entry."""
    return path == entry.path or (entry.path != "/" and path.startswith(entry.path + "/"))
