"""Asking every provider what it owes, and comparing it with the books as they are at that moment."""

import time
from datetime import timedelta

import msgspec

from app.core.clock import today
from app.core.db import unit_of_work
from app.core.failpoints import failpoint
from app.core.ids import ConnectionId, MerchantId, public_id
from app.psp import queries as psp
from app.psp import service as connections
from app.psp.domain import BalanceAdapter, Outcome
from app.reconciliation.balances import queries
from app.reconciliation.domain.balances import compared
from app.reconciliation.invariants.queries import BALANCE, Proof
from app.reconciliation.invariants.queries import Outcome as Found
from app.reconciliation.schemas import Finding

LOOK_BACK = timedelta(days=14)
"""A batch that was closed earlier and that no file told of is missing, not on its way."""
TRIES = 3


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    connection_id: ConnectionId
    name: str
    adapter: BalanceAdapter | None


async def ask(*, merchant_id: MerchantId) -> Proof:
    """Ask every provider of a merchant whose files are read what it owes; says what differs, and who could not be asked."""
    began = time.monotonic()
    async with unit_of_work(merchant_id) as session:
        ids = await queries.connections(session, merchant_id=merchant_id)
        names = await psp.connection_names(session, merchant_id=merchant_id)
        places = [
            _Place(
                connection_id=each,
                name=names[each],
                adapter=await connections.balance_adapter(session, merchant_id=merchant_id, connection_id=each),
            )
            for each in ids
        ]
    found = Found(name=BALANCE, violations=[], notes=[])
    for place in places:
        if place.adapter is None:
            found.notes.append(f"{place.name}: not asked, its provider cannot be asked.")
        else:
            await _ask_one(merchant_id, place, place.adapter, found)
    return Proof(is_sound=found.holds, milliseconds=int((time.monotonic() - began) * 1000), invariants=[found])


async def _ask_one(merchant_id: MerchantId, place: _Place, adapter: BalanceAdapter, found: Found) -> None:
    """The books are read after the answer; what they got while it was asked belongs to neither side, so it is asked again."""
    for _ in range(TRIES):
        async with unit_of_work(merchant_id) as session:
            before = await queries.through(session, merchant_id=merchant_id, connection_id=place.connection_id)
        told = await adapter.balance(since=today() - LOOK_BACK)
        await failpoint("reconciliation.balance_asked")
        if told.outcome is not Outcome.SUCCEEDED:
            found.notes.append(f"{place.name}: asked in vain, {(told.code or 'no clear answer').replace('_', ' ')}.")
            return
        async with unit_of_work(merchant_id) as session:
            batches = [owed.batch for owed in told.owed]
            standing = await queries.standing(session, merchant_id=merchant_id, connection_id=place.connection_id, batches=batches)
        if standing.through == before:
            break
    else:
        found.notes.append(f"{place.name}: the books moved each time it was asked; ask again when it is quieter.")
        return
    for one in compared(told.owed, standing):
        if one.agrees:
            found.notes.append(f"{place.name}: {one.text}.")
        else:
            detail = f"{one.text}; {one.difference.format()} that nothing explains"
            found.violations.append(Finding(merchant=public_id("mer", merchant_id), subject=place.name, detail=detail))
