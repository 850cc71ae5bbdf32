"""Asking the name servers of the internet for what a domain says of itself."""

from dns import asyncresolver, exception, resolver

from app.core.errors import Unavailable
from app.core.settings import settings

_SECONDS = 5.0


class NameServersSilent(Unavailable):
    """The name servers did not answer, or could not."""

    code = "name_servers_silent"
    title = "The name servers did not answer"


def _resolver() -> asyncresolver.Resolver:
    host, _, port = settings().dns_server.rpartition(":")
    if not host:
        return asyncresolver.Resolver()
    asked = asyncresolver.Resolver(configure=False)
    asked.nameservers, asked.port = [host], int(port)
    return asked


async def texts(name: str) -> list[str]:
    """The TXT records at a name; none when there is no such name or no such record."""
    try:
        answer = await _resolver().resolve(name, "TXT", lifetime=_SECONDS, search=False)
    except (resolver.NXDOMAIN, resolver.NoAnswer):
        return []
    except exception.DNSException:
        raise NameServersSilent(f"Nothing is known about {name} at the moment. Try again in a while.") from None
    return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
