"""The caller's true address: forwarded headers are believed only from proxies that the settings name."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from app.core.settings import settings
from app.web.context import HttpRequest

Network = IPv4Network | IPv6Network


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
    for hop in reversed([part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]):
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
