"""API keys: how one looks, what it may do, and when it ends."""

import secrets
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from app.core.errors import Invalid, NotFound

SCOPES: dict[str, str] = {
    "orders.read": "Read orders",
    "orders.write": "Create and cancel orders",
    "payments.read": "Read payments",
    "payments.create": "Start payments",
    "payments.capture": "Capture payments",
    "payments.void": "Release payments",
    "payments.refund": "Refund payments",
    "sellers.read": "Read sellers",
    "sellers.write": "Add and change sellers",
    "wallets.read": "Read balances and statements",
    "ledger.read": "Read accounts and transactions",
    "payouts.read": "Read payouts",
    "payouts.request": "Request payouts (people approve them)",
    "events.read": "Read the event log",
    "customers.read": "Read customers",
}
"""What a key can be allowed: a part of what people's roles can, and nothing that needs a person."""


class KeyState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ApiKeyNotFound(NotFound):
    """There is no such API key."""

    code = "api_key_not_found"
    title = "There is no such API key"


class NameNotConfirmed(Invalid):
    """Type the key's name to revoke it."""

    code = "name_not_confirmed"
    title = "Type the name to confirm"


def new_key(*, sandbox: bool) -> str:
    """A new key: where it works is visible, the rest is 192 random bits."""
    return f"ch_{'test' if sandbox else 'live'}_{secrets.token_urlsafe(24)}"


def visible_prefix(key: str) -> str:
    """The part of a key that may be shown and logged."""
    return key[:12]


def check_scopes(scopes: Collection[str], *, allowed: Collection[str]) -> list[str]:
    """The scopes in order, if the key may have them: known ones, and none that its maker lacks."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    lacking = [scope for scope in scopes if scope not in allowed]
    problem = None
    if not scopes:
        problem = "Choose at least one."
    elif unknown:
        problem = f"A key cannot have {', '.join(sorted(unknown))}."
    elif lacking:
        problem = f"You cannot give what you may not do yourself: {', '.join(sorted(lacking))}."
    if problem is not None:
        raise Invalid(problem, fields={"scopes": problem})
    return [scope for scope in SCOPES if scope in scopes]


def state_of(*, expires_at: datetime | None, revoked_at: datetime | None, at: datetime) -> KeyState:
    """Whether a key works."""
    if revoked_at is not None:
        return KeyState.REVOKED
    return KeyState.EXPIRED if expires_at is not None and expires_at <= at else KeyState.ACTIVE
