"""Where a request comes from and whom it asks for: forwarded headers are believed only from proxies that the settings name, and only our
own names are answered to."""

import re
from functools import cache, lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from app.core.errors import AppError
from app.core.settings import settings
from app.web.context import HttpRequest

Network = IPv4Network | IPv6Network


_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class UnknownHost(AppError):
    """The request asks for a host name that is not this installation's; see COUNTINGHOUSE_ALLOWED_HOSTS."""

    status = 421
    code = "unknown_host"
    title = "This server does not answer to that name"


@lru_cache(maxsize=8)
def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def _trusted(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def client_address(request: HttpRequest) -> str:
    """The nearest address on the way here that is not one of our proxies."""
    peer = request.client.host if request.client else "local"
    networks = _networks(settings().trusted_proxies)
    if not networks or not _trusted(peer, networks):
        return peer
    # the rightmost entries were written by our own proxies; everything left of the first stranger may be invented
    # and some proxies write theirs on a line of its own, below the caller's
    told = ",".join(request.headers.getall("x-forwarded-for", []))
    for hop in reversed([part.strip() for part in told.split(",") if part.strip()]):
        if not _trusted(hop, networks):
            return hop if _readable(hop) else peer
    return peer


def _readable(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def limit_key(address: str) -> str:
    """What rate limits count by: an IPv4 address, or the /64 that one IPv6 customer usually has."""
    if ":" not in address:
        return address
    try:
        return str(IPv6Network((IPv6Address(address.partition("%")[0]), 64), strict=False))
    except ValueError:
        return address


@cache
def _names(public_url: str, allowed: str, environment: str) -> frozenset[str]:
    own = {urlsplit(public_url).hostname or "", *(name.strip().lower() for name in allowed.split(","))}
    # on a developer's machine the same server is called by several names; in production only by those that were given
    return frozenset(own - {""}) | (frozenset() if environment == "production" else LOOPBACK)


def check_host(request: HttpRequest) -> None:
    """Refuse a name that is not ours: links, cookies and caches must never be made for a name that a stranger chose."""
    found = _HOST.fullmatch(request.headers.get("host", "").lower())
    name = found and (found[1] or found[2])
    if name not in _names(settings().public_url, settings().allowed_hosts, settings().environment):
        raise UnknownHost("Use the address that this installation is published under.")
