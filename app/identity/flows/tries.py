"""Tries are counted before they are judged, in a transaction of their own: the count must survive a refusal."""

from app.core.db import unit_of_work
from app.identity import service
from app.identity.domain import TooManyTries
from app.identity.service import AddressTries

FREE_FOR_ADDRESS = 15
"""An office shares an address: it gets this many more tries than an account before it must wait."""
_NO_WAIT = 1 << 30
"""Tries that are only counted, for the address pays for them."""


async def take(*keys: str, at: AddressTries | None = None) -> None:
    """Use one try of each key and of the address (a fixed order, so that two sign-ins cannot wait for each other)."""
    async with unit_of_work(None) as session:
        waits = [await service.take_try(session, key) for key in sorted(keys)]
        if at is not None:
            waits.append(await service.take_try(session, at.shared, free=FREE_FOR_ADDRESS))
            if not waits[-1]:
                # what the address did not pay for is not given back to it either
                await service.take_try(session, at.own, free=_NO_WAIT)
    if any(waits):
        wait = max(waits)
        raise TooManyTries(f"Too many wrong tries. Wait {_words(wait)}, then try again.", retry_after=wait)


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{(seconds + 59) // 60} minutes"
