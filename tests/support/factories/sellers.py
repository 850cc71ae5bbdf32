"""Sellers for tests."""

import itertools

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import SellerId
from app.sellers import service

_numbers = itertools.count(1)


async def make_seller(
    actor: Actor, *, name: str | None = None, reference: str | None = None, email: str = "", country: str = ""
) -> SellerId:
    """A seller of the actor's merchant."""
    number = next(_numbers)
    async with unit_of_work(actor.merchant) as session:
        made = await service.add_seller(
            session, actor, reference=reference or f"seller-{number}", name=name or f"Seller {number}", email=email, country=country
        )
    return SellerId(made.id)
