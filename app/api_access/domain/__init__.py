"""API keys and OAuth clients: how a secret looks, what its bearer may do, from where, and until when."""

import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NoReturn
from uuid import UUID

import msgspec

from app.core.errors import Conflict, Invalid, NotFound
from app.core.ids import MerchantId

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


MOST_NETWORKS = 50
TOKEN_LIFE = timedelta(minutes=10)
OVERLAPS = {0: "At once", 1: "In an hour", 24: "In a day", 168: "In a week"}
"""Hours for which what was replaced goes on working."""
_MAPPED = IPv6Network("::ffff:0:0/96")
_BETWEEN = re.compile(r"[\s,;]+")
Network = IPv4Network | IPv6Network


class KeyState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ClientState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    DISABLED = "disabled"
    REVOKED = "revoked"


class AuthMethod(StrEnum):
    SECRET = "client_secret_basic"  # noqa: S105 - the name of a method
    KEY = "private_key_jwt"


class Ending(msgspec.Struct, frozen=True):
    """When a key or a client is to end; without a time, never."""

    at: datetime | None

    def is_later_than(self, present: datetime | None) -> bool:
        """Whether this end lies behind the present one."""
        return present is not None and (self.at is None or self.at > present)


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just made: its text for the client, and until when it works."""

    token: str
    scopes: list[str]
    expires_at: datetime


class UsedAssertion(msgspec.Struct, frozen=True, kw_only=True):
    """An assertion that proved who a client is, and may do so once only."""

    digest: bytes
    expires_at: datetime


class KnownToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the client that asks about it."""

    id: UUID
    scopes: list[str]
    issued_at: datetime
    expires_at: datetime
    revoked: bool


class KnownClient(msgspec.Struct, frozen=True, kw_only=True):
    """An OAuth client as the authorization server needs it."""

    client_id: str
    id: UUID
    merchant_id: MerchantId
    name: str
    sandbox: bool
    method: AuthMethod
    scopes: list[str]
    networks: list[str]
    secrets: list[bytes]
    jwks: dict[str, list[dict[str, str]]] | None
    jwks_url: str | None
    jwks_fetched_at: datetime | None


class Knower(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who knows a working secret that may do what they may not, or not any more."""

    name: str
    left: bool
    lacking: list[str] = []

    @property
    def reason(self) -> str:
        """Why what they know is to be renewed."""
        return f"{self.name} knows it and has left" if self.left else f"{self.name} knows it and lacks {', '.join(self.lacking)}"


class ApiKeyNotFound(NotFound):
    """There is no such API key."""

    code = "api_key_not_found"
    title = "There is no such API key"


class ApiClientNotFound(NotFound):
    """There is no such OAuth client."""

    code = "api_client_not_found"
    title = "There is no such OAuth client"


class CredentialEnded(Conflict):
    """The key or client no longer works, so nothing about it can be changed; make a new one."""

    code = "credential_ended"
    title = "It no longer works"


class NameNotConfirmed(Invalid):
    """Type the name of the key or client to revoke it."""

    code = "name_not_confirmed"
    title = "Type the name to confirm"


def new_key(*, sandbox: bool) -> str:
    """A new key: where it works is visible, the rest is 192 random bits."""
    return f"ch_{'test' if sandbox else 'live'}_{secrets.token_urlsafe(24)}"


def new_token(*, sandbox: bool) -> str:
    """A new access token of 256 random bits; it begins like a key, so that whatever keeps keys out of logs keeps tokens out too."""
    return f"ch_{'test' if sandbox else 'live'}_at_{secrets.token_urlsafe(32)}"


def new_secret(*, sandbox: bool) -> str:
    """A new secret of an OAuth client: 256 random bits."""
    return f"ch_{'test' if sandbox else 'live'}_cs_{secrets.token_urlsafe(32)}"


def visible_prefix(key: str) -> str:
    """The part of a key that may be shown and logged."""
    return key[:12]


def visible_start(secret: str) -> str:
    """The part of a client's secret that may be shown and logged."""
    return secret[:15]


def read_networks(text: str) -> list[str]:
    """The addresses and networks that a person listed, one canonical text each; raises Invalid naming the first that is wrong."""
    found: list[str] = []
    for part in filter(None, _BETWEEN.split(text)):
        network = _network(part)
        if str(network) not in found:
            found.append(str(network))
    if len(found) > MOST_NETWORKS:
        _refuse_networks(f"List at most {MOST_NETWORKS} addresses and networks.")
    return found


def _network(part: str) -> Network:
    network: Network
    try:
        network = ip_network(part)
    except ValueError:
        _refuse_networks(_what_is_wrong(part))
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # a caller with such an address is looked for among the IPv4 ones
        network = IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    if network.prefixlen == 0:
        _refuse_networks(f"“{part}” is every address there is. Leave the field empty to allow all.")
    return network


def _what_is_wrong(part: str) -> str:
    try:
        return f"“{part[:60]}” names one address and a whole network. Write {ip_network(part, strict=False)} or the address alone."
    except ValueError:
        return f"“{part[:60]}” is neither an address nor a network. Write them like 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48."


def _refuse_networks(problem: str) -> NoReturn:
    raise Invalid(problem, fields={"networks": problem})


@lru_cache(maxsize=4096)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def may_come_from(address: str | None, networks: Sequence[str]) -> bool:
    """Whether the list allows the address; an empty list allows all, and what is no address is allowed by no list."""
    if not networks:
        return True
    try:
        ip: IPv4Address | IPv6Address = ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in _networks(tuple(networks)))


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


def reaches_further(
    *, scopes: Collection[str], networks: Sequence[str], than_scopes: Collection[str], than_networks: Sequence[str]
) -> bool:
    """Whether a change lets a program do more, or come from elsewhere, than before."""
    if set(scopes) - set(than_scopes):
        return True
    if not than_networks:
        return False
    known = _networks(tuple(than_networks))
    return not networks or any(not any(_lies_in(one, other) for other in known) for one in _networks(tuple(networks)))


def _lies_in(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.subnet_of(other)
    return isinstance(other, IPv6Network) and one.subnet_of(other)


def state_of(*, expires_at: datetime | None, revoked_at: datetime | None, at: datetime) -> KeyState:
    """Whether a key works."""
    if revoked_at is not None:
        return KeyState.REVOKED
    return KeyState.EXPIRED if expires_at is not None and expires_at <= at else KeyState.ACTIVE


def client_state(*, expires_at: datetime | None, disabled_at: datetime | None, revoked_at: datetime | None, at: datetime) -> ClientState:
    """Whether a client gets tokens."""
    if revoked_at is not None:
        return ClientState.REVOKED
    if expires_at is not None and expires_at <= at:
        return ClientState.EXPIRED
    return ClientState.DISABLED if disabled_at is not None else ClientState.ACTIVE
