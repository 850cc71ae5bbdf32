"""Keeping the nightly proof."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import new_id
from app.reconciliation.invariants import queries
from app.reconciliation.invariants.queries import Proof
from app.reconciliation.models import InvariantCheck


async def check(session: AsyncSession, actor: Actor) -> Proof:
    """Check every invariant of a merchant and keep what was found."""
    proof = await queries.prove(session, merchant_id=actor.merchant)
    session.add(
        InvariantCheck(merchant_id=actor.merchant, id=new_id(), checked_at=now(), checked_by=actor.name, proof=msgspec.to_builtins(proof))
    )
    await session.flush()
    return proof
